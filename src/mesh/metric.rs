//! What a link is said to be like, in four bytes, and what that costs.

/// What every hop costs besides its round-trip time, in microseconds: of two paths equally
/// fast the one with fewer hops wins, and noise of a few hundred microseconds turns nothing. No
/// member can offer a link for less.
pub const HOP_COST_US: u32 = 1_000;

/// What a suspected link costs on top: it is taken only where nothing else leads.
pub const SUSPECT_COST_US: u32 = 10_000_000;

/// What one lost packet costs its sender: the least retransmission timeout of TCP on Linux.
const RETRANSMISSION_US: u32 = 200_000;

/// Loss of 255 256ths stands for a suspected link.
const LOSS_SUSPECT: u8 = u8::MAX;
/// Higher losses are all the same, and far below a suspected link's price.
const LOSS_MAX: u8 = 230;
const RTT_UNIT_US: u32 = 10;
const RTT_MAX: u32 = (1 << 24) - 1;

/// Round-trip time and loss of a link as one end measures them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// In units of 10 microseconds, below 2^24.
    rtt: u32,
    /// In 256ths; [`LOSS_SUSPECT`] is no loss but suspicion.
    loss: u8,
}

impl Metric {
    /// A link with this round-trip time, and of 65,536 packets `loss` lost.
    #[must_use]
    pub fn new(rtt_us: u32, loss: u32) -> Self {
        let loss = u8::try_from((loss + 128) / 256).unwrap_or(LOSS_MAX).min(LOSS_MAX);
        Self { rtt: (rtt_us / RTT_UNIT_US).min(RTT_MAX), loss }
    }

    /// The same link under suspicion.
    #[must_use]
    pub fn suspected(self) -> Self {
        Self { loss: LOSS_SUSPECT, ..self }
    }

    /// Reads the form that goes over the wire: any four bytes are a metric.
    #[must_use]
    pub fn from_bits(bits: u32) -> Self {
        let [_, _, _, loss] = bits.to_be_bytes();
        let loss = if loss == LOSS_SUSPECT { loss } else { loss.min(LOSS_MAX) };
        Self { rtt: bits >> 8, loss }
    }

    /// The form that goes over the wire.
    #[must_use]
    pub fn to_bits(self) -> u32 {
        (self.rtt << 8) | u32::from(self.loss)
    }

    /// Round-trip time in microseconds.
    #[must_use]
    pub fn rtt_us(self) -> u32 {
        self.rtt * RTT_UNIT_US
    }

    /// Lost packets, 0.0 to 1.0; 0.0 for a suspected link, whose loss nobody knows.
    #[must_use]
    pub fn loss(self) -> f64 {
        if self.is_suspect() { 0.0 } else { f64::from(self.loss) / 256.0 }
    }

    /// Whether the link is thought to be dead.
    #[must_use]
    pub fn is_suspect(self) -> bool {
        self.loss == LOSS_SUSPECT
    }

    /// What loss adds to the cost, in microseconds: the expected retransmissions of a packet until it
    /// arrives, each at its price (after De Couto and others, "A high-throughput path metric for
    /// multi-hop wireless routing", 2003).
    #[must_use]
    pub fn loss_cost_us(self) -> u32 {
        match self.loss {
            LOSS_SUSPECT => SUSPECT_COST_US,
            loss => RETRANSMISSION_US * u32::from(loss) / (256 - u32::from(loss)),
        }
    }

    /// What routes count, in microseconds.
    #[must_use]
    pub fn cost_us(self) -> u32 {
        HOP_COST_US + self.rtt_us() + self.loss_cost_us()
    }

    /// The one that costs more: a link is as bad as its worse end says.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        if other.cost_us() > self.cost_us() { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_four_bytes_are_a_metric_of_a_sane_cost(bits: u32) {
            let metric = Metric::from_bits(bits);
            prop_assert!(metric.cost_us() >= HOP_COST_US + metric.rtt_us());
            prop_assert_eq!(metric.is_suspect(), metric.cost_us() >= SUSPECT_COST_US + metric.rtt_us());
            prop_assert_eq!(Metric::from_bits(metric.to_bits()), metric);
        }

        #[test]
        fn more_loss_costs_more(rtt_us in 0u32..10_000_000, loss in 0u32..=65_536, more in 0u32..=65_536) {
            let (one, other) = (Metric::new(rtt_us, loss.min(more)), Metric::new(rtt_us, loss.max(more)));
            prop_assert!(one.cost_us() <= other.cost_us());
            prop_assert_eq!(one.worse(other).cost_us(), other.cost_us());
            prop_assert!(other.cost_us() < other.suspected().cost_us());
            prop_assert!(one.rtt_us().abs_diff(rtt_us) < RTT_UNIT_US);
        }
    }

    #[test]
    fn a_twentieth_lost_costs_a_detour_of_ten_milliseconds() {
        let metric = Metric::new(2_000, 65_536 / 20);
        assert!((10_000..12_000).contains(&metric.loss_cost_us()), "{metric:?}");
        assert_eq!(Metric::new(2_000, 0).cost_us(), 3_000);
    }
}

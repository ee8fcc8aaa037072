//! Packets that are missing, as the numbers of those that came tell.

/// Loss is counted over at least so many packets, and smoothed with this weight.
const LOSS_PACKETS: u64 = 32;
const LOSS_WEIGHT: i32 = 4;

/// Loss by the gaps in the numbers of what arrives.
#[derive(Debug, Default)]
pub struct Gaps {
    expected: u64,
    received: u64,
    /// Of 65,536 packets, smoothed. Below zero while more comes late than is lost: cut off there, packets
    /// out of order would look like lost ones for ever.
    loss: Option<i32>,
}

impl Gaps {
    /// Takes note that `received` packets came of `expected` that were sent.
    pub fn counted(&mut self, expected: u64, received: u64) {
        self.expected = self.expected.saturating_add(expected);
        self.received = self.received.saturating_add(received);
    }

    /// Takes what was counted into the loss, once it is enough.
    pub fn judge(&mut self) {
        if self.expected < LOSS_PACKETS {
            return;
        }
        let share = |count: u64| {
            let share = u128::from(count) * 65_536 / u128::from(self.expected);
            i32::try_from(share.min(2 * 65_536)).unwrap_or(0)
        };
        let sample = 65_536 - share(self.received);
        let before = self.loss.unwrap_or(0);
        self.loss = Some(before - before / LOSS_WEIGHT + sample / LOSS_WEIGHT);
        (self.expected, self.received) = (0, 0);
    }

    /// Of 65,536 packets, so many are lost; none before enough came.
    #[must_use]
    pub fn loss(&self) -> Option<u32> {
        self.loss.map(|loss| u32::try_from(loss).unwrap_or(0))
    }
}

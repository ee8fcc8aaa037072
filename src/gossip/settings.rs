//! How often members are probed and told, and how long a silent one may stay silent.

use std::num::NonZeroU8;
use std::num::NonZeroUsize;
use std::time::Duration;

use foca::Config;
use foca::PeriodicParams;

use crate::gossip::packet::SWIM_SIZE_MAX;

/// Members asked to probe in one's stead (the `k` of the SWIM paper, section 4.1).
const INDIRECT_PROBES: NonZeroUsize = NonZeroUsize::new(3).unwrap();

/// How membership behaves. All members should run with the same values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GossipSettings {
    /// How often one member is probed; at the end of a period in which it did not answer, neither
    /// directly nor through others, it is suspected.
    pub probe_period: Duration,
    /// How long the direct answer may take before others are asked to probe.
    pub probe_timeout: Duration,
    /// How long a suspected member has to refute, in a cluster of up to about thirty; more in
    /// larger ones.
    pub suspicion: Duration,
    /// How often news is passed on while there is any.
    pub gossip_interval: Duration,
    /// To how many members at a time.
    pub gossip_fanout: usize,
    /// How often the whole knowledge is compared with one other member while differences are
    /// found.
    pub exchange_interval: Duration,
    /// How often when none are found.
    pub exchange_interval_max: Duration,
}

impl Default for GossipSettings {
    fn default() -> Self {
        Self {
            probe_period: Duration::from_secs(1),
            probe_timeout: Duration::from_millis(400),
            suspicion: Duration::from_secs(3),
            gossip_interval: Duration::from_millis(200),
            gossip_fanout: 3,
            exchange_interval: Duration::from_secs(2),
            exchange_interval_max: Duration::from_secs(10),
        }
    }
}

impl GossipSettings {
    /// The values within which everything works, whatever a user wrote.
    pub(super) fn clamped(mut self) -> Self {
        self.probe_period = self.probe_period.max(Duration::from_millis(50));
        self.probe_timeout =
            self.probe_timeout.clamp(Duration::from_millis(10), self.probe_period / 2);
        self.suspicion = self.suspicion.max(self.probe_period);
        self.gossip_interval = self.gossip_interval.max(Duration::from_millis(20));
        self.gossip_fanout = self.gossip_fanout.clamp(1, 16);
        self.exchange_interval = self.exchange_interval.max(Duration::from_millis(100));
        self.exchange_interval_max = self.exchange_interval_max.max(self.exchange_interval);
        self
    }

    /// Foca's configuration in a cluster of `members`.
    ///
    /// Foca's own periodic announcements are off: they cease when nobody is left, which is when
    /// they are needed (`Gossip` does them). A down life is remembered for as long as the document
    /// names the member.
    pub(super) fn foca(&self, members: usize) -> Config {
        Config {
            probe_period: self.probe_period,
            probe_rtt: self.probe_timeout,
            num_indirect_probes: INDIRECT_PROBES,
            max_transmissions: transmissions(members),
            suspect_to_down_after: self.suspicion.mul_f64((digits(members) / 1.5).max(1.0)),
            remove_down_after: None,
            max_packet_size: SWIM_SIZE_MAX,
            notify_down_members: true,
            periodic_announce: None,
            periodic_announce_to_down_members: None,
            periodic_gossip: Some(PeriodicParams {
                frequency: self.gossip_interval,
                num_members: NonZeroUsize::new(self.gossip_fanout).unwrap_or(INDIRECT_PROBES),
            }),
        }
    }
}

/// How often each member passes one piece of news on: 4 log10(n + 1), as memberlist does, and at
/// least 6 so that a small cluster on a lossy network hears everything too.
pub(super) fn transmissions(members: usize) -> NonZeroU8 {
    let wanted = (1..=u8::MAX).take_while(|count| f64::from(*count) < 4.0 * digits(members)).last();
    NonZeroU8::new(wanted.unwrap_or(1).max(6)).unwrap_or(NonZeroU8::MIN)
}

/// log10(n + 1).
fn digits(members: usize) -> f64 {
    f64::from(u32::try_from(members).unwrap_or(u32::MAX)).ln_1p() / std::f64::consts::LN_10
}

//! Which members this machine really exchanges traffic with: worth a link of their own.

use std::time::Duration;

use crate::mesh::core::Mesh;
use crate::mesh::schedule::Timer;
use crate::model::time::Moment;

/// Packets sent to one member within [`WINDOW`] that make a demand: above what membership and the
/// document exchange, below what anybody waits for.
const DEMAND_PACKETS: u64 = 64;
/// How often they are counted.
pub(super) const WINDOW: Duration = Duration::from_secs(5);
/// A demand lasts so long after the last window that made it.
const DEMAND_DURATION: Duration = Duration::from_secs(60);
/// Links kept because of traffic, at most: a thousand members that all speak to each other
/// must not make a million links.
const DEMANDED_MAX: usize = 16;

/// Packets sent to one member.
#[derive(Debug, Clone, Copy, Default)]
pub struct Meter {
    session: u32,
    packets: u64,
    until: Option<Moment>,
}

impl Meter {
    /// Takes the number of packets sealed under a session so far, which begins anew with every
    /// session. Whether there is a demand.
    fn count(&mut self, now: Moment, session: u32, packets: u64) -> bool {
        let before = if session == self.session { self.packets } else { 0 };
        (self.session, self.packets) = (session, packets);
        if packets.saturating_sub(before) >= DEMAND_PACKETS {
            self.until = Some(now + DEMAND_DURATION);
        }
        self.until.is_some_and(|until| now < until)
    }
}

impl Mesh {
    /// Looks who was sent much since the last time: each gets a link of its own, which replaces
    /// the way through others.
    pub(super) fn measure_demand(&mut self, now: Moment) {
        self.schedule.set(Timer::Demand, Some(now + WINDOW));
        for (peer, end) in &self.ends.by_address {
            let Some(session) = &end.current else { continue };
            let Some(link) = self.links.get_mut(peer) else { continue };
            let demand = link.demand.count(now, session.local_index, session.packets_sealed());
            let changed = if demand && self.demanded.len() < DEMANDED_MAX {
                self.demanded.insert(*peer)
            } else {
                !demand && self.demanded.remove(peer)
            };
            if changed {
                self.schedule.set_by(Timer::Link(*peer), now);
            }
        }
        // Nobody speaks to these any more.
        let ends = &self.ends.by_address;
        self.demanded.retain(|peer| ends.get(peer).is_some_and(|end| end.current.is_some()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickle_makes_no_demand_and_a_stream_does() {
        let at = |seconds| Moment::at(Duration::from_secs(seconds));
        let mut meter = Meter::default();
        assert!((1..1_000).all(|step| !meter.count(at(5 * step), 1, step * 60)));
        assert!(!meter.count(at(5_000), 2, 63), "another session counts from zero");
        assert!(meter.count(at(5_005), 2, 127));
        assert!(meter.count(at(5_060), 2, 127));
        assert!(!meter.count(at(5_065), 2, 127));
    }
}

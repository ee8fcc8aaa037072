//! Getting through routers from both sides at once. A machine that does not answer where it is
//! dialled, and that can be reached through others, is called: each side tells the other where it
//! may be (`rendezvous.rs`), and both send to all of that in waves. What goes out opens the own
//! router for what comes in (RFC 5128, section 3.3). Until a way opens, and where none does, the
//! traffic stays with the others.

use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::time::Duration;

use crate::mesh::core::Mesh;
use crate::mesh::core::canonical;
use crate::mesh::plane::header::TTL;
use crate::mesh::rendezvous::CANDIDATES_MAX;
use crate::mesh::rendezvous::Purpose;
use crate::mesh::rendezvous::Rendezvous;
use crate::mesh::schedule::Timer;
use crate::mesh::wire::PROTOCOL_RENDEZVOUS;
use crate::mesh::wire::Routed;
use crate::model::nat::NatKind;
use crate::model::time::Moment;

/// How long both sides dial each other after a message.
const DURATION: Duration = Duration::from_secs(5);
/// Within one attempt everything is dialled so many times.
const WAVES: usize = 4;
/// Pause before the second call; doubles up to [`CALL_PAUSE_MAX`].
const CALL_PAUSE_MIN: Duration = Duration::from_secs(2);
/// Longest pause between two calls, and the pause where no call can be expected to help.
const CALL_PAUSE_MAX: Duration = Duration::from_secs(300);
/// One machine's messages are heeded this far apart: each makes datagrams go to where it says.
const HEED_INTERVAL: Duration = Duration::from_millis(500);

/// The state of getting through to one machine.
#[derive(Debug, Default)]
pub struct Punch {
    offered: Vec<SocketAddr>,
    kind: NatKind,
    heard: u64,
    heard_at: Option<Moment>,
    until: Option<Moment>,
    calls: u32,
    call_at: Option<Moment>,
}

impl Punch {
    /// Whether both sides dial each other at the moment.
    #[must_use]
    pub fn is_active(&self, now: Moment) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Where the other side said it may be.
    #[must_use]
    pub fn offered(&self) -> &[SocketAddr] {
        &self.offered
    }

    /// The way is open, or nobody needs it any more.
    pub fn end(&mut self) {
        self.until = None;
        self.calls = 0;
        self.call_at = None;
    }

    /// Something has changed: the next call may be made at once.
    pub fn forget_failures(&mut self) {
        self.calls = 0;
        self.call_at = None;
    }

    /// Whether a call may be made. If so the pause before the next one has begun; `jitter` in
    /// 0.0..1.0 spreads it by a quarter either way.
    fn call(&mut self, now: Moment, own: NatKind, jitter: f64) -> bool {
        if self.call_at.is_some_and(|at| now < at) {
            return false;
        }
        // Behind two such routers neither side can say where the other must send. Only a
        // network that both are in could help, and only a change of it.
        let hopeless = own == NatKind::Symmetric && self.kind == NatKind::Symmetric;
        let pause = CALL_PAUSE_MIN.saturating_mul(1 << self.calls.min(16)).min(CALL_PAUSE_MAX);
        let pause = if hopeless { CALL_PAUSE_MAX } else { pause };
        self.calls = self.calls.saturating_add(1);
        self.call_at = Some(now + pause.mul_f64(0.75 + jitter.clamp(0.0, 1.0) / 2.0));
        true
    }

    /// Takes a message; whether it is to be acted on.
    fn hear(&mut self, now: Moment, message: &Rendezvous) -> bool {
        let hasty = self.heard_at.is_some_and(|at| now < at + HEED_INTERVAL);
        if message.timestamp <= self.heard || hasty {
            return false;
        }
        self.heard = message.timestamp;
        self.heard_at = Some(now);
        self.kind = message.kind;
        let offered = message.candidates.iter().copied().map(canonical);
        self.offered = offered.filter(|one| one.port() != 0).collect();
        self.until = Some(now + DURATION);
        true
    }
}

/// Everything at once, some times in a row: the first that comes too early for the other side's
/// router is followed by one that does not.
#[must_use]
pub fn waves(candidates: Vec<SocketAddr>) -> Vec<Vec<SocketAddr>> {
    vec![candidates; WAVES]
}

impl Mesh {
    /// A machine has not answered at once where it was dialled: calls it through the others, if
    /// they reach it and it is time.
    pub(super) fn call(&mut self, now: Moment, peer: Ipv6Addr) {
        if !self.routes.contains_key(&peer) {
            return;
        }
        let (own, jitter) = (self.nat_kind, self.jitter());
        let Some(link) = self.links.get_mut(&peer) else { return };
        if link.live.is_none() && link.punch.call(now, own, jitter) {
            self.send_rendezvous(now, peer, Purpose::Call);
        }
    }

    fn send_rendezvous(&mut self, now: Moment, peer: Ipv6Addr, purpose: Purpose) {
        let report = self.nat();
        let mut candidates = report.external;
        for endpoint in self.local.iter().chain(&report.shifting) {
            if !candidates.contains(endpoint) {
                candidates.push(*endpoint);
            }
        }
        // Addresses of the own networks are many at times; those seen from outside must be in.
        candidates.truncate(CANDIDATES_MAX);
        let timestamp = self.clock.next(now);
        let message = Rendezvous { purpose, kind: report.kind, timestamp, candidates };
        let payload = message.write(&self.key, self.cluster, peer);
        let (source, protocol) = (self.own, PROTOCOL_RENDEZVOUS);
        let routed = Routed { ttl: TTL, destination: peer, source, protocol, payload: &payload };
        self.forward(now, &routed, None);
    }

    /// A message came from `neighbour` that says it is `source`'s.
    pub(super) fn receive_rendezvous(
        &mut self,
        now: Moment,
        neighbour: Ipv6Addr,
        source: Ipv6Addr,
        payload: &[u8],
    ) {
        let Some(id) = self.links.get(&source).map(|link| link.id) else { return };
        if !self.heeds_call(source) {
            return;
        }
        // Checking a signature costs what a handshake costs.
        if !self.callers.take(now, neighbour, source) {
            return;
        }
        let Some(message) = Rendezvous::read(payload, self.cluster, id, self.own) else { return };
        let settled = self.settings.ping_interval * 2;
        let Some(link) = self.links.get_mut(&source) else { return };
        let heard_at = link.live.as_mut().map(|live| {
            live.heed_traffic();
            live.received_at
        });
        // The link came up while the message was on its way.
        let works = heard_at.is_some_and(|at| now.since(at) < settled);
        if works || !link.punch.hear(now, &message) {
            return;
        }
        link.dial.burst(now, waves(link.candidates(now)));
        if message.purpose == Purpose::Call {
            self.send_rendezvous(now, source, Purpose::Answer);
        }
        self.schedule.set_by(Timer::Link(source), now);
    }

    /// Where this machine is has changed: who could not be reached so far may be now.
    pub(super) fn call_anew(&mut self, now: Moment) {
        let peers: Vec<Ipv6Addr> = self.links.keys().copied().collect();
        for peer in peers {
            let keeps = self.keeps(peer);
            let Some(link) = self.links.get_mut(&peer) else { continue };
            link.punch.forget_failures();
            if keeps && link.live.is_none() {
                link.dial.hurry();
                self.schedule.set_by(Timer::Link(peer), now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(timestamp: u64, kind: NatKind) -> Rendezvous {
        let candidates = vec!["192.0.2.1:1".parse().unwrap(), "192.0.2.1:0".parse().unwrap()];
        Rendezvous { purpose: Purpose::Call, kind, timestamp, candidates }
    }

    fn at(millis: u64) -> Moment {
        Moment::at(Duration::from_millis(millis))
    }

    /// Calls made within an hour by a machine behind a router of this kind.
    fn calls_in_an_hour(own: NatKind, theirs: NatKind) -> usize {
        let mut punch = Punch::default();
        punch.hear(at(0), &message(1, theirs));
        (0..3_600).filter(|second| punch.call(at(1_000 * second), own, 0.5)).count()
    }

    #[test]
    fn calls_get_rare_and_rarer_still_where_they_are_hopeless() {
        let hopeful = calls_in_an_hour(NatKind::Symmetric, NatKind::Easy);
        let hopeless = calls_in_an_hour(NatKind::Symmetric, NatKind::Symmetric);
        assert!((15..=22).contains(&hopeful), "{hopeful}");
        assert_eq!(hopeless, 12);
    }

    #[test]
    fn copies_and_floods_are_not_heeded() {
        let mut punch = Punch::default();
        assert!(punch.hear(at(0), &message(5, NatKind::Easy)));
        assert_eq!(punch.offered().len(), 1);
        assert!(punch.is_active(at(4_999)) && !punch.is_active(at(5_000)));
        assert!(!punch.hear(at(100), &message(6, NatKind::Easy)));
        assert!(!punch.hear(at(9_000), &message(5, NatKind::Easy)));
        assert!(punch.hear(at(9_000), &message(6, NatKind::Easy)));
    }
}

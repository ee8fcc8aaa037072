//! One machine that may be spoken to: its sessions, and the link while it lives.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::sync::Arc;

use ring::hmac;

use crate::mesh::dial::Dial;
use crate::mesh::dial::ENDPOINTS_MAX;
use crate::mesh::plane::table::Traffic;
use crate::mesh::route::link_cost_us;
use crate::mesh::session::Session;
use crate::mesh::settings::MeshSettings;
use crate::mesh::wire::Frame;
use crate::model::identity::NodeId;
use crate::model::time::Moment;

/// Pings whose pong is still awaited.
const PINGS_MAX: usize = 8;
/// A busy link is measured once in so many ping intervals.
const BUSY_PING_INTERVALS: u32 = 10;
/// The cost of a link is advertised anew at most once in so many ping intervals.
const COST_INTERVALS: u32 = 5;
/// Advertised until the first pong, in microseconds.
const RTT_UNKNOWN_US: u32 = 5_000;

/// A machine the document names, and all that is known of speaking to it.
pub struct Link {
    /// Its key.
    pub id: NodeId,
    /// The X25519 form of its key.
    pub static_key: [u8; 32],
    /// Keys the mac of initiations to it.
    pub mac_key: hmac::Key,
    /// Where the document says it is.
    pub endpoints: Vec<SocketAddr>,
    /// What membership says.
    pub alive: bool,
    /// Whether one attempt is made although the rings do not ask for it.
    pub explored: bool,
    /// Highest timestamp of a handshake it began; a copy of an older one is refused.
    pub timestamp: Option<u64>,
    /// The address an authenticated packet came from last.
    pub last_endpoint: Option<SocketAddr>,
    /// The dialling of it.
    pub dial: Dial,
    /// What was sent under its sessions.
    pub sessions: Sessions,
    /// The link while it lives.
    pub live: Option<Live>,
}

impl Link {
    /// A machine nobody has spoken to yet.
    #[must_use]
    pub fn new(id: NodeId, mac_key: hmac::Key) -> Self {
        Self {
            id,
            static_key: id.to_x25519(),
            mac_key,
            endpoints: Vec::new(),
            alive: true,
            explored: false,
            timestamp: None,
            last_endpoint: None,
            dial: Dial::default(),
            sessions: Sessions::default(),
            live: None,
        }
    }

    /// Endpoints to dial, the one that worked last first.
    #[must_use]
    pub fn candidates(&self) -> Vec<SocketAddr> {
        let mut candidates: Vec<SocketAddr> = Vec::new();
        for endpoint in self.last_endpoint.iter().chain(&self.endpoints) {
            if !candidates.contains(endpoint) && endpoint.port() != 0 {
                candidates.push(*endpoint);
            }
        }
        candidates.truncate(ENDPOINTS_MAX);
        candidates
    }

    /// Whether packets to it may wait: a link is being made.
    #[must_use]
    pub fn is_being_made(&self) -> bool {
        self.live.is_none() && (self.dial.is_under_way() || self.sessions.next.is_some())
    }

    /// Seals a frame for a live link.
    pub fn seal(&mut self, frame: &Frame<'_>) -> Option<(SocketAddr, Vec<u8>)> {
        let live = self.live.as_mut()?;
        let datagram = self.sessions.current.as_mut()?.seal(frame)?;
        live.bytes_sent += datagram.len() as u64;
        live.packets_sent += 1;
        Some((live.endpoint, datagram))
    }

    /// Whether the current key should be replaced by a handshake of ours. The side that did not
    /// begin the session waits a twelfth longer, so that mostly one side begins.
    #[must_use]
    pub fn rekey_at(&self, settings: &MeshSettings) -> Option<Moment> {
        let session = self.sessions.current.as_ref()?;
        if session.is_worn() {
            return Some(session.created_at);
        }
        let grace = u32::from(!session.initiator);
        Some(session.created_at + settings.rekey_after + settings.rekey_after / 12 * grace)
    }
}

/// The sessions with one neighbour.
#[derive(Default)]
pub struct Sessions {
    /// Seals what is sent.
    pub current: Option<Session>,
    /// Opens what was sent before the change of keys.
    pub previous: Option<Session>,
    /// Answered by us and not yet used by the other side, with the other side's boot number:
    /// a repeated old handshake never gets further than here.
    pub next: Option<(Session, u64)>,
    /// The boot number behind the current session.
    pub boot: Option<u64>,
}

impl Sessions {
    /// The session under a local index.
    pub fn by_index(&mut self, index: u32) -> Option<&mut Session> {
        [self.current.as_mut(), self.previous.as_mut(), self.next.as_mut().map(|next| &mut next.0)]
            .into_iter()
            .flatten()
            .find(|session| session.local_index == index)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        let next = self.next.as_ref().map(|next| &next.0);
        [self.current.as_ref(), self.previous.as_ref(), next].into_iter().flatten()
    }

    /// Whether `index` names the session not yet used.
    #[must_use]
    pub fn is_next(&self, index: u32) -> bool {
        self.next.as_ref().is_some_and(|next| next.0.local_index == index)
    }

    /// Makes `session` the current one, or, when `aside`, only listens to it. Returns whether
    /// the other side was started anew, and the index that is free again.
    pub fn install(&mut self, session: Session, boot: u64, aside: bool) -> (bool, Option<u32>) {
        let restarted = self.boot.replace(boot).is_some_and(|before| before != boot);
        let dropped = if aside && !restarted && self.current.is_some() {
            self.previous.replace(session)
        } else {
            let before = self.current.replace(session);
            std::mem::replace(&mut self.previous, before)
        };
        (restarted, dropped.map(|session| session.local_index))
    }

    /// Drops what is older than `reject_after`. Returns the indices that are free again.
    pub fn expire(&mut self, now: Moment, settings: &MeshSettings) -> Vec<u32> {
        let old = |session: &Session| now.since(session.created_at) >= settings.reject_after;
        let current = self.current.take_if(|session| old(session));
        let previous = self.previous.take_if(|session| old(session));
        let next = self.next.take_if(|next| old(&next.0)).map(|next| next.0);
        [current, previous, next].into_iter().flatten().map(|session| session.local_index).collect()
    }

    /// Drops all. Returns the indices that are free again.
    pub fn clear(&mut self) -> Vec<u32> {
        let next = self.next.take().map(|next| next.0);
        self.boot = None;
        [self.current.take(), self.previous.take(), next]
            .into_iter()
            .flatten()
            .map(|session| session.local_index)
            .collect()
    }
}

/// A link that works.
#[derive(Debug)]
pub struct Live {
    /// Where the neighbour's last packet came from.
    pub endpoint: SocketAddr,
    /// Since when it works.
    pub since: Moment,
    /// When the last authentic packet came.
    pub received_at: Moment,
    /// Smoothed round-trip time in microseconds.
    pub rtt_us: Option<u32>,
    /// What the link is advertised to cost, in microseconds.
    pub cost_us: u32,
    /// Whether the neighbour's own choice keeps the link.
    pub wanted_there: bool,
    /// Since when neither side wants it.
    pub unwanted_since: Option<Moment>,
    /// How the neighbour sees this machine.
    pub observed: Option<SocketAddr>,
    /// Advertisements the neighbour has not confirmed, with when to send each (again).
    pub pending: BTreeMap<Ipv6Addr, Moment>,
    /// Sequences to confirm to it.
    pub confirmations: BTreeMap<Ipv6Addr, u64>,
    /// Bytes of datagrams sent.
    pub bytes_sent: u64,
    /// Bytes of authentic datagrams received.
    pub bytes_received: u64,
    /// Datagrams sent.
    pub packets_sent: u64,
    /// Authentic datagrams received.
    pub packets_received: u64,
    /// What was carried besides: counted where it is sent and received.
    pub traffic: Arc<Traffic>,
    cost_at: Moment,
    pings: VecDeque<(u32, Moment)>,
    pinged_at: Option<Moment>,
    /// 0 to 255: lengthens the silence before the next ping by up to a quarter. Without it two
    /// neighbours ping each other at the same moment for ever, where one ping would do.
    patience: u8,
}

impl Live {
    /// A link that has begun to work.
    #[must_use]
    pub fn new(endpoint: SocketAddr, now: Moment) -> Self {
        Self {
            endpoint,
            since: now,
            received_at: now,
            rtt_us: None,
            cost_us: link_cost_us(RTT_UNKNOWN_US),
            wanted_there: true,
            unwanted_since: None,
            observed: None,
            pending: BTreeMap::new(),
            confirmations: BTreeMap::new(),
            bytes_sent: 0,
            bytes_received: 0,
            packets_sent: 0,
            packets_received: 0,
            traffic: Arc::default(),
            cost_at: now,
            pings: VecDeque::new(),
            pinged_at: None,
            patience: 0,
        }
    }

    /// Carried datagrams show as well that the neighbour lives.
    pub fn heed_traffic(&mut self) {
        self.received_at = self.received_at.max(self.traffic.counts().received_at);
    }

    /// When the next ping is due: after silence; four times as often while one is unanswered, so
    /// that a few lost packets do not look like a dead link; and rarely on a busy link.
    #[must_use]
    pub fn ping_due(&self, settings: &MeshSettings) -> Moment {
        let interval = settings.ping_interval;
        match self.pinged_at {
            None => self.received_at,
            Some(pinged) if pinged >= self.received_at => pinged + interval / 4,
            Some(pinged) => {
                let patience = interval / 4 * u32::from(self.patience) / 256;
                let busy = pinged + interval * BUSY_PING_INTERVALS;
                (self.received_at + interval + patience).min(busy)
            }
        }
    }

    /// Remembers a ping that is sent.
    pub fn pinged(&mut self, token: u32, now: Moment) {
        self.pinged_at = Some(now);
        self.patience = token.to_be_bytes()[0];
        if self.pings.len() == PINGS_MAX {
            self.pings.pop_front();
        }
        self.pings.push_back((token, now));
    }

    /// Takes a pong. Returns whether the link's advertised cost has changed.
    pub fn ponged(&mut self, token: u32, now: Moment, settings: &MeshSettings) -> bool {
        let Some(place) = self.pings.iter().position(|ping| ping.0 == token) else {
            return false;
        };
        let Some((_, sent_at)) = self.pings.remove(place) else { return false };
        let sample = u32::try_from(now.since(sent_at).as_micros()).unwrap_or(u32::MAX);
        let first = self.rtt_us.is_none();
        // Smoothing of RFC 6298, section 2.
        let rtt_us = match self.rtt_us {
            None => sample,
            Some(rtt) => rtt - rtt / 8 + sample / 8,
        };
        self.rtt_us = Some(rtt_us);
        let cost_us = link_cost_us(rtt_us);
        let difference = cost_us.abs_diff(self.cost_us);
        let matters = difference > self.cost_us / 4 && difference > 2_000;
        let rested = now.since(self.cost_at) >= settings.ping_interval * COST_INTERVALS;
        if first || (matters && rested) {
            self.cost_at = now;
            return std::mem::replace(&mut self.cost_us, cost_us) != cost_us;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::at(Duration::from_millis(millis))
    }

    #[test]
    fn pings_follow_silence_and_hurry_when_unanswered() {
        let settings = MeshSettings::default();
        let mut live = Live::new("192.0.2.1:1".parse().unwrap(), at(0));
        assert_eq!(live.ping_due(&settings), at(0));
        live.pinged(1, at(0));
        assert_eq!(live.ping_due(&settings), at(250));
        live.received_at = at(20);
        assert_eq!(live.ping_due(&settings), at(1020));
        live.received_at = at(9900);
        assert_eq!(live.ping_due(&settings), at(10_000));
    }

    #[test]
    fn noise_does_not_change_the_advertised_cost() {
        let settings = MeshSettings::default();
        let mut live = Live::new("192.0.2.1:1".parse().unwrap(), at(0));
        let mut measure = |start: u64, rtt: u64| {
            live.pinged(7, at(start));
            live.ponged(7, at(start + rtt), &settings)
        };
        assert!(measure(0, 20));
        assert!(!measure(6_000, 40));
        assert!((1u64..40).any(|step| measure(6_000 + step * 1_000, 80)));
        assert!(!live.ponged(99, at(0), &settings));
    }
}

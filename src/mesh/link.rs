//! One machine that may be spoken to: its sessions, and the link while it lives.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::sync::Arc;

use ring::hmac;

use crate::mesh::bucket::Bucket;
use crate::mesh::demand::Meter;
use crate::mesh::dial::Dial;
use crate::mesh::dial::ENDPOINTS_MAX;
use crate::mesh::flood::CHECKS;
use crate::mesh::flood::NEWS;
use crate::mesh::plane::table::Traffic;
use crate::mesh::plane::table::TrafficCounts;
use crate::mesh::punch::Punch;
use crate::mesh::quality::Quality;
use crate::mesh::quality::Suspicion;
use crate::mesh::session::Session;
use crate::mesh::settings::MeshSettings;
use crate::mesh::wire::Frame;
use crate::model::identity::NodeId;
use crate::model::reach::Reach;
use crate::model::time::Moment;

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
    /// What it says of its links.
    pub reach: Reach,
    /// Whether one attempt is made although the rings do not ask for it.
    pub explored: bool,
    /// Highest timestamp of a handshake it began; a copy of an older one is refused.
    pub timestamp: Option<u64>,
    /// The address an authenticated packet came from last.
    pub last_endpoint: Option<SocketAddr>,
    /// The dialling of it.
    pub dial: Dial,
    /// Getting through to it from both sides at once.
    pub punch: Punch,
    /// What is sent to it.
    pub demand: Meter,
    /// What was sent under its sessions.
    pub sessions: Sessions,
    /// The link while it lives.
    pub live: Option<Live>,
    /// What is remembered of the link before.
    pub suspicion: Suspicion,
    /// How often it may say anew what links it has.
    pub news: Bucket,
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
            reach: Reach::Full,
            explored: false,
            timestamp: None,
            last_endpoint: None,
            dial: Dial::default(),
            punch: Punch::default(),
            demand: Meter::default(),
            sessions: Sessions::default(),
            live: None,
            suspicion: Suspicion::default(),
            news: Bucket::new(NEWS, Moment::START),
        }
    }

    /// Endpoints to dial: where it has just said to be, the one that worked last, the document's.
    #[must_use]
    pub fn candidates(&self, now: Moment) -> Vec<SocketAddr> {
        let mut candidates: Vec<SocketAddr> = Vec::new();
        let offered = if self.punch.is_active(now) { self.punch.offered() } else { &[] };
        for endpoint in offered.iter().chain(&self.last_endpoint).chain(&self.endpoints) {
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
    /// How well it works.
    pub quality: Quality,
    /// Whether the neighbour's own choice keeps the link.
    pub wanted_there: bool,
    /// Whether the neighbour has advertised it: once it does not any more it thinks it dead.
    pub was_named: bool,
    /// Since when neither side wants it.
    pub unwanted_since: Option<Moment>,
    /// How the neighbour sees this machine.
    pub observed: Option<SocketAddr>,
    /// Advertisements the neighbour has not confirmed, with when to send each (again).
    pub pending: BTreeMap<Ipv6Addr, Moment>,
    /// Sequences to confirm to it.
    pub confirmations: BTreeMap<Ipv6Addr, u64>,
    /// How many advertisements that it passes on are looked at.
    pub checks: Bucket,
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
    /// The counts of it that the quality knows.
    counted: TrafficCounts,
}

impl Live {
    /// A link that has begun to work; `past` is left of the one before.
    #[must_use]
    pub fn new(endpoint: SocketAddr, now: Moment, past: Suspicion) -> Self {
        Self {
            endpoint,
            since: now,
            received_at: now,
            quality: Quality::new(now, past),
            wanted_there: true,
            was_named: false,
            unwanted_since: None,
            observed: None,
            pending: BTreeMap::new(),
            confirmations: BTreeMap::new(),
            checks: Bucket::new(CHECKS, now),
            bytes_sent: 0,
            bytes_received: 0,
            packets_sent: 0,
            packets_received: 0,
            traffic: Arc::default(),
            counted: TrafficCounts::default(),
        }
    }

    /// Takes over what the carried datagrams show: that the neighbour lives, and how many were lost.
    pub fn heed_traffic(&mut self) {
        let counts = self.traffic.counts();
        let before = std::mem::replace(&mut self.counted, counts);
        self.received_at = self.received_at.max(counts.received_at);
        self.quality.counted(
            counts.packets_expected.wrapping_sub(before.packets_expected),
            counts.packets_received.wrapping_sub(before.packets_received),
        );
    }

    /// When the next ping is due.
    #[must_use]
    pub fn ping_due(&self, settings: &MeshSettings) -> Moment {
        self.quality.ping_due(self.received_at, settings)
    }

    /// Whether the link is dead: nothing came, or what is sent does not arrive.
    #[must_use]
    pub fn is_dead(&self, now: Moment, settings: &MeshSettings) -> bool {
        now.since(self.received_at) >= settings.link_timeout || self.quality.is_deaf(now, settings)
    }
}

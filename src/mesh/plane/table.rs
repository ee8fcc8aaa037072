//! The keys and routes in use. The mesh changes them, packets read them.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::RwLockReadGuard;
use std::sync::RwLockWriteGuard;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::mesh::plane::event::Events;
use crate::mesh::plane::event::PlaneEvent;
use crate::mesh::plane::header::OVERHEAD;
use crate::mesh::plane::hop::HopReceiver;
use crate::mesh::plane::hop::HopSender;
use crate::mesh::plane::session::EndSession;
use crate::mesh::wire::DATAGRAM_LENGTH_MAX;
use crate::model::time::Moment;

/// What went over one link in carried datagrams; it outlives the link's keys.
#[derive(Debug, Default)]
pub struct Traffic {
    received_at_us: AtomicU64,
    packets_received: AtomicU64,
    packets_expected: AtomicU64,
    bytes_received: AtomicU64,
    packets_sent: AtomicU64,
    bytes_sent: AtomicU64,
    /// Whether something was sent since the link was last proved to work.
    is_loaded: AtomicBool,
}

/// [`Traffic`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrafficCounts {
    /// When the last genuine datagram came.
    pub received_at: Moment,
    /// Genuine datagrams received.
    pub packets_received: u64,
    /// Genuine datagrams sent by the neighbour, as their numbers tell.
    pub packets_expected: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Datagrams sent.
    pub packets_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
}

impl Traffic {
    /// Counts a datagram whose number is `advance` above the highest before.
    pub(super) fn received(&self, now: Moment, length: usize, advance: u64) {
        let micros = u64::try_from(now.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.received_at_us.fetch_max(micros, Ordering::Relaxed);
        self.packets_received.fetch_add(1, Ordering::Relaxed);
        self.packets_expected.fetch_add(advance, Ordering::Relaxed);
        self.bytes_received.fetch_add(length as u64, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, length: usize) {
        self.packets_sent.fetch_add(1, Ordering::Relaxed);
        self.bytes_sent.fetch_add(length as u64, Ordering::Relaxed);
    }

    /// Takes note that something is about to be sent. Returns whether it is the first since the
    /// link was last proved to work.
    pub(super) fn load(&self) -> bool {
        !self.is_loaded.load(Ordering::Relaxed) && !self.is_loaded.swap(true, Ordering::Relaxed)
    }

    /// Takes note that the link was proved to work.
    pub fn proved(&self) {
        self.is_loaded.store(false, Ordering::Relaxed);
    }

    /// The counts as they are.
    #[must_use]
    pub fn counts(&self) -> TrafficCounts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TrafficCounts {
            received_at: Moment::at(Duration::from_micros(get(&self.received_at_us))),
            packets_received: get(&self.packets_received),
            packets_expected: get(&self.packets_expected),
            bytes_received: get(&self.bytes_received),
            packets_sent: get(&self.packets_sent),
            bytes_sent: get(&self.bytes_sent),
        }
    }
}

/// How one neighbour is spoken to.
#[derive(Clone)]
pub struct Outbound {
    /// Signs.
    pub keys: Arc<HopSender>,
    /// Where it is.
    pub endpoint: SocketAddr,
    /// Longest datagram the link takes, in bytes.
    pub datagram_max: usize,
    /// Counts.
    pub traffic: Arc<Traffic>,
}

pub(super) struct Inbound {
    pub(super) peer: Ipv6Addr,
    pub(super) keys: Arc<HopReceiver>,
}

/// Addresses are numbers here: comparing two takes an instruction or two.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) inbound: BTreeMap<u32, Inbound>,
    outbound: BTreeMap<u128, Outbound>,
    /// Longest datagram on the way to each neighbour, where it is known.
    paths: BTreeMap<u128, usize>,
    /// First hop by destination.
    routes: BTreeMap<u128, u128>,
    /// Opens, by local index.
    pub(super) opening: BTreeMap<u32, Arc<EndSession>>,
    /// Seals, by destination.
    sealing: BTreeMap<u128, Arc<EndSession>>,
}

impl Tables {
    /// How a neighbour is spoken to.
    pub(super) fn outbound(&self, peer: Ipv6Addr) -> Option<&Outbound> {
        self.outbound.get(&peer.to_bits())
    }

    /// The neighbour that packets to `destination` go to first, and how it is spoken to.
    pub(super) fn first_hop(&self, destination: Ipv6Addr) -> Option<(Ipv6Addr, &Outbound)> {
        let hop = self.routes.get(&destination.to_bits())?;
        Some((Ipv6Addr::from_bits(*hop), self.outbound.get(hop)?))
    }

    /// The session that seals what goes to `destination`.
    pub(super) fn sealing(&self, destination: Ipv6Addr) -> Option<&Arc<EndSession>> {
        self.sealing.get(&destination.to_bits())
    }
}

/// Everything that carrying packets needs, shared by the mesh and by those who move packets.
pub struct Plane {
    pub(super) own: Ipv6Addr,
    pub(super) rekey_after: Duration,
    pub(super) reject_after: Duration,
    tables: RwLock<Tables>,
    events: Mutex<Events>,
    has_events: AtomicBool,
}

impl Plane {
    /// The plane of the machine with the address `own`. Sessions are to be replaced after
    /// `rekey_after` and seal nothing after `reject_after`.
    #[must_use]
    pub fn new(own: Ipv6Addr, rekey_after: Duration, reject_after: Duration) -> Self {
        Self {
            own,
            rekey_after,
            reject_after,
            tables: RwLock::default(),
            events: Mutex::default(),
            has_events: AtomicBool::new(false),
        }
    }

    /// The own address.
    #[must_use]
    pub fn own(&self) -> Ipv6Addr {
        self.own
    }

    /// What happened that the mesh must know, each at most once. Bounded.
    #[must_use]
    pub fn take_events(&self) -> Vec<PlaneEvent> {
        if !self.has_events.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        self.events.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether there is something to take. Whoever moves packets looks after each batch, and wakes
    /// the mesh.
    #[must_use]
    pub fn has_events(&self) -> bool {
        self.has_events.load(Ordering::Acquire)
    }

    pub(super) fn push(&self, event: PlaneEvent) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        self.has_events.store(true, Ordering::Release);
    }

    /// Publishes a link: how it is spoken to, if it works, and the keys that may be heard.
    pub fn set_link(
        &self,
        peer: Ipv6Addr,
        outbound: Option<Outbound>,
        inbound: impl IntoIterator<Item = Arc<HopReceiver>>,
    ) {
        let mut tables = self.write();
        tables.inbound.retain(|_, known| known.peer != peer);
        for keys in inbound {
            tables.inbound.insert(keys.index(), Inbound { peer, keys });
        }
        match outbound {
            Some(mut outbound) => {
                if let Some(datagram_max) = tables.paths.get(&peer.to_bits()) {
                    outbound.datagram_max = *datagram_max;
                }
                tables.outbound.insert(peer.to_bits(), outbound)
            }
            None => tables.outbound.remove(&peer.to_bits()),
        };
    }

    /// Publishes the longest datagram that goes to a neighbour in one piece, in bytes.
    pub fn set_path(&self, peer: Ipv6Addr, datagram_max: usize) {
        let peer = peer.to_bits();
        if self.read().paths.get(&peer) == Some(&datagram_max) {
            return;
        }
        let mut tables = self.write();
        tables.paths.insert(peer, datagram_max);
        if let Some(outbound) = tables.outbound.get_mut(&peer) {
            outbound.datagram_max = datagram_max;
        }
    }

    /// Longest payload for `destination`, in bytes. Through others only what every link takes: what
    /// theirs take is not known here.
    #[must_use]
    pub fn payload_max(&self, destination: Ipv6Addr) -> usize {
        let tables = self.read();
        let direct = tables.first_hop(destination).filter(|(hop, _)| *hop == destination);
        let known = direct.map_or(DATAGRAM_LENGTH_MAX, |(_, outbound)| outbound.datagram_max);
        known.saturating_sub(OVERHEAD)
    }

    /// Publishes the first hop to each destination.
    pub fn set_routes(&self, routes: impl IntoIterator<Item = (Ipv6Addr, Ipv6Addr)>) {
        let bits = |(one, other): (Ipv6Addr, Ipv6Addr)| (one.to_bits(), other.to_bits());
        let routes = routes.into_iter().map(bits).collect();
        self.write().routes = routes;
    }

    /// Publishes the sessions with one end: the one that seals, and those that may be heard.
    pub fn set_sessions(
        &self,
        peer: Ipv6Addr,
        sealing: Option<Arc<EndSession>>,
        opening: impl IntoIterator<Item = Arc<EndSession>>,
        gone: impl IntoIterator<Item = u32>,
    ) {
        let mut tables = self.write();
        for index in gone {
            tables.opening.remove(&index);
        }
        for session in opening {
            tables.opening.insert(session.local_index, session);
        }
        match sealing {
            Some(session) => tables.sealing.insert(peer.to_bits(), session),
            None => tables.sealing.remove(&peer.to_bits()),
        };
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}

//! One machine's part of the mesh: what it knows, and what may be asked of it from within.
//! What the network does to it stands in `receive.rs`, what time does in `upkeep.rs`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;
use ring::hmac;

use crate::mesh::bucket::Bucket;
use crate::mesh::carry::Waiting;
use crate::mesh::cookie::Doorkeeper;
use crate::mesh::cost_news::CostNews;
use crate::mesh::demand;
use crate::mesh::echo::Echoes;
use crate::mesh::ends::Ends;
use crate::mesh::ends_receive::Budget;
use crate::mesh::flood::OWN_NEWS;
use crate::mesh::handshake::Handshaker;
use crate::mesh::handshake::LINK_PROLOGUE;
use crate::mesh::handshake::mac_key;
use crate::mesh::knock::Guests;
use crate::mesh::knock::Knocking;
use crate::mesh::link::Link;
use crate::mesh::link_state::LinkStates;
use crate::mesh::output::Output;
use crate::mesh::output::Peer;
use crate::mesh::plane::header::OVERHEAD;
use crate::mesh::plane::table::Plane;
use crate::mesh::report::FloodReport;
use crate::mesh::ring::Rings;
use crate::mesh::route::Routes;
use crate::mesh::schedule::Schedule;
use crate::mesh::schedule::Timer;
use crate::mesh::settings::MeshSettings;
use crate::mesh::wire::DATAGRAM_LENGTH_MAX;
use crate::mesh::wire::Frame;
use crate::model::cluster::ClusterId;
use crate::model::identity::NodeId;
use crate::model::identity::SecretKey;
use crate::model::nat::NatKind;
use crate::model::reach::Reach;
use crate::model::time::Moment;
use crate::model::time::Timestamp;

/// Longest payload [`Mesh::send`] takes, in bytes.
pub const SEND_LENGTH_MAX: usize = DATAGRAM_LENGTH_MAX - OVERHEAD;

/// One machine's part of the mesh.
pub struct Mesh {
    pub(super) key: SecretKey,
    pub(super) own: Ipv6Addr,
    pub(super) cluster: ClusterId,
    pub(super) settings: MeshSettings,
    /// None only when the crypto library lacks the pattern: then nobody is spoken to.
    pub(super) handshaker: Option<Handshaker>,
    pub(super) own_mac_key: hmac::Key,
    pub(super) random: StdRng,
    pub(super) boot: u64,
    pub(super) clock: HandshakeClock,
    pub(super) links: BTreeMap<Ipv6Addr, Link>,
    pub(super) by_static_key: BTreeMap<[u8; 32], Ipv6Addr>,
    pub(super) invitations: BTreeMap<[u8; 32], NodeId>,
    /// Whose session a receiver's index names.
    pub(super) indices: BTreeMap<u32, IndexOwner>,
    pub(super) live: BTreeSet<Ipv6Addr>,
    pub(super) rings_alive: Rings,
    pub(super) rings_all: Rings,
    pub(super) wanted: BTreeSet<Ipv6Addr>,
    pub(super) wards: BTreeSet<Ipv6Addr>,
    /// The one neighbour of a `tree` machine, once it is known.
    pub(super) parent: Option<Ipv6Addr>,
    /// Members that get a link because of the traffic with them.
    pub(super) demanded: BTreeSet<Ipv6Addr>,
    /// Own addresses, and what stands between them and the neighbours.
    pub(super) local: Vec<SocketAddr>,
    pub(super) nat_kind: NatKind,
    /// Whose calls may still be looked at.
    pub(super) callers: Budget,
    pub(super) explored_last: Ipv6Addr,
    pub(super) states: LinkStates,
    pub(super) own_sequence: u64,
    /// When the own links are to be told anew, if they are.
    pub(super) own_due: Option<Moment>,
    pub(super) own_news: Bucket,
    pub(super) cost_news: CostNews,
    pub(super) flooded: FloodReport,
    pub(super) routes: Routes,
    pub(super) routes_stale: bool,
    /// Before this the routes are not computed again for others' changes, and the pause that led there.
    pub(super) routes_due: Moment,
    pub(super) routes_pause: Duration,
    pub(super) waiting: BTreeMap<Ipv6Addr, VecDeque<Waiting>>,
    pub(super) guests: Guests,
    pub(super) knocking: Option<Knocking>,
    pub(super) doorkeeper: Doorkeeper,
    /// First messages that cost curve arithmetic.
    pub(super) initiations_read: u64,
    pub(super) ends: Ends,
    pub(super) plane: Arc<Plane>,
    pub(super) echoes: Echoes,
    pub(super) schedule: Schedule,
    pub(super) outputs: VecDeque<Output>,
}

/// Whose an index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IndexOwner {
    Link(Ipv6Addr),
    Guest,
    Knocking,
}

/// Timestamps for handshakes: the wall clock at the start and the time since, never twice the
/// same.
pub(super) struct HandshakeClock {
    wall: Timestamp,
    start: Moment,
    last: u64,
}

impl HandshakeClock {
    pub(super) fn next(&mut self, now: Moment) -> u64 {
        let time = self.wall.after(now.since(self.start)).as_millis();
        self.last = time.max(self.last.saturating_add(1));
        self.last
    }
}

impl Mesh {
    /// The part of the machine with `key` in `cluster`. All randomness comes from `seed`, which
    /// must never be used twice; `wall` is the wall clock at `now`.
    #[must_use]
    pub fn new(
        key: SecretKey,
        cluster: ClusterId,
        settings: MeshSettings,
        seed: [u8; 32],
        now: Moment,
        wall: Timestamp,
    ) -> Self {
        let mut random = StdRng::from_seed(seed);
        let own = key.node_id().address();
        let mut schedule = Schedule::default();
        schedule.set(Timer::Advertise, Some(now + settings.advertise_interval));
        schedule.set(Timer::Demand, Some(now + demand::WINDOW));
        Self {
            own,
            handshaker: Handshaker::new(&key, cluster, LINK_PROLOGUE, settings.suites),
            own_mac_key: mac_key(&key.node_id(), cluster),
            cluster,
            boot: random.next_u64(),
            clock: HandshakeClock { wall, start: now, last: 0 },
            links: BTreeMap::new(),
            by_static_key: BTreeMap::new(),
            invitations: BTreeMap::new(),
            indices: BTreeMap::new(),
            live: BTreeSet::new(),
            rings_alive: Rings::new(settings.rings, []),
            rings_all: Rings::new(settings.rings, []),
            wanted: BTreeSet::new(),
            wards: BTreeSet::new(),
            parent: None,
            demanded: BTreeSet::new(),
            local: Vec::new(),
            nat_kind: NatKind::default(),
            callers: Budget::new(now),
            explored_last: Ipv6Addr::UNSPECIFIED,
            states: LinkStates::default(),
            own_sequence: wall.as_millis(),
            own_due: None,
            own_news: Bucket::new(OWN_NEWS, now),
            cost_news: CostNews::new(now),
            flooded: FloodReport::default(),
            routes: Routes::new(),
            routes_stale: false,
            routes_due: now,
            routes_pause: Duration::ZERO,
            waiting: BTreeMap::new(),
            guests: Guests::default(),
            knocking: None,
            doorkeeper: Doorkeeper::new(&mut random, now),
            initiations_read: 0,
            random,
            ends: Ends::new(&key, cluster, settings.suites, now),
            plane: Arc::new(Plane::new(own, settings.rekey_after, settings.reject_after)),
            echoes: Echoes::new(now),
            schedule,
            outputs: VecDeque::new(),
            settings,
            key,
        }
    }

    /// Says which machines the document names. A machine that is absent is not spoken to:
    /// its link is dropped at once and what it said is forgotten.
    pub fn set_peers(&mut self, now: Moment, peers: Vec<Peer>) {
        let mut gone: BTreeSet<Ipv6Addr> = self.links.keys().copied().collect();
        let mut added = Vec::new();
        for peer in peers {
            let address = peer.id.address();
            if address == self.own {
                continue;
            }
            gone.remove(&address);
            let link = self.links.entry(address).or_insert_with(|| {
                added.push(address);
                Link::new(peer.id, mac_key(&peer.id, self.cluster))
            });
            self.by_static_key.insert(link.static_key, address);
            let endpoints: Vec<_> = peer.endpoints.into_iter().map(canonical).collect();
            if link.endpoints != endpoints || (peer.alive && !link.alive) {
                link.endpoints = endpoints;
                link.dial.reset();
                self.schedule.set_by(Timer::Link(address), now);
            }
            link.alive = peer.alive;
            link.reach = peer.reach;
        }
        for address in gone {
            self.evict(now, address);
        }
        let full = || self.links.iter().filter(|(_, link)| link.reach == Reach::Full);
        let living = full().filter(|(_, link)| link.alive).map(|(peer, _)| *peer);
        self.rings_alive.hold(living.collect());
        self.rings_all.hold(full().map(|(peer, _)| *peer).collect());
        self.choose(now);
        self.ask_for_states(now, &added);
        self.refresh_routes(now);
    }

    fn evict(&mut self, now: Moment, address: Ipv6Addr) {
        self.take_down(now, address);
        self.end_evicted(address);
        self.ends.budget.forget(address);
        self.callers.forget(address);
        if let Some(mut link) = self.links.remove(&address) {
            self.by_static_key.remove(&link.static_key);
            for index in link.sessions.clear().into_iter().chain(link.dial.stop()) {
                self.indices.remove(&index);
            }
        }
        self.publish_link(address);
        self.schedule.set(Timer::Link(address), None);
        self.states.remove(address);
        self.waiting.remove(&address);
        self.wanted.remove(&address);
        self.wards.remove(&address);
        self.demanded.remove(&address);
        self.routes_stale = true;
    }

    /// Says which tickets' keys may knock.
    pub fn set_invitations(&mut self, keys: BTreeSet<NodeId>) {
        self.invitations = keys.into_iter().map(|id| (id.to_x25519(), id)).collect();
        let dropped = self.guests.keep_invited(&self.invitations);
        for index in dropped {
            self.indices.remove(&index);
        }
    }

    /// What moves packets, to be shared with whoever does.
    #[must_use]
    pub fn plane(&self) -> Arc<Plane> {
        Arc::clone(&self.plane)
    }

    /// When [`Mesh::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Moment> {
        self.schedule.next()
    }

    /// What is to be done next. To be asked until there is nothing, after every other call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Where a neighbour is spoken to.
    #[must_use]
    pub fn link_endpoint(&self, node: NodeId) -> Option<SocketAddr> {
        self.links.get(&node.address())?.live.as_ref().map(|live| live.endpoint)
    }

    /// Tells the neighbours that the links close.
    pub fn shutdown(&mut self, now: Moment) {
        for peer in self.live.clone() {
            self.transmit(peer, &Frame::Close);
            self.take_down(now, peer);
        }
        self.schedule = Schedule::default();
    }

    /// An index no session has.
    pub(super) fn free_index(&mut self) -> u32 {
        loop {
            let index = self.random.next_u32();
            if !self.indices.contains_key(&index) {
                return index;
            }
        }
    }

    /// Randomness for one handshake.
    pub(super) fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0u8; 32];
        self.random.fill_bytes(&mut seed);
        seed
    }

    /// A number in 0.0..1.0.
    pub(super) fn jitter(&mut self) -> f64 {
        f64::from(self.random.next_u32()) / f64::from(u32::MAX)
    }
}

/// An IPv4 address in one form only, however the socket shows it.
pub(super) fn canonical(endpoint: SocketAddr) -> SocketAddr {
    SocketAddr::new(endpoint.ip().to_canonical(), endpoint.port())
}

//! What a change somewhere costs one member of a thousand on three rings: under 10 ms of processor.
//!
//! First the parts alone, then a whole member. The thousand run in one thread and no real time. Only the
//! watched one and the one that feeds it know everybody, a thousand who do would not fit the
//! memory; the others know their neighbours and tell the feeder, so the watched one hears all.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement ends where it cannot go on")]

mod support;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use raptor::mesh::core::Mesh;
use raptor::mesh::link_state::{Advertisement, LinkStates};
use raptor::mesh::metric::Metric;
use raptor::mesh::output::{Output, Peer};
use raptor::mesh::ring::Rings;
use raptor::mesh::route::{self, Routes};
use raptor::mesh::settings::MeshSettings;
use raptor::model::cluster::{ClusterId, Genesis};
use raptor::model::identity::{NodeId, SecretKey};
use raptor::model::reach::Reach;
use raptor::model::time::{Moment, Timestamp};
use support::{Samples, print, time, verdict};

const MEMBERS: usize = 1_000;
const RINGS: u8 = 3;
const CHANGES: usize = 60;
/// Long enough for a dead link to be suspected and everybody to hear of it.
const WINDOW: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_millis(10);
/// How long a datagram flies.
const FLIGHT: Duration = Duration::from_millis(1);

/// The same numbers every time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

fn main() {
    let mut counter = 0u64;
    let draw = |seed: &mut [u8; 32]| {
        counter += 1;
        seed[..8].copy_from_slice(&counter.to_le_bytes());
    };
    let mut draw = draw;
    let keys: Vec<SecretKey> = (0..MEMBERS).map(|_| SecretKey::generate(&mut draw)).collect();
    let genesis = Genesis { founder: keys[0].node_id(), nonce: 1, name: "bench".parse().unwrap() };
    measure_parts(&keys, genesis.cluster_id());
    measure_member(&keys, genesis.cluster_id());
}

fn measure_parts(keys: &[SecretKey], cluster: ClusterId) {
    let ids: Vec<NodeId> = keys.iter().map(SecretKey::node_id).collect();
    let addresses: Vec<Ipv6Addr> = ids.iter().map(NodeId::address).collect();
    let rings = Rings::new(RINGS, addresses.iter().copied());
    let mut random = Random(7);
    let mut links: Vec<BTreeMap<Ipv6Addr, Metric>> = addresses
        .iter()
        .map(|own| {
            let near = rings.neighbours(*own, |_| true).into_iter();
            near.map(|peer| (peer, Metric::new(200, 0))).collect()
        })
        .collect();
    let mut states = LinkStates::default();
    let sign = |states: &mut LinkStates, index: usize, links: &BTreeMap<_, _>, number: u64| {
        let made = Advertisement::sign(&keys[index], cluster, number, links);
        let (mut opened, bytes) = (None, made.bytes);
        let spent = time(|| opened = Advertisement::open(&bytes, ids[index], cluster));
        states.insert(opened.unwrap());
        spent
    };
    for (index, links) in links.iter().enumerate() {
        sign(&mut states, index, links, 1);
    }
    let compute = |states: &LinkStates, own: &BTreeMap<_, _>, before: &Routes| {
        let mut routes = Routes::new();
        let spent = time(|| routes = route::compute(addresses[0], own, states, before));
        (spent, routes)
    };
    let mut before = Routes::new();
    let fresh = Samples::of(50, || {
        let (spent, routes) = compute(&states, &links[0], &Routes::new());
        before = routes;
        spent
    });
    assert_eq!(before.len(), MEMBERS - 1);
    let mut checks = Vec::new();
    let changed = Samples::of(300, || {
        let index = 1 + random.below(MEMBERS - 1);
        let rtt = 200 + u32::try_from(random.below(20_000)).unwrap();
        let place = random.below(links[index].len());
        let peer = *links[index].keys().nth(place).unwrap();
        links[index].insert(peer, Metric::new(rtt, 0));
        checks.push(sign(&mut states, index, &links[index], 2 + u64::from(rtt)));
        let (spent, routes) = compute(&states, &links[0], &before);
        before = routes;
        spent
    });
    print("one signature and its list", &Samples::from(checks));
    print("routes to 999, none before", &fresh);
    print("routes to 999, after a change", &changed);
}

fn measure_member(keys: &[SecretKey], cluster: ClusterId) {
    let mut net = Net::new(keys, cluster);
    let everybody: BTreeSet<usize> = (0..MEMBERS).collect();
    // First all meet the feeder, then the watched one and the neighbours on the rings each other.
    let feeder = net.feeder;
    net.introduce(feeder, &everybody);
    for index in (0..MEMBERS).filter(|index| *index != feeder) {
        net.introduce(index, &BTreeSet::from([feeder]));
    }
    net.run(Duration::from_secs(2));
    for index in 0..MEMBERS {
        if index != net.feeder && index != net.watched {
            let mut known = net.near[index].clone();
            known.insert(net.feeder);
            net.introduce(index, &known);
        }
    }
    let start = Instant::now();
    let watched = net.watched;
    net.introduce(watched, &everybody);
    println!("a thousand introduced in {:.1?}", start.elapsed());
    net.run(Duration::from_secs(6));
    let known = net.meshes[net.watched].report().routes.len();
    assert_eq!(known, MEMBERS - 1, "the watched member knows everybody");
    println!("met all and learnt their links: {:.1?}", net.spent);

    let idle = Samples::of(10, || net.spend(WINDOW));
    let mut random = Random(11);
    let changes = Samples::of(CHANGES, || {
        let one = 2 + random.below(MEMBERS - 2);
        let near: Vec<usize> = net.near[one].iter().copied().collect();
        let other = near[random.below(near.len())];
        if [one, other].iter().any(|end| [net.watched, net.feeder].contains(end)) {
            return net.spend(WINDOW);
        }
        net.cut.insert((one.min(other), one.max(other)));
        net.spend(WINDOW)
    });
    let everybody = net.peers(&everybody);
    let mut gone = everybody.clone();
    let statuses = Samples::of(20, || {
        let index = random.below(MEMBERS);
        gone[index].alive = !gone[index].alive;
        let (watched, now) = (net.watched, net.now);
        net.spent = Duration::ZERO;
        net.call(watched, |mesh| mesh.set_peers(now, gone.clone()));
        net.spent
    });
    print("a member for 2 s without a change", &idle);
    print("a member for 2 s with one", &changes);
    println!("{:<36} {}", "", verdict(changes.median() <= LIMIT, "median 10 ms"));
    print("somebody fails or returns", &statuses);
    println!("{:<36} {}", "", verdict(statuses.median() <= LIMIT, "median 10 ms"));
}

/// Meshes and the network between them.
struct Net {
    now: Moment,
    meshes: Vec<Mesh>,
    ids: Vec<NodeId>,
    /// Neighbours on the rings.
    near: Vec<BTreeSet<usize>>,
    watched: usize,
    feeder: usize,
    /// What the watched mesh has taken.
    spent: Duration,
    cut: BTreeSet<(usize, usize)>,
    timers: Vec<Option<Moment>>,
    order: BTreeSet<(Moment, usize)>,
    flying: BTreeMap<(Moment, u64), (usize, usize, Vec<u8>)>,
    flown: u64,
}

impl Net {
    fn new(keys: &[SecretKey], cluster: ClusterId) -> Self {
        let ids: Vec<NodeId> = keys.iter().map(SecretKey::node_id).collect();
        let places: BTreeMap<Ipv6Addr, usize> = ids.iter().map(NodeId::address).zip(0..).collect();
        let rings = Rings::new(RINGS, places.keys().copied());
        let near = |id: &NodeId| {
            let near = rings.neighbours(id.address(), |_| true);
            near.iter().map(|address| places[address]).collect::<BTreeSet<usize>>()
        };
        let near: Vec<_> = ids.iter().map(near).collect();
        // Nothing is closed because the rings do not ask for it.
        let settings =
            MeshSettings { linger: Duration::from_secs(3_600), ..MeshSettings::default() };
        let mesh = |(index, key): (usize, &SecretKey)| {
            let mut seed = [1; 32];
            seed[..8].copy_from_slice(&index.to_le_bytes());
            let wall = Timestamp::from_millis(1_000_000);
            Mesh::new(key.clone(), cluster, settings.clone(), seed, Moment::START, wall)
        };
        let feeder = *near[0].first().unwrap();
        Self {
            now: Moment::START,
            meshes: keys.iter().enumerate().map(mesh).collect(),
            ids,
            near,
            watched: 0,
            feeder,
            spent: Duration::ZERO,
            cut: BTreeSet::new(),
            timers: vec![None; MEMBERS],
            order: BTreeSet::new(),
            flying: BTreeMap::new(),
            flown: 0,
        }
    }

    fn endpoint(index: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], u16::try_from(index + 1_000).unwrap()))
    }

    fn peers(&self, known: &BTreeSet<usize>) -> Vec<Peer> {
        let peer = |index: &usize| Peer {
            id: self.ids[*index],
            endpoints: vec![Self::endpoint(*index)],
            alive: true,
            reach: Reach::Full,
        };
        known.iter().map(peer).collect()
    }

    fn introduce(&mut self, index: usize, known: &BTreeSet<usize>) {
        let (now, peers) = (self.now, self.peers(known));
        self.call(index, |mesh| mesh.set_peers(now, peers));
    }

    fn call(&mut self, index: usize, work: impl FnOnce(&mut Mesh)) {
        let mesh = &mut self.meshes[index];
        let mut sent = Vec::new();
        let start = Instant::now();
        work(mesh);
        while let Some(output) = mesh.poll_output() {
            if let Output::Transmit { destination, datagram } = output {
                sent.push((destination, datagram));
            }
        }
        let timer = mesh.poll_timeout();
        if index == self.watched {
            self.spent += start.elapsed();
        }
        if let Some(before) = std::mem::replace(&mut self.timers[index], timer) {
            self.order.remove(&(before, index));
        }
        self.order.extend(timer.map(|timer| (timer, index)));
        for (destination, datagram) in sent {
            let to = usize::from(destination.port()) - 1_000;
            if !self.cut.contains(&(index.min(to), index.max(to))) {
                self.flown += 1;
                self.flying.insert((self.now + FLIGHT, self.flown), (index, to, datagram));
            }
        }
    }

    /// Runs for `time`.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let timer = self.order.first().copied();
            let arrival = self.flying.first_key_value().map(|(key, _)| *key);
            let is_timer = timer.is_some_and(|timer| arrival.is_none_or(|it| timer.0 <= it.0));
            let next = if is_timer { timer.map(|it| it.0) } else { arrival.map(|it| it.0) };
            let Some(next) = next.filter(|next| *next < end) else { break };
            self.now = self.now.max(next);
            let now = self.now;
            if let Some((_, index)) = timer.filter(|_| is_timer) {
                self.call(index, |mesh| mesh.handle_timeout(now));
            } else if let Some((_, (from, to, mut datagram))) = self.flying.pop_first() {
                let source = Self::endpoint(from);
                self.call(to, |mesh| mesh.handle_datagram(now, source, &mut datagram));
            }
        }
        self.now = end;
    }

    /// What the watched mesh takes meanwhile.
    fn spend(&mut self, time: Duration) -> Duration {
        self.spent = Duration::ZERO;
        self.run(time);
        self.spent
    }
}

//! A seeded network of many meshes in one thread and no real time: loss, delay, cut pairs,
//! machines that move, die and return.

pub mod nat;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::mesh::core::Mesh;
use crate::mesh::fixture::cluster;
use crate::mesh::fixture::key;
use crate::mesh::output::Output;
use crate::mesh::output::Peer;
use crate::mesh::settings::MeshSettings;
use crate::mesh::sim::nat::Routers;
use crate::model::identity::NodeId;
use crate::model::reach::Reach;
use crate::model::time::Moment;
use crate::model::time::Timestamp;

/// One datagram as it was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub datagram: Vec<u8>,
}

/// One machine.
pub struct Machine {
    pub mesh: Option<Mesh>,
    pub endpoint: SocketAddr,
    pub id: NodeId,
    pub reach: Reach,
    /// Where a `tree` machine hangs.
    pub parent: Option<usize>,
    /// What came out of the mesh, datagrams aside.
    pub outputs: Vec<Output>,
}

/// The network.
pub struct Sim {
    pub now: Moment,
    pub machines: Vec<Machine>,
    /// Lost datagrams in a hundred.
    pub loss_percent: u32,
    pub delay: Duration,
    /// Longest random addition to the delay of a datagram; over 0 they overtake each other.
    pub noise: Duration,
    /// Lengths of the carried datagrams that were lost.
    pub lost_carried: Vec<usize>,
    /// All datagrams sent, kept when asked for.
    pub capture: Option<Vec<Sent>>,
    pub sent_count: u64,
    /// Routers that translate addresses, when there are any.
    pub routers: Routers,
    pub settings: MeshSettings,
    /// From whom to whom nothing arrives.
    cut: BTreeSet<(usize, usize)>,
    /// When each machine's mesh wants to be called, and the same in order.
    timers: Vec<Option<Moment>>,
    order: BTreeSet<(Moment, usize)>,
    /// Where machines were at first: a hint.
    places: BTreeMap<SocketAddr, usize>,
    flying: BTreeMap<(Moment, u64), Sent>,
    flown: u64,
    random: StdRng,
    starts: u16,
}

pub fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

impl Sim {
    /// `count` machines that know each other and do not run yet.
    pub fn new(count: usize, seed: u8) -> Self {
        let machines: Vec<Machine> = (0..count)
            .map(|index| Machine {
                mesh: None,
                endpoint: format!("10.0.{}.{}:4863", index / 200, index % 200 + 1).parse().unwrap(),
                id: key(index).node_id(),
                reach: Reach::Full,
                parent: None,
                outputs: Vec::new(),
            })
            .collect();
        Self {
            now: Moment::START,
            timers: vec![None; count],
            order: BTreeSet::new(),
            places: machines.iter().map(|machine| machine.endpoint).zip(0..).collect(),
            machines,
            loss_percent: 0,
            delay: Duration::from_millis(1),
            noise: Duration::ZERO,
            lost_carried: Vec::new(),
            capture: None,
            sent_count: 0,
            routers: Routers::default(),
            settings: MeshSettings::default(),
            cut: BTreeSet::new(),
            flying: BTreeMap::new(),
            flown: 0,
            random: StdRng::from_seed([seed; 32]),
            starts: 0,
        }
    }

    /// The same, all running and knowing each other.
    pub fn running(count: usize, seed: u8) -> Self {
        let mut sim = Self::new(count, seed);
        (0..count).for_each(|index| sim.start(index));
        sim
    }

    /// Starts a machine, or starts it anew; its wall clock goes with the simulation.
    pub fn start(&mut self, index: usize) {
        let wall = Timestamp::from_millis(1_000_000).after(self.now.elapsed());
        self.start_at(index, wall);
    }

    /// Starts a machine whose wall clock shows `wall`.
    pub fn start_at(&mut self, index: usize, wall: Timestamp) {
        self.start_unacquainted(index, wall);
        let peers = self.peers(|_| true);
        self.set_peers(index, peers);
    }

    /// Starts a machine that knows nobody.
    pub fn start_alone(&mut self, index: usize) {
        self.start_unacquainted(index, Timestamp::from_millis(1_000_000));
    }

    fn start_unacquainted(&mut self, index: usize, wall: Timestamp) {
        self.starts += 1;
        let [high, low] = self.starts.to_be_bytes();
        let mut seed = [low; 32];
        seed[0] ^= high;
        let settings = MeshSettings { reach: self.machines[index].reach, ..self.settings.clone() };
        let mesh = Mesh::new(key(index), cluster(0), settings, seed, self.now, wall);
        self.machines[index].mesh = Some(mesh);
        let (now, endpoint) = (self.now, self.machines[index].endpoint);
        let parent = self.machines[index].parent.map(|parent| self.machines[parent].id);
        self.with(index, |mesh| {
            mesh.set_local_endpoints(now, vec![endpoint]);
            mesh.set_parent(now, parent);
        });
    }

    /// All machines that `alive` is asked about.
    pub fn peers(&self, alive: impl Fn(usize) -> bool) -> Vec<Peer> {
        let peer = |(index, machine): (usize, &Machine)| Peer {
            id: machine.id,
            endpoints: vec![machine.endpoint],
            alive: alive(index),
            reach: machine.reach,
        };
        self.machines.iter().enumerate().map(peer).collect()
    }

    pub fn set_peers(&mut self, index: usize, peers: Vec<Peer>) {
        let now = self.now;
        self.with(index, |mesh| mesh.set_peers(now, peers));
    }

    /// Calls a machine's mesh and does what it wants done.
    pub fn with<T>(&mut self, index: usize, call: impl FnOnce(&mut Mesh) -> T) -> T {
        let mesh = self.machines[index].mesh.as_mut().unwrap();
        let result = call(mesh);
        let (mut transmitted, mut others) = (Vec::new(), Vec::new());
        while let Some(output) = mesh.poll_output() {
            match output {
                Output::Transmit { destination, datagram } => {
                    assert!(datagram.len() <= super::wire::DATAGRAM_LENGTH_MAX);
                    transmitted.push((destination, datagram));
                }
                other => others.push(other),
            }
        }
        let timer = mesh.poll_timeout();
        self.set_timer(index, timer);
        self.machines[index].outputs.extend(others);
        let source = self.machines[index].endpoint;
        for (destination, datagram) in transmitted {
            self.post(Sent { source, destination, datagram });
        }
        result
    }

    fn set_timer(&mut self, index: usize, timer: Option<Moment>) {
        if let Some(before) = std::mem::replace(&mut self.timers[index], timer) {
            self.order.remove(&(before, index));
        }
        self.order.extend(timer.map(|timer| (timer, index)));
    }

    /// Puts a datagram on the wire.
    pub fn post(&mut self, sent: Sent) {
        self.sent_count += 1;
        if let Some(capture) = &mut self.capture {
            capture.push(sent.clone());
        }
        if self.random.next_u32() % 100 < self.loss_percent {
            if sent.datagram[1] == super::plane::header::KIND_CARRIED {
                self.lost_carried.push(sent.datagram.len());
            }
            return;
        }
        let Some(sent) = self.routers.carry(sent) else { return };
        let share = f64::from(self.random.next_u32() % 100);
        let jitter = self.delay.mul_f64(share / 1_000.0) + self.noise.mul_f64(share / 100.0);
        self.flown += 1;
        self.flying.insert((self.now + self.delay + jitter, self.flown), sent);
    }

    pub fn cut(&mut self, one: usize, other: usize) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    pub fn cut_one_way(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    pub fn mend(&mut self, one: usize, other: usize) {
        self.cut.remove(&(one, other));
        self.cut.remove(&(other, one));
    }

    /// Machines that reach each other in these pairs only, started and connected.
    pub fn joined(count: usize, seed: u8, pairs: &[(usize, usize)]) -> Self {
        let mut sim = Self::running(count, seed);
        for one in 0..count {
            for other in one + 1..count {
                if !pairs.contains(&(one, other)) {
                    sim.cut(one, other);
                }
            }
        }
        let all: Vec<usize> = (0..count).collect();
        sim.run_until(seconds(60), |sim| sim.is_connected(&all));
        sim
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Runs until `done` holds. Panics when it does not within `limit`.
    pub fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.now + limit;
        while !done(self) {
            assert!(self.step(end), "not reached within {limit:?}");
        }
    }

    /// Runs for `time`.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Does what comes next, if it comes before `end`.
    fn step(&mut self, end: Moment) -> bool {
        while let Some((_, index)) = self.order.first().copied()
            && self.machines[index].mesh.is_none()
        {
            self.set_timer(index, None);
        }
        let timer = self.order.first().copied();
        let arrival = self.flying.keys().next().copied();
        match (timer, arrival) {
            (Some((time, index)), arrival)
                if time < end && arrival.is_none_or(|arrival| time <= arrival.0) =>
            {
                self.now = self.now.max(time);
                let now = self.now;
                self.with(index, |mesh| mesh.handle_timeout(now));
                true
            }
            (_, Some(arrival)) if arrival.0 < end => {
                self.now = self.now.max(arrival.0);
                let sent = self.flying.remove(&arrival).unwrap();
                self.arrive(sent);
                true
            }
            _ => false,
        }
    }

    fn arrive(&mut self, mut sent: Sent) {
        let at = |endpoint: SocketAddr| {
            let is_there = |index: &usize| self.machines[*index].endpoint == endpoint;
            let hint = self.places.get(&endpoint).copied().filter(is_there);
            hint.or_else(|| (0..self.machines.len()).find(is_there))
        };
        let Some(to) = at(sent.destination) else { return };
        let from = at(sent.source).unwrap_or(usize::MAX);
        if self.cut.contains(&(from, to)) || self.machines[to].mesh.is_none() {
            return;
        }
        let now = self.now;
        self.with(to, |mesh| mesh.handle_datagram(now, sent.source, &mut sent.datagram));
    }

    pub fn mesh(&self, index: usize) -> &Mesh {
        self.machines[index].mesh.as_ref().unwrap()
    }

    /// The first hop and the number of hops from one machine to another.
    pub fn route(&self, from: usize, to: usize) -> Option<(usize, u32)> {
        let report = self.mesh(from).report();
        let route = report.route(self.machines[to].id)?;
        let hop = self.machines.iter().position(|machine| machine.id == route.first_hop)?;
        Some((hop, route.hops))
    }

    /// Whether all of `group` reach each other.
    pub fn is_connected(&self, group: &[usize]) -> bool {
        group.iter().all(|from| {
            let report = self.mesh(*from).report();
            let reached: BTreeSet<_> =
                report.routes.iter().map(|route| route.destination).collect();
            group.iter().all(|to| from == to || reached.contains(&self.machines[*to].id))
        })
    }

    pub fn link_count(&self, index: usize) -> usize {
        self.mesh(index).report().links.len()
    }

    /// How often a machine said something.
    pub fn count(&self, index: usize, of: impl Fn(&Output) -> bool) -> usize {
        self.machines[index].outputs.iter().filter(|output| of(output)).count()
    }
}

//! A network of agents on simulated time, from one seed: delay, loss, cuts, deaths, and machines
//! so busy that the agents on them do not run for seconds.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::gossip::core::Gossip;
use crate::gossip::core::Output;
use crate::gossip::settings::GossipSettings;
use crate::model::facts::Facts;
use crate::model::facts::SignedFacts;
use crate::model::identity::NodeId;
use crate::model::identity::SecretKey;
use crate::model::identity::testing;
use crate::model::member::Status;
use crate::model::time::Moment;
use crate::model::time::Timestamp;

/// When the simulated agents start: any later time would do.
pub(super) const EPOCH_MILLIS: u64 = 1_795_246_200_000;

/// What the network does to packets and machines.
#[derive(Debug, Clone)]
pub(super) struct Weather {
    /// One-way delay in milliseconds, drawn evenly.
    pub(super) delay_ms: std::ops::Range<u64>,
    /// Share of packets that vanish.
    pub(super) loss: f64,
    /// Longest time that an agent does not run, and longest that it then runs, in milliseconds.
    pub(super) starvation_ms: Option<(u64, u64)>,
}

impl Default for Weather {
    fn default() -> Self {
        Self { delay_ms: 1..5, loss: 0.0, starvation_ms: None }
    }
}

#[derive(Debug, Clone)]
enum Mail {
    Packet(Vec<u8>),
    Request(Vec<u8>),
    Response(Vec<u8>),
}

#[derive(Debug)]
enum Event {
    Deliver { to: usize, from: usize, mail: Mail },
    Timeout(usize),
    Starve(usize),
    Run(usize),
}

/// One simulated machine.
pub(super) struct Machine {
    key: SecretKey,
    /// None while it is dead.
    pub(super) gossip: Option<Gossip>,
    /// Which part of a cut network it is in.
    part: u8,
    starved: bool,
    inbox: Vec<(usize, Mail)>,
    armed: Option<Moment>,
    /// Everything it said about others, and when.
    pub(super) history: Vec<(Moment, NodeId, Status)>,
    pub(super) bytes_sent: usize,
}

/// The simulated network.
pub(super) struct World {
    pub(super) machines: Vec<Machine>,
    pub(super) now: Moment,
    weather: Weather,
    queue: BTreeMap<(Moment, u64), Event>,
    sequence: u64,
    random: SmallRng,
    index: BTreeMap<NodeId, usize>,
}

/// The key of machine `number`: the same in every run.
pub(super) fn key(number: usize) -> SecretKey {
    testing::key(number as u64)
}

/// Facts of `key`'s machine; `padding` bytes make them larger.
pub(super) fn facts(key: &SecretKey, version: u64, padding: usize) -> SignedFacts {
    let facts = Facts {
        node: key.node_id(),
        version,
        name: "web-1".parse().unwrap(),
        build: "0.1.0".to_owned(),
        protocol: 1,
        compute_type: "local".to_owned(),
        server_type: "headless".to_owned(),
        labels: [("padding".to_owned(), "x".repeat(padding))].into(),
        endpoints: vec!["10.0.0.1:4863".parse().unwrap()],
        nat: crate::model::nat::NatKind::Unknown,
        reach: crate::model::reach::Reach::Full,
        parent: None,
        ssh_port: Some(22),
        ssh_user: Some("root".to_owned()),
        os: "Debian GNU/Linux 13 (trixie)".to_owned(),
        arch: "x86_64".to_owned(),
        joined_at: Timestamp::from_millis(EPOCH_MILLIS),
        started_at: Timestamp::from_millis(EPOCH_MILLIS),
        rest: serde_json::Map::new(),
    };
    SignedFacts::sign(&facts, key).unwrap()
}

impl World {
    /// `count` machines, none of which runs yet.
    pub(super) fn new(count: usize, weather: Weather, seed: u64) -> Self {
        let keys: Vec<SecretKey> = (0..count).map(key).collect();
        let index = keys.iter().enumerate().map(|(i, key)| (key.node_id(), i)).collect();
        let machines = keys
            .into_iter()
            .map(|key| Machine {
                key,
                gossip: None,
                part: 0,
                starved: false,
                inbox: Vec::new(),
                armed: None,
                history: Vec::new(),
                bytes_sent: 0,
            })
            .collect();
        let random = SmallRng::seed_from_u64(seed);
        let (queue, sequence) = (BTreeMap::new(), 0);
        Self { machines, now: Moment::START, weather, queue, sequence, random, index }
    }

    /// `count` machines that run, know of each other and have met.
    pub(super) fn settled(count: usize, weather: Weather, seed: u64) -> Self {
        let mut world = Self::new(count, weather, seed);
        for number in 0..count {
            world.start(number);
        }
        assert!(world.run_until(Duration::from_secs(60), World::all_alive), "never settled");
        world.run(Duration::from_secs(15));
        world
    }

    pub(super) fn id(&self, number: usize) -> NodeId {
        self.machines[number].key.node_id()
    }

    pub(super) fn key(&self, number: usize) -> &SecretKey {
        &self.machines[number].key
    }

    /// Starts a machine's agent with a document that names all machines.
    pub(super) fn start(&mut self, number: usize) {
        let started_ms = EPOCH_MILLIS + u64::try_from(self.now.elapsed().as_millis()).unwrap();
        self.start_at(number, started_ms);
    }

    /// As [`World::start`], with a wall clock that says `started_ms`.
    pub(super) fn start_at(&mut self, number: usize, started_ms: u64) {
        let members: BTreeSet<NodeId> = self.index.keys().copied().collect();
        let seed = self.random.random();
        let started_at = Timestamp::from_millis(started_ms);
        let mut gossip = Gossip::new(self.id(number), started_at, GossipSettings::default(), seed);
        gossip.set_members(self.now, &members);
        self.machines[number].gossip = Some(gossip);
        self.machines[number].starved = false;
        self.machines[number].inbox.clear();
        self.flush(number);
        if let Some((_, run_ms)) = self.weather.starvation_ms {
            let after = self.random.random_range(0..=run_ms);
            self.plan(after, Event::Starve(number));
        }
    }

    /// kill -9.
    pub(super) fn kill(&mut self, number: usize) {
        self.machines[number].gossip = None;
    }

    /// Puts machines into a part of the network from which only that part is reached.
    pub(super) fn cut(&mut self, numbers: std::ops::Range<usize>, part: u8) {
        for machine in &mut self.machines[numbers] {
            machine.part = part;
        }
    }

    /// Has the operator do something on a running machine.
    pub(super) fn act(&mut self, number: usize, deed: impl FnOnce(&mut Gossip, Moment)) {
        let now = self.now;
        if let Some(gossip) = &mut self.machines[number].gossip {
            deed(gossip, now);
        }
        self.flush(number);
    }

    pub(super) fn status(&self, observer: usize, subject: usize) -> Option<Status> {
        self.machines[observer].gossip.as_ref()?.status(self.id(subject))
    }

    /// Whether every running machine but the subject sees it so.
    pub(super) fn all_see(&self, subject: usize, status: Status) -> bool {
        (0..self.machines.len())
            .filter(|observer| *observer != subject)
            .filter_map(|observer| self.status(observer, subject))
            .all(|seen| seen == status)
    }

    /// Whether all that run see all that run as alive.
    pub(super) fn all_alive(&self) -> bool {
        (0..self.machines.len())
            .filter(|number| self.machines[*number].gossip.is_some())
            .all(|number| self.all_see(number, Status::Alive))
    }

    /// Whether every running machine holds this version of the subject's facts.
    pub(super) fn all_hold(&self, subject: usize, version: u64) -> bool {
        let id = self.id(subject);
        let running = self.machines.iter().filter_map(|machine| machine.gossip.as_ref());
        running
            .map(|gossip| gossip.facts(id))
            .all(|facts| facts.is_some_and(|facts| facts.version == version))
    }

    pub(super) fn run(&mut self, duration: Duration) {
        self.run_until(duration, |_| false);
    }

    /// Runs until `done`, looked at every 10 ms, or for `limit`; whether it was done.
    pub(super) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while self.now < end {
            if done(self) {
                return true;
            }
            let tick = self.now + Duration::from_millis(10);
            while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= tick) {
                self.now = self.now.max(entry.key().0);
                let event = entry.remove();
                self.handle(event);
            }
            self.now = tick;
        }
        done(self)
    }

    fn plan(&mut self, after_ms: u64, event: Event) {
        self.plan_at(self.now + Duration::from_millis(after_ms), event);
    }

    fn plan_at(&mut self, due: Moment, event: Event) {
        self.sequence += 1;
        self.queue.insert((due, self.sequence), event);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Deliver { to, from, mail } => {
                let machine = &mut self.machines[to];
                if machine.gossip.is_none() || machine.part != self.machines[from].part {
                    return;
                }
                let machine = &mut self.machines[to];
                if machine.starved {
                    machine.inbox.push((from, mail));
                } else {
                    self.read(to, from, mail);
                }
            }
            Event::Timeout(number) => {
                self.machines[number].armed = None;
                if !self.machines[number].starved {
                    self.time_out(number);
                }
            }
            Event::Starve(number) => {
                let Some((starved_ms, _)) = self.weather.starvation_ms else { return };
                self.machines[number].starved = true;
                let after = self.random.random_range(0..=starved_ms);
                self.plan(after, Event::Run(number));
            }
            Event::Run(number) => self.wake(number),
        }
    }

    /// A starved agent runs again. Nobody promises that it reads its mail before its clock.
    fn wake(&mut self, number: usize) {
        let Some((_, run_ms)) = self.weather.starvation_ms else { return };
        self.machines[number].starved = false;
        let clock_first = self.random.random();
        if clock_first {
            self.time_out(number);
        }
        for (from, mail) in std::mem::take(&mut self.machines[number].inbox) {
            self.read(number, from, mail);
        }
        self.time_out(number);
        let after = self.random.random_range(0..=run_ms);
        self.plan(after, Event::Starve(number));
    }

    fn time_out(&mut self, number: usize) {
        let now = self.now;
        if let Some(gossip) = &mut self.machines[number].gossip
            && gossip.poll_timeout().is_some_and(|due| due <= now)
        {
            gossip.handle_timeout(now);
        }
        self.flush(number);
    }

    fn read(&mut self, number: usize, from: usize, mail: Mail) {
        let (now, source) = (self.now, self.id(from));
        let Some(gossip) = &mut self.machines[number].gossip else { return };
        match mail {
            Mail::Packet(packet) => gossip.handle_packet(now, source, &packet),
            Mail::Request(request) => {
                if let Ok(response) = gossip.handle_exchange_request(now, source, &request) {
                    self.post(number, from, Mail::Response(response));
                }
            }
            Mail::Response(response) => {
                if let Ok(Some(next)) = gossip.handle_exchange_response(now, source, &response) {
                    self.post(number, from, Mail::Request(next));
                }
            }
        }
        self.flush(number);
    }

    fn post(&mut self, from: usize, to: usize, mail: Mail) {
        let (Mail::Packet(bytes) | Mail::Request(bytes) | Mail::Response(bytes)) = &mail;
        self.machines[from].bytes_sent += bytes.len();
        let is_lost = matches!(mail, Mail::Packet(_)) && self.random.random_bool(self.weather.loss);
        if !is_lost && self.machines[from].part == self.machines[to].part {
            let delay = self.random.random_range(self.weather.delay_ms.clone());
            self.plan(delay, Event::Deliver { to, from, mail });
        }
    }

    fn flush(&mut self, number: usize) {
        let mut outputs = Vec::new();
        let Some(gossip) = &mut self.machines[number].gossip else { return };
        while let Some(output) = gossip.poll_output() {
            outputs.push(match output {
                Output::WantExchange { with } => (output, Some((with, gossip.exchange_request()))),
                _ => (output, None),
            });
        }
        let due = gossip.poll_timeout();
        for (output, exchange) in outputs {
            if let Some((with, request)) = exchange {
                self.post(number, self.index[&with], Mail::Request(request));
            }
            match output {
                Output::Send { to, packet } => {
                    self.post(number, self.index[&to], Mail::Packet(packet));
                }
                Output::StatusChanged { node, status } => {
                    self.machines[number].history.push((self.now, node, status));
                }
                _ => {}
            }
        }
        let armed = self.machines[number].armed;
        if let Some(due) = due.map(|due| due.max(self.now))
            && armed.is_none_or(|armed| due < armed)
        {
            self.machines[number].armed = Some(due);
            self.plan_at(due, Event::Timeout(number));
        }
    }
}

//! The simulated world: what happens when, and to whom.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use raptor::config::change::Change;
use raptor::config::document::Document;
use raptor::config::document::blob::Blob;
use raptor::gossip::settings::GossipSettings;
use raptor::model::cluster::Genesis;
use raptor::model::identity::NodeId;
use raptor::model::machine::IntentId;
use raptor::model::time::Moment;
use raptor::reconcile::fleet::reconcile;
use serde_json::json;

use crate::sim::Fault;
use crate::sim::back_end::BackEnd;
use crate::sim::hands::Work;
use crate::sim::is_replay;
use crate::sim::machine::CLOUD;
use crate::sim::machine::Machine;
use crate::sim::machine::forget_records;
use crate::sim::machine::key;
use crate::sim::network::Mail;
use crate::sim::secrets::SECRETS;
use crate::sim::secrets::meant;
use crate::sim::secrets::sealed;
use crate::sim::weather::Weather;

/// How long the weather is bad, and how long the fleet may take to mend itself afterwards.
const STORM: Duration = Duration::from_secs(45);
/// A back-end that failed again and again is left alone for up to five minutes.
const CALM_MAX: Duration = Duration::from_secs(480);

/// How long everything must hold to be believed.
const HOLDS_FOR: u32 = 4;

/// What happens.
#[derive(Debug)]
pub enum Event {
    Deliver {
        to: usize,
        from: usize,
        mail: Mail,
    },
    /// Membership of a machine's agent is due, in this run of it.
    Gossip(usize, u64),
    /// An agent looks at the fleet.
    Round(usize, u64),
    /// An agent compares its document with another's.
    Sync(usize, u64),
    /// The next part of a piece of work that an agent does.
    Work {
        who: usize,
        run: u64,
        work: Work,
    },
    /// Something at the back-end comes through, whoever asked for it.
    Land {
        intent: IntentId,
        name: raptor::model::name::Name,
    },
    /// A machine's agent starts.
    Start(usize),
    /// A machine stands still that has only just started.
    DieYoung(usize),
    Weather,
    Person,
}

/// The world.
pub struct World {
    pub now: Moment,
    pub random: SmallRng,
    pub machines: Vec<Machine>,
    pub index: BTreeMap<NodeId, usize>,
    pub back_end: BackEnd,
    pub weather: Weather,
    pub fault: Option<Fault>,
    pub genesis: Genesis,
    pub journal: Vec<String>,
    /// What must not happen, once it has.
    pub violation: Option<String>,
    /// Wishes whose machines a person destroyed, and was told so, and the update that says it: its
    /// author, epoch and sequence. Who died with the only copy took it along.
    pub destroyed_by_person: BTreeMap<IntentId, (NodeId, u64, u32)>,
    /// Machines that a person is about to destroy: it is tried until it is done.
    pub to_destroy: BTreeSet<IntentId>,
    /// Wishes whose machines the back-end is being asked to take away, and how many ask.
    pub going: BTreeMap<IntentId, usize>,
    pub has_secrets: bool,
    /// Whom the values of secrets were sealed to when they were set, by the values' ids.
    pub first_seals: BTreeMap<String, BTreeSet<NodeId>>,
    /// How often the network was cut in two.
    pub cuts: usize,
    /// Most machines that the fleet's own bound allows.
    pub fleet_max: usize,
    pub gossip: GossipSettings,
    queue: BTreeMap<(Moment, u64), Event>,
    sequence: u64,
}

impl World {
    /// A world of fleets alone.
    pub fn new(seed: u64, fault: Option<Fault>) -> Self {
        Self::with(seed, fault, false)
    }

    /// One whose fleets have secrets, too, when `has_secrets`.
    pub fn with(seed: u64, fault: Option<Fault>, has_secrets: bool) -> Self {
        forget_records();
        let mut random = SmallRng::seed_from_u64(seed);
        let founder = key(0).node_id();
        let genesis = Genesis { founder, nonce: 1, name: "sim".parse().unwrap() };
        let count: usize = random.random_range(2..=5);
        let gossip = GossipSettings {
            probe_period: Duration::from_millis(1_500),
            probe_timeout: Duration::from_millis(500),
            suspicion: Duration::from_secs(4),
            gossip_interval: Duration::from_millis(400),
            exchange_interval: Duration::from_secs(5),
            exchange_interval_max: Duration::from_secs(20),
            ..GossipSettings::default()
        };
        let mut world = Self {
            now: Moment::START,
            random,
            machines: Vec::new(),
            index: BTreeMap::new(),
            back_end: BackEnd::default(),
            weather: Weather::default(),
            fault,
            genesis,
            journal: Vec::new(),
            violation: None,
            destroyed_by_person: BTreeMap::new(),
            to_destroy: BTreeSet::new(),
            going: BTreeMap::new(),
            has_secrets,
            first_seals: BTreeMap::new(),
            cuts: 0,
            fleet_max: count + 5,
            gossip,
            queue: BTreeMap::new(),
            sequence: 0,
        };
        world.found(count);
        world
    }

    /// A cluster of `count` machines, all of which hold the same first update.
    fn found(&mut self, count: usize) {
        let mut changes = vec![set(
            &["config"],
            json!({
                "rules": {"default": {"min": count, "max": count, "cooldown_ms": 500,
                "compute_types": [CLOUD]}},
                "default_compute_type": CLOUD,
                "fleet": {
                    "max": self.fleet_max, "spawns_per_hour": 1_000,
                    "replace_after_ms": 8_000, "brake_ms": 20_000, "settle_ms": 5_000,
                    "lease_ms": 12_000, "bury_after_ms": 6_000, "adopt_after_ms": 15_000,
                    "boot_timeout_ms": 40_000,
                },
            }),
        )];
        let mut document = Document::new(self.genesis.clone(), 0);
        for number in 0..count {
            let place = self.add_machine();
            let node = self.machines[place].id();
            let wall = self.machines[place].wall(self.now);
            let mut bytes = [0; 10];
            bytes[0] = u8::try_from(number).unwrap() + 1;
            let intent = IntentId::from_bytes(bytes);
            let name = format!("first-{number}").parse().unwrap();
            self.back_end.create(intent, &name, true, place);
            let record = json!({"name": name, "compute_type": CLOUD, "server_type": "headless",
                "created_at": wall, "node": node, "scope": CLOUD});
            changes.push(set(&["machines", &intent.to_string()], record));
            let member = json!({"name": name, "role": "full", "added_at": wall, "endpoints": []});
            changes.push(set(&["members", &node.to_string()], member));
        }
        let wall = self.machines[0].wall(self.now);
        let all: Vec<NodeId> = self.machines.iter().map(Machine::id).collect();
        for (name, _) in SECRETS.into_iter().filter(|_| self.has_secrets) {
            let (id, holders) = (format!("first-{name}"), meant(name, all.iter().copied()));
            changes.push(set(&["secrets", name], sealed(name, &id, &holders, &json!(wall))));
            self.first_seals.insert(id, holders);
        }
        let blob = document.write(&key(0), wall, "found", &changes).unwrap().unwrap();
        for place in 0..count {
            self.machines[place].disk.push(blob.clone());
            self.machines[place].is_adopted = true;
            self.plan(0, Event::Start(place));
        }
        self.plan(3_000, Event::Weather);
        self.plan(5_000, Event::Person);
    }

    pub fn add_machine(&mut self) -> usize {
        let place = self.machines.len();
        let machine = Machine::new(place);
        self.index.insert(machine.id(), place);
        self.machines.push(machine);
        place
    }

    pub fn tell(&mut self, what: impl FnOnce() -> String) {
        let line = format!("{:>8.3} {}", self.now.elapsed().as_secs_f64(), what());
        self.journal.push(line);
    }

    pub fn plan(&mut self, after_ms: u64, event: Event) {
        self.sequence += 1;
        let due = self.now + Duration::from_millis(after_ms);
        self.queue.insert((due, self.sequence), event);
    }

    /// Runs to the end; why not everything held.
    pub fn live(&mut self) -> Result<(), String> {
        self.run_until(Moment::START + STORM);
        self.calm();
        let (mut held, mut why) = (0, String::new());
        while self.violation.is_none() && held < HOLDS_FOR {
            if self.now > Moment::START + STORM + CALM_MAX {
                return Err(self.report(&why));
            }
            self.run_until(self.now + Duration::from_secs(1));
            match self.verdict() {
                Ok(()) => held += 1,
                Err(what) => (held, why) = (0, what),
            }
        }
        match self.violation.take() {
            Some(violation) => Err(self.report(&violation)),
            None => Ok(()),
        }
    }

    fn report(&self, why: &str) -> String {
        const LINES: usize = 150;
        let lines = if is_replay() { usize::MAX } else { LINES };
        let from = self.journal.len().saturating_sub(lines);
        let plans = self.machines.iter().enumerate().filter_map(|(who, machine)| {
            Some(format!("{who} plans:\n{}", machine.agent.as_ref()?.plan))
        });
        let plans = plans.collect::<Vec<_>>().concat();
        format!("{}\n{plans}{why}", self.journal[from..].join("\n"))
    }

    fn run_until(&mut self, end: Moment) {
        while self.violation.is_none() {
            let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) else {
                break;
            };
            self.now = self.now.max(entry.key().0);
            let event = entry.remove();
            self.handle(event);
        }
        self.now = self.now.max(end);
    }

    fn is_run(&self, who: usize, run: u64) -> bool {
        self.machines[who].run == run && self.machines[who].agent.is_some()
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Deliver { to, from, mail } => self.deliver(to, from, mail),
            Event::Gossip(who, run) if self.is_run(who, run) => self.time_out(who),
            Event::Round(who, run) if self.is_run(who, run) => self.round(who),
            Event::Sync(who, run) if self.is_run(who, run) => self.sync(who),
            Event::Work { who, run, work } => self.work(who, run, work),
            Event::Land { intent, name } => self.land(intent, &name),
            Event::Start(who) => self.start(who),
            Event::DieYoung(who) => self.die_young(who),
            Event::Weather => self.change_weather(),
            Event::Person => self.person_acts(),
            Event::Gossip(..) | Event::Round(..) | Event::Sync(..) => {}
        }
    }

    /// Starts a machine's agent, unless it runs, cannot, or was told not to.
    pub fn start(&mut self, who: usize) {
        let machine = &mut self.machines[who];
        if machine.agent.is_some() || !machine.is_on || !machine.is_adopted {
            return;
        }
        let seed = self.random.random();
        machine.start(self.now, &self.genesis, seed, &self.gossip);
        let run = machine.run;
        self.tell(|| format!("{who} starts"));
        self.changed(who);
        self.plan(1_000, Event::Sync(who, run));
    }

    /// kill -9 of a machine's agent.
    pub fn crash(&mut self, who: usize) {
        self.machines[who].agent = None;
        self.tell(|| format!("{who} crashes"));
    }

    /// An agent's document has changed.
    pub fn changed(&mut self, who: usize) {
        let (now, machine) = (self.now, &mut self.machines[who]);
        let me = machine.id();
        let Some(agent) = &mut machine.agent else { return };
        let records = agent.records();
        if records.evicted.contains(&me) {
            machine.agent = None;
            self.tell(|| format!("{who} learns that it was put out"));
            return;
        }
        let members: BTreeSet<NodeId> = records.members.keys().copied().collect();
        agent.gossip.set_members(now, &members);
        self.flush(who);
        self.reseal(who);
        self.round_soon(who, 20);
    }

    /// Has an agent look at the fleet within `after_ms`.
    pub fn round_soon(&mut self, who: usize, after_ms: u64) {
        let due = self.now + Duration::from_millis(after_ms);
        let machine = &mut self.machines[who];
        let Some(agent) = &mut machine.agent else { return };
        if agent.round_armed.is_none_or(|armed| due < armed || armed < self.now) {
            agent.round_armed = Some(due);
            let run = machine.run;
            self.plan(after_ms, Event::Round(who, run));
        }
    }

    fn round(&mut self, who: usize) {
        let now = self.now;
        let machine = &mut self.machines[who];
        let (me, wall, full, run) =
            (machine.id(), machine.wall(now), machine.disk_full, machine.run);
        let Some(agent) = &mut machine.agent else { return };
        if agent.round_armed.is_some_and(|armed| armed > now) {
            return;
        }
        agent.round_armed = None;
        self.reseal(who);
        let machine = &mut self.machines[who];
        let Some(agent) = &mut machine.agent else { return };
        let inputs = agent.inputs(now, me, full);
        let busy = agent.executor.busy();
        let view = agent.sight.view(now, wall, inputs, busy);
        let plan = reconcile(&view);
        let orders = agent.executor.advance(now, &view, &plan);
        let is_calm = plan.is_calm();
        agent.plan = plan;
        for order in orders {
            self.begin(who, run, order);
        }
        self.round_soon(who, if is_calm { 10_000 } else { 1_000 });
    }

    /// Hands blobs that an agent has to the others that it knows.
    pub fn push(&mut self, who: usize, blobs: &[Blob]) {
        let Some(agent) = &mut self.machines[who].agent else { return };
        let records = agent.records();
        let known = records.members.keys().chain(&records.evicted).copied();
        let known: Vec<usize> = known.filter_map(|node| self.index.get(&node).copied()).collect();
        for to in known.into_iter().filter(|to| *to != who) {
            self.post(who, to, Mail::Blobs(blobs.to_vec()));
        }
    }
}

/// A change of the document.
pub fn set(keys: &[&str], value: serde_json::Value) -> Change {
    let path = raptor::config::path::Path::from_keys(keys.iter().copied()).unwrap();
    Change::Set { path, value }
}

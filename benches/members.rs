//! A thousand members for one hour, simulated: the real membership of each and the planner of some, on
//! simulated time and network, while one dies and one comes back every minute (under 60 s).
//!
//! Facts are left out: a thousand members verify a thousand signatures each, once, and what that
//! takes is known. `-- --minutes N` simulates another time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement ends where it cannot go on")]

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::BinaryHeap;
use std::time::Duration;
use std::time::Instant;

use rand::RngExt;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use raptor::gossip::core::Gossip;
use raptor::gossip::core::Output;
use raptor::gossip::settings::GossipSettings;
use raptor::model::identity::NodeId;
use raptor::model::identity::SecretKey;
use raptor::model::member::Role;
use raptor::model::member::Status;
use raptor::model::rule::FleetLimits;
use raptor::model::rule::Rule;
use raptor::model::time::Moment;
use raptor::model::time::Timestamp;
use raptor::reconcile::fleet::reconcile;
use raptor::reconcile::fleet::view::FleetView;
use raptor::reconcile::fleet::view::SeenMember;

const MEMBERS: usize = 1_000;
const MINUTES: u64 = 60;
const EPOCH_MILLIS: u64 = 1_795_246_200_000;
const AIM: Duration = Duration::from_secs(60);

/// Members that plan every minute: those that nobody's change wakes do so every 15 s to 300 s.
const PLANNERS: usize = 20;

/// One-way delays.
const DELAY_MS: std::ops::Range<u64> = 1..40;

enum Mail {
    Packet(Vec<u8>),
    Request(Vec<u8>),
    Response(Vec<u8>),
}

enum Event {
    Deliver { to: usize, from: usize, mail: Mail },
    Timeout(usize),
}

struct World {
    ids: Vec<NodeId>,
    index: BTreeMap<NodeId, usize>,
    members: BTreeSet<NodeId>,
    gossips: Vec<Option<Gossip>>,
    armed: Vec<Option<Moment>>,
    now: Moment,
    queue: BinaryHeap<Reverse<(Moment, usize)>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    random: SmallRng,
    delivered: u64,
}

/// Keys take milliseconds each, so all cores make them.
fn ids() -> Vec<NodeId> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let make = |number: usize| {
        let mut counter = (number as u64) << 32;
        let key = SecretKey::generate(|seed| {
            counter += 1;
            seed[..8].copy_from_slice(&counter.to_le_bytes());
        });
        key.node_id()
    };
    std::thread::scope(|scope| {
        let share = |share| (0..MEMBERS).filter(move |number| number % threads == share);
        let shares: Vec<_> = (0..threads)
            .map(|number| scope.spawn(move || share(number).map(make).collect::<Vec<_>>()))
            .collect();
        shares.into_iter().flat_map(|share| share.join().unwrap()).collect()
    })
}

impl World {
    fn new(ids: Vec<NodeId>) -> Self {
        let mut world = Self {
            index: ids.iter().copied().zip(0..).collect(),
            members: ids.iter().copied().collect(),
            gossips: ids.iter().map(|_| None).collect(),
            armed: vec![None; ids.len()],
            ids,
            now: Moment::START,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            random: SmallRng::seed_from_u64(7),
            delivered: 0,
        };
        for number in 0..MEMBERS {
            world.start(number);
        }
        world
    }

    fn start(&mut self, number: usize) {
        let millis = u64::try_from(self.now.elapsed().as_millis()).unwrap();
        let started_at = Timestamp::from_millis(EPOCH_MILLIS + millis);
        let (id, seed) = (self.ids[number], self.random.random());
        let mut gossip = Gossip::new(id, started_at, GossipSettings::default(), seed);
        gossip.set_members(self.now, &self.members);
        self.gossips[number] = Some(gossip);
        self.armed[number] = None;
        self.flush(number);
    }

    fn plan(&mut self, due: Moment, event: Event) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[place] = Some(event);
        self.queue.push(Reverse((due, place)));
    }

    fn post(&mut self, from: usize, to: NodeId, mail: Mail) {
        let after = Duration::from_millis(self.random.random_range(DELAY_MS));
        let to = self.index[&to];
        self.plan(self.now + after, Event::Deliver { to, from, mail });
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(Reverse((due, place))) = self.queue.peek().copied() {
            if due > end {
                break;
            }
            self.queue.pop();
            self.now = self.now.max(due);
            let event = self.events[place].take();
            self.free.push(place);
            match event {
                Some(Event::Deliver { to, from, mail }) => self.read(to, from, mail),
                Some(Event::Timeout(number)) => self.time_out(number),
                None => {}
            }
        }
        self.now = end;
    }

    fn time_out(&mut self, number: usize) {
        self.armed[number] = None;
        let now = self.now;
        if let Some(gossip) = &mut self.gossips[number]
            && gossip.poll_timeout().is_some_and(|due| due <= now)
        {
            gossip.handle_timeout(now);
        }
        self.flush(number);
    }

    fn read(&mut self, number: usize, from: usize, mail: Mail) {
        let (now, source) = (self.now, self.ids[from]);
        let Some(gossip) = &mut self.gossips[number] else { return };
        self.delivered += 1;
        let answer = match mail {
            Mail::Packet(packet) => {
                gossip.handle_packet(now, source, &packet);
                None
            }
            Mail::Request(request) => {
                let answered = gossip.handle_exchange_request(now, source, &request);
                answered.ok().map(Mail::Response)
            }
            Mail::Response(response) => {
                let next = gossip.handle_exchange_response(now, source, &response);
                next.ok().flatten().map(Mail::Request)
            }
        };
        if let Some(mail) = answer {
            self.post(number, source, mail);
        }
        self.flush(number);
    }

    fn flush(&mut self, number: usize) {
        loop {
            let Some(gossip) = &mut self.gossips[number] else { return };
            match gossip.poll_output() {
                Some(Output::Send { to, packet }) => self.post(number, to, Mail::Packet(packet)),
                Some(Output::WantExchange { with }) => {
                    let request = gossip.exchange_request();
                    self.post(number, with, Mail::Request(request));
                }
                Some(_) => {}
                None => break,
            }
        }
        let due = self.gossips[number].as_ref().and_then(Gossip::poll_timeout);
        if let Some(due) = due.map(|due| due.max(self.now))
            && self.armed[number].is_none_or(|armed| due < armed)
        {
            self.armed[number] = Some(due);
            self.plan(due, Event::Timeout(number));
        }
    }

    /// What a member would plan; how many machines it would get.
    fn planned(&self, number: usize) -> usize {
        let Some(gossip) = &self.gossips[number] else { return 0 };
        let members = gossip.statuses().into_iter().map(|(node, (status, since))| {
            let seen = SeenMember {
                name: format!("m-{}", self.index[&node]).parse().unwrap(),
                role: Role::Full,
                status,
                status_for: self.now.since(since),
                added_at: Timestamp::from_millis(EPOCH_MILLIS),
                intent: None,
                compute_type: "cloud".to_owned(),
                server_type: "headless".to_owned(),
                labels: BTreeMap::new(),
                drives: Some(BTreeMap::from([("cloud".to_owned(), "cloud".to_owned())])),
            };
            (node, seen)
        });
        let most = u32::try_from(MEMBERS).unwrap();
        let rule = Rule { min: most, compute_types: vec!["cloud".to_owned()], ..Rule::default() };
        let millis = u64::try_from(self.now.elapsed().as_millis()).unwrap();
        let view = FleetView {
            me: self.ids[number],
            now: Timestamp::from_millis(EPOCH_MILLIS + millis),
            rules: BTreeMap::from([("default".to_owned(), rule)]),
            limits: FleetLimits { max: 2 * most, ..FleetLimits::default() },
            default_compute_type: "cloud".to_owned(),
            default_server_type: "headless".to_owned(),
            machines: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            members: members.collect(),
            lease_known_for: BTreeMap::new(),
            mark_known_for: BTreeMap::new(),
            listings: BTreeMap::new(),
            busy: BTreeSet::new(),
            settled_for: Duration::ZERO,
            half_knowledge: None,
        };
        reconcile(&view).actions.len()
    }

    /// How many of the living call `subject` so.
    fn calling(&self, subject: usize, status: Status) -> usize {
        let living = self.gossips.iter().flatten();
        living.filter(|gossip| gossip.status(self.ids[subject]) == Some(status)).count()
    }
}

fn minutes() -> u64 {
    let words: Vec<String> = std::env::args().collect();
    let place = words.iter().position(|word| word == "--minutes");
    place.and_then(|place| words.get(place + 1)?.parse().ok()).unwrap_or(MINUTES)
}

fn main() {
    let (mut world, minutes) = (World::new(ids()), minutes());
    let started = Instant::now();
    let (mut unseen, mut actions) = (0, 0);
    for minute in 0..minutes {
        let dead = usize::try_from(minute).unwrap() * 7 % MEMBERS;
        world.gossips[dead] = None;
        world.run(Duration::from_secs(50));
        // Nobody that lives takes it for alive any more.
        unseen += world.calling(dead, Status::Alive);
        for planner in 0..PLANNERS {
            actions += world.planned((planner * 53 + dead + 1) % MEMBERS);
        }
        world.start(dead);
        world.run(Duration::from_secs(10));
    }
    let took = started.elapsed();
    let aim = if minutes < MINUTES || took <= AIM { "met" } else { "MISSED" };
    println!(
        "members/{MEMBERS} for {minutes} simulated minutes: {took:.1?}, {} packets, {actions} \
         actions planned, {unseen} wrong views of the dead; aim {AIM:?}: {aim}",
        world.delivered
    );
}

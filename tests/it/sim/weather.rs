//! What the world does to the fleet while the weather is bad.

use std::collections::BTreeSet;

use rand::RngExt;
use raptor::model::machine::IntentId;

use crate::sim::operator::BY_HAND;
use crate::sim::world::Event;
use crate::sim::world::World;

/// The state of network and back-end.
#[derive(Debug)]
pub struct Weather {
    pub is_bad: bool,
    /// Share of packets that vanish.
    pub loss: f64,
    /// Longest one-way delay in milliseconds.
    pub delay_ms: u64,
    /// Ways that nothing passes: from, to.
    pub one_way: BTreeSet<(usize, usize)>,
    /// Share of requests that the back-end fails.
    pub back_end_fails: f64,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            is_bad: true,
            loss: 0.0,
            delay_ms: 30,
            one_way: BTreeSet::new(),
            back_end_fails: 0.0,
        }
    }
}

impl World {
    /// Most machines that may be at the back-end: each part of a cut network keeps `fleet.max` by
    /// itself. One cut makes two of them; each further one puts others together, who do not know yet
    /// what each of them made before. What people spawn is asked for without regard to it.
    pub fn bound(&self) -> usize {
        let instances = self.back_end.instances.values();
        let by_hand = instances.filter(|instance| instance.name.as_str().starts_with(BY_HAND));
        (1 + self.cuts).max(2) * self.fleet_max + by_hand.count()
    }

    pub fn change_weather(&mut self) {
        if !self.weather.is_bad {
            return;
        }
        match self.random.random_range(0..20) {
            0..4 => self.crash_somebody(),
            4..8 => self.stop_one(),
            8 => self.stop_all_but_one(),
            9..11 => self.cut_in_two(),
            11..13 => self.mend_network(),
            13 => self.cut_one_way(),
            14 => {
                self.weather.loss = self.random.random_range(0.0..0.25);
                self.weather.delay_ms = self.random.random_range(10..400);
            }
            15..17 => self.weather.back_end_fails = self.random.random_range(0.0..0.8),
            17 => self.weather.back_end_fails = 0.0,
            18 => self.jump_a_clock(),
            _ => self.fill_a_disk(),
        }
        let after = self.random.random_range(500..5_000);
        self.plan(after, Event::Weather);
    }

    fn running(&self) -> Vec<usize> {
        (0..self.machines.len()).filter(|who| self.machines[*who].agent.is_some()).collect()
    }

    /// Those that could rebuild the rest: they run, and nobody, person or member, is about to take
    /// them away.
    pub fn secure(&mut self) -> Vec<usize> {
        let places = self.places(&self.to_destroy);
        self.staying().into_iter().filter(|who| !places.contains(who)).collect()
    }

    /// Those that run, whose makers have let go of them, and of which nobody has begun to take them
    /// away: a maker that does not see its newcomer does.
    pub fn settled(&mut self) -> Vec<usize> {
        let mut coming = BTreeSet::new();
        for who in self.running() {
            let Some(agent) = &mut self.machines[who].agent else { continue };
            let records = agent.records().machines.iter();
            let leased = records.filter(|(_, record)| record.upkeep.lease.is_some());
            coming.extend(leased.map(|(intent, _)| *intent));
        }
        let places = self.places(&coming);
        self.staying().into_iter().filter(|who| !places.contains(who)).collect()
    }

    /// Those that run, and of which nobody has begun to take them away.
    fn staying(&mut self) -> Vec<usize> {
        let mut doomed = BTreeSet::new();
        let asked = self.going.iter().filter(|(_, asking)| **asking > 0);
        let mut going: BTreeSet<IntentId> = asked.map(|(intent, _)| *intent).collect();
        for who in self.running() {
            let Some(agent) = &mut self.machines[who].agent else { continue };
            let records = agent.records();
            doomed.extend(records.evicted.iter().copied());
            going.extend(records.tombstones.keys().copied());
            let ending = records.machines.iter().filter(|(_, it)| it.upkeep.ending().is_some());
            going.extend(ending.map(|(intent, _)| *intent));
        }
        let places = self.places(&going);
        let stays =
            |who: &usize| !places.contains(who) && !doomed.contains(&self.machines[*who].id());
        self.running().into_iter().filter(stays).collect()
    }

    /// Where the machines of these wishes are.
    pub fn places(&self, intents: &BTreeSet<IntentId>) -> BTreeSet<usize> {
        let instances = self.back_end.instances.values();
        let meant = |tag: &Option<IntentId>| tag.as_ref().is_some_and(|tag| intents.contains(tag));
        instances.filter(|it| meant(&it.tag)).map(|it| it.place).collect()
    }

    fn any_running(&mut self) -> Option<usize> {
        let running = self.running();
        (!running.is_empty()).then(|| running[self.random.random_range(0..running.len())])
    }

    /// An agent dies; its supervisor starts it again.
    fn crash_somebody(&mut self) {
        let Some(who) = self.any_running() else { return };
        self.crash(who);
        let after = self.random.random_range(200..15_000);
        self.plan(after, Event::Start(who));
    }

    /// A machine stands still for good. The last one that could rebuild the rest never does.
    fn stop_one(&mut self) {
        let running = self.running();
        let Some(who) = self.any_running() else { return };
        let secure = self.secure();
        if running.len() > 1 && secure.iter().any(|other| *other != who) {
            self.stop(who);
        }
    }

    /// Whether a machine that starts for the first time is one that stands still within half a
    /// second of that, before many have heard of it.
    pub fn dies_young(&self, who: usize) -> bool {
        self.weather.is_bad && who % 7 == 3
    }

    /// It does, unless it is the last one that could rebuild the rest.
    pub fn die_young(&mut self, who: usize) {
        let is_spare = self.secure().iter().any(|other| *other != who);
        if self.machines[who].is_on && is_spare {
            self.stop(who);
        }
    }

    fn stop_all_but_one(&mut self) {
        let secure = self.secure();
        if secure.is_empty() {
            return;
        }
        let survivor = secure[self.random.random_range(0..secure.len())];
        self.tell(|| format!("only {survivor} survives"));
        for who in 0..self.machines.len() {
            if who != survivor && self.machines[who].is_on && self.machines[who].is_adopted {
                self.stop(who);
            }
        }
    }

    fn stop(&mut self, who: usize) {
        self.tell(|| format!("machine {who} stands still"));
        self.machines[who].agent = None;
        self.machines[who].is_on = false;
        self.back_end.stop(who);
    }

    fn cut_in_two(&mut self) {
        self.cuts += 1;
        for machine in &mut self.machines {
            machine.part = self.random.random_range(0..2);
        }
        let parts: Vec<u8> = self.machines.iter().map(|machine| machine.part).collect();
        self.tell(|| format!("the network is cut: {parts:?}"));
    }

    fn mend_network(&mut self) {
        for machine in &mut self.machines {
            machine.part = 0;
        }
        self.weather.one_way.clear();
        self.tell(|| "the network is whole".to_owned());
    }

    fn cut_one_way(&mut self) {
        let count = self.machines.len();
        for _ in 0..3 {
            let way = (self.random.random_range(0..count), self.random.random_range(0..count));
            self.weather.one_way.insert(way);
        }
        let ways = self.weather.one_way.clone();
        self.tell(|| format!("nothing passes {ways:?}"));
    }

    fn jump_a_clock(&mut self) {
        const HOUR: i64 = 3_600_000;
        let Some(who) = self.any_running() else { return };
        let error = self.random.random_range(-2 * HOUR..2 * HOUR);
        self.machines[who].clock_error = error;
        self.tell(|| format!("the clock of {who} is wrong by {error} ms"));
    }

    fn fill_a_disk(&mut self) {
        let Some(who) = self.any_running() else { return };
        self.machines[who].disk_full ^= true;
        let full = self.machines[who].disk_full;
        self.tell(|| format!("the disk of {who} is full: {full}"));
    }

    /// The sun comes out: everything works, and nobody does any harm.
    pub fn calm(&mut self) {
        self.weather = Weather { is_bad: false, ..Weather::default() };
        self.mend_network();
        for who in 0..self.machines.len() {
            self.machines[who].disk_full = false;
            self.machines[who].clock_error = 0;
            self.plan(500, Event::Start(who));
        }
        self.tell(|| "calm".to_owned());
    }
}

//! People who type at the same time.

use std::collections::BTreeSet;
use std::collections::VecDeque;

use rand::RngExt;
use raptor::config::document::blob::Blob;
use raptor::model::identity::NodeId;
use raptor::model::machine::IntentId;
use raptor::model::member::Status;
use raptor::reconcile::fleet::executor::Outcome;
use raptor::reconcile::fleet::executor::Step;
use raptor::reconcile::fleet::plan::Wait;
use raptor::reconcile::fleet::plan::WhyNot;
use raptor::reconcile::fleet::write::Edit;
use raptor::reconcile::fleet::write::Edits;
use serde_json::json;

use crate::sim::hands::Chain;
use crate::sim::hands::Whose;
use crate::sim::hands::Work;
use crate::sim::machine::CLOUD;
use crate::sim::world::Event;
use crate::sim::world::World;
use crate::sim::world::set;

/// How the names of machines begin that people spawn.
pub const BY_HAND: &str = "by-hand-";

impl World {
    /// A person does something, while the weather is bad; what was begun is tried until it is done.
    pub fn person_acts(&mut self) {
        if let Some(who) = self.somebody() {
            let run = self.machines[who].run;
            if !self.weather.is_bad {
                self.person_prunes(who);
            }
            if let Some(intent) = self.to_destroy.first().copied() {
                self.person_destroys(who, run, intent);
            } else if self.weather.is_bad {
                match self.random.random_range(0..10) {
                    0..3 => self.person_scales(who, run),
                    3..6 => self.person_wants_one_gone(who, run),
                    6..8 => self.person_spawns(who, run),
                    8 if self.has_secrets => self.person_sets_a_secret(who, run),
                    _ => {}
                }
            }
        }
        let after = self.random.random_range(3_000..15_000);
        self.plan(after, Event::Person);
    }

    /// A member that a person can reach, and that knows its cluster.
    fn somebody(&mut self) -> Option<usize> {
        let is_up =
            |who: &usize| self.machines[*who].agent.is_some() && !self.machines[*who].disk_full;
        let up: Vec<usize> = (0..self.machines.len()).filter(is_up).collect();
        if up.is_empty() {
            return None;
        }
        Some(up[self.random.random_range(0..up.len())])
    }

    fn person_scales(&mut self, who: usize, run: u64) {
        let count = self.random.random_range(1..=self.fleet_max - 4);
        self.tell(|| format!("a person at {who} scales to {count}"));
        let path = |key| set(&["config", "rules", "default", key], json!(count));
        let chain = Chain { intent: nothing(), steps: VecDeque::new(), destroys: false };
        let whose = Whose::Person(chain);
        let then = Work::over(whose, Outcome::Done);
        self.write(who, run, &[path("min"), path("max")], then);
    }

    fn person_wants_one_gone(&mut self, who: usize, run: u64) {
        let Some(agent) = &mut self.machines[who].agent else { return };
        let records: Vec<IntentId> = agent.records().machines.keys().copied().collect();
        // Who takes away all that could rebuild the rest has ended the cluster.
        if records.len() < 2 || self.secure().len() < 3 {
            return;
        }
        let intent = records[self.random.random_range(0..records.len())];
        self.to_destroy.insert(intent);
        self.person_destroys(who, run, intent);
    }

    /// As the command line does it: out of the cluster, given back, written down.
    fn person_destroys(&mut self, who: usize, run: u64, intent: IntentId) {
        let (me, wall) = (self.machines[who].id(), self.machines[who].wall(self.now));
        let Some(agent) = &mut self.machines[who].agent else { return };
        let records = agent.records();
        let (members, is_buried) =
            (records.members.len(), records.tombstones.contains_key(&intent));
        let Some(record) = records.machines.get(&intent).cloned() else {
            // Somebody has done it already, or it never was written down.
            if is_buried || !(self.weather.is_bad || self.is_written_down(intent)) {
                self.to_destroy.remove(&intent);
            }
            return;
        };
        if record.node == Some(me) {
            if members == 1 {
                // Nobody is left who could destroy the last one.
                self.to_destroy.remove(&intent);
            }
            return;
        }
        if self.would_end_the_cluster(intent) {
            return;
        }
        self.tell(|| format!("a person at {who} destroys {intent}"));
        let mut steps: VecDeque<Step> =
            record.node.map(|node| Step::Evict { node }).into_iter().collect();
        steps.push_back(Step::Destroy { intent, compute_type: CLOUD.to_owned() });
        let reason = "a person destroyed it";
        steps.push_back(Step::Write(Edits::bury(intent, &record, reason, false, wall)));
        self.next_step(who, run, Chain { intent, steps, destroys: true });
    }

    /// Whether nobody else is sure to stay when a machine that runs goes: both sides of a cut may
    /// take each other away (docs/recovery.md). A person waits until the members have sorted it out.
    fn would_end_the_cluster(&mut self, intent: IntentId) -> bool {
        let places = self.places(&BTreeSet::from([intent]));
        places.iter().any(|place| self.machines[*place].agent.is_some())
            && self.settled().iter().all(|other| places.contains(other))
    }

    /// Whether any agent knows of a machine.
    fn is_written_down(&mut self, intent: IntentId) -> bool {
        let agents = self.machines.iter_mut().filter_map(|machine| machine.agent.as_mut());
        agents.into_iter().any(|agent| agent.records().machines.contains_key(&intent))
    }

    /// As the command line does it: wished for, made, entered.
    fn person_spawns(&mut self, who: usize, run: u64) {
        let wall = self.machines[who].wall(self.now);
        let mut bytes = [0xff; 10];
        bytes[1..9].copy_from_slice(&self.random.random::<u64>().to_le_bytes());
        let intent = IntentId::from_bytes(bytes);
        self.tell(|| format!("a person at {who} spawns {intent}"));
        let name = format!("{BY_HAND}{intent}");
        let record = json!({"name": name, "compute_type": CLOUD, "server_type": "headless",
            "created_at": wall, "scope": CLOUD});
        let path = vec!["machines".to_owned(), intent.to_string()];
        let wish = Edit { path, value: Some(record.clone()) };
        let record = Box::new(serde_json::from_value(record).unwrap());
        let steps = VecDeque::from([
            Step::Write(Edits { note: "spawn".to_owned(), edits: vec![wish] }),
            Step::Create { intent, record: Box::clone(&record) },
            Step::Enter { intent, record },
        ]);
        self.next_step(who, run, Chain { intent, steps, destroys: false });
    }

    /// As the plan tells a person to: machines that run, and whose members do not answer.
    fn person_prunes(&mut self, who: usize) {
        let Some(agent) = &mut self.machines[who].agent else { return };
        let tells = |wait: &Wait| wait.why == WhyNot::Unsure && wait.message.contains("prune");
        if !agent.plan.waits.iter().any(tells) {
            return;
        }
        let records = agent.records().machines.clone();
        let answers = |node: NodeId| {
            matches!(agent.gossip.status(node), Some(Status::Alive | Status::Suspect))
        };
        for (intent, record) in records {
            let is_being_made =
                record.upkeep.lease.as_ref().is_some_and(|lease| answers(lease.holder));
            if !is_being_made && record.node.is_some_and(|node| !answers(node)) {
                self.to_destroy.insert(intent);
            }
        }
    }

    fn next_step(&mut self, who: usize, run: u64, mut chain: Chain) {
        if let Some(step) = chain.steps.pop_front() {
            self.begin_step(who, run, step, Whose::Person(chain));
        }
    }

    /// A step of a person's is over. What fails is undone when it was a spawn, and tried again later
    /// when it was to destroy something.
    pub fn person_goes_on(&mut self, who: usize, run: u64, chain: Chain, outcome: &Outcome) {
        let intent = chain.intent;
        match outcome {
            Outcome::Done if !chain.steps.is_empty() => self.next_step(who, run, chain),
            Outcome::Done if chain.destroys => {
                self.tell(|| format!("a person is told that {intent} is destroyed"));
                self.to_destroy.remove(&intent);
                let machine = &self.machines[who];
                let (me, newest) = (machine.id(), machine.disk.iter().rev());
                let told = newest.map(Blob::header).find(|header| header.author == me);
                if let Some(told) = told {
                    let update = (told.author, told.epoch, told.sequence);
                    self.destroyed_by_person.insert(intent, update);
                }
            }
            Outcome::Failed(_) if !chain.destroys => {
                // Ctrl-C, or a failure: what was begun goes.
                self.to_destroy.insert(intent);
            }
            _ => {}
        }
    }
}

/// The wish of steps that are about no machine.
fn nothing() -> IntentId {
    IntentId::from_bytes([0; 10])
}

//! The hands of a simulated agent: each step takes time, may fail, and may be cut off by a crash
//! between any two of its parts.

use std::collections::VecDeque;
use std::time::Duration;

use rand::RngExt;
use raptor::config::change::Change;
use raptor::config::document::blob::Blob;
use raptor::config::path::Path;
use raptor::model::cluster::ClusterId;
use raptor::model::identity::NodeId;
use raptor::model::machine::IntentId;
use raptor::model::machine::Machine as Listed;
use raptor::model::machine::MachineRecord;
use raptor::model::member::Status;
use raptor::model::name::Name;
use raptor::model::time::Moment;
use raptor::reconcile::fleet::executor::Order;
use raptor::reconcile::fleet::executor::OrderId;
use raptor::reconcile::fleet::executor::Outcome;
use raptor::reconcile::fleet::executor::Step;
use raptor::reconcile::fleet::write::Edit;
use serde_json::json;

use crate::sim::Fault;
use crate::sim::machine::Agent;
use crate::sim::machine::CLOUD;
use crate::sim::world::Event;
use crate::sim::world::World;
use crate::sim::world::set;

/// How long the members may take to see a machine.
const SEEN_TIMEOUT: Duration = Duration::from_secs(15);

/// Whose step it is.
#[derive(Debug, Clone)]
pub enum Whose {
    /// The agent's own.
    Order(OrderId),
    /// A person's, and what follows.
    Person(Chain),
}

/// A person's steps about one machine, one after the other.
#[derive(Debug, Clone)]
pub struct Chain {
    pub intent: IntentId,
    pub steps: VecDeque<Step>,
    /// Whether it ends a machine's life.
    pub destroys: bool,
}

/// What a step taught its agent of the back-end.
#[derive(Debug)]
pub enum Learned {
    Nothing,
    Listed(Vec<Listed>),
    Gone(IntentId),
}

/// A part of a step.
#[derive(Debug)]
pub enum Work {
    /// The disk has what was written.
    Saved { blob: Blob, then: Box<Work> },
    /// The back-end does, or does not, what it was asked for.
    Asked { step: Step, whose: Whose },
    /// The machine is provisioned, and to be admitted.
    Admit { intent: IntentId, name: Name, whose: Whose },
    /// It is admitted, and to be started.
    Boot { place: usize, whose: Whose },
    /// The members are to see it.
    See { place: usize, until: Moment, whose: Whose },
    /// There was nothing else to do.
    Nothing,
    /// The step is over.
    Finish { whose: Whose, outcome: Outcome, learned: Learned },
}

impl Work {
    /// The end of a step that taught nothing.
    pub fn over(whose: Whose, outcome: Outcome) -> Self {
        Self::Finish { whose, outcome, learned: Learned::Nothing }
    }
}

fn failed(why: &str) -> Outcome {
    Outcome::Failed(why.to_owned())
}

impl World {
    /// Begins a step.
    pub fn begin(&mut self, who: usize, run: u64, order: Order) {
        self.tell(|| format!("{who} does {}", told(&order.step)));
        self.begin_step(who, run, order.step, Whose::Order(order.id));
    }

    pub fn begin_step(&mut self, who: usize, run: u64, step: Step, whose: Whose) {
        match step {
            Step::Write(edits) => {
                let edits = self.sabotaged(edits.edits);
                let changes = edits.into_iter().map(change).collect::<Vec<_>>();
                let then = Work::over(whose, Outcome::Done);
                self.write(who, run, &changes, then);
            }
            Step::Evict { node } => {
                let changes = [set(&["members", &node.to_string(), "evicted"], json!(true))];
                let then = Work::over(whose, Outcome::Done);
                self.write(who, run, &changes, then);
            }
            Step::Enter { intent, record } => {
                let after = self.random.random_range(300..2_500);
                let work = Work::Admit { intent, name: record.name.clone(), whose };
                self.plan(after, Event::Work { who, run, work });
            }
            // No machine's time ends here.
            Step::End { .. } => self.finish_soon(who, run, whose, Outcome::Done),
            step @ (Step::Create { .. }
            | Step::Destroy { .. }
            | Step::List { .. }
            | Step::Visit { .. }) => {
                if let Step::Destroy { intent, .. } = &step {
                    *self.going.entry(*intent).or_default() += 1;
                }
                let after = self.random.random_range(50..2_000);
                self.plan(after, Event::Work { who, run, work: Work::Asked { step, whose } });
            }
        }
    }

    /// What a planted fault makes of what is to be written.
    fn sabotaged(&mut self, mut edits: Vec<Edit>) -> Vec<Edit> {
        match self.fault {
            Some(Fault::DropsTombstones) => edits.retain(|edit| edit.path[0] != "retired"),
            Some(Fault::SkipsTheIntent) => {
                let (wishes, rest) = edits.into_iter().partition(|edit| {
                    edit.path.len() == 2 && edit.path[0] == "machines" && edit.value.is_some()
                });
                edits = rest;
                for wish in wishes as Vec<Edit> {
                    let intent = wish.path[1].parse().unwrap();
                    let record: MachineRecord =
                        serde_json::from_value(wish.value.unwrap()).unwrap();
                    self.plan(500, Event::Land { intent, name: record.name });
                }
            }
            _ => {}
        }
        edits
    }

    /// Writes as an agent does; `then` once the disk has it.
    pub fn write(&mut self, who: usize, run: u64, changes: &[Change], then: Work) {
        let now = self.now;
        let machine = &mut self.machines[who];
        let (wall, key) = (machine.wall(now), machine.key.clone());
        let Some(agent) = &mut machine.agent else { return };
        let written = if machine.disk_full {
            Err("the disk is full".to_owned())
        } else {
            let written = agent.document.write(&key, wall, "sim", changes);
            written.map_err(|error| error.to_string())
        };
        let work = match written {
            Ok(Some(blob)) => {
                agent.unsaved += 1;
                Work::Saved { blob, then: Box::new(then) }
            }
            Ok(None) => then,
            Err(why) => match then {
                Work::Finish { whose, .. } | Work::Boot { whose, .. } => {
                    Work::over(whose, Outcome::Failed(why))
                }
                other => other,
            },
        };
        // The disk takes the same time for all, so that it keeps their order.
        self.plan(8, Event::Work { who, run, work });
    }

    /// Does the next part of a step. What an agent began ends with it, but what the back-end was
    /// asked for comes through.
    pub fn work(&mut self, who: usize, run: u64, work: Work) {
        if let Work::Asked { step, whose } = work {
            return self.ask(who, run, &step, whose);
        }
        if self.machines[who].run != run || self.machines[who].agent.is_none() {
            return;
        }
        match work {
            Work::Saved { blob, then } => {
                self.machines[who].disk.push(blob.clone());
                if let Some(agent) = &mut self.machines[who].agent {
                    agent.unsaved -= 1;
                }
                self.push(who, &[blob]);
                self.changed(who);
                self.work(who, run, *then);
            }
            Work::Admit { intent, name, whose } => self.admit(who, run, intent, &name, whose),
            Work::Boot { place, whose } => self.boot(who, run, place, whose),
            Work::See { place, until, whose } => self.see(who, run, place, until, whose),
            Work::Finish { whose, outcome, learned } => {
                self.finish(who, run, whose, &outcome, learned);
            }
            Work::Asked { .. } | Work::Nothing => {}
        }
    }

    fn finish_soon(&mut self, who: usize, run: u64, whose: Whose, outcome: Outcome) {
        let work = Work::over(whose, outcome);
        self.plan(1, Event::Work { who, run, work });
    }

    fn finish(&mut self, who: usize, run: u64, whose: Whose, outcome: &Outcome, learned: Learned) {
        if let Outcome::Failed(why) = outcome {
            self.tell(|| format!("{who} failed: {why}"));
        }
        match whose {
            Whose::Order(id) => {
                let now = self.now;
                let Some(agent) = &mut self.machines[who].agent else { return };
                match learned {
                    Learned::Listed(machines) => {
                        agent.sight.listed(now, CLOUD.to_owned(), machines);
                    }
                    Learned::Gone(intent) => agent.sight.given_back(intent),
                    Learned::Nothing => {}
                }
                agent.executor.finished(now, id, outcome);
                self.round_soon(who, 1);
            }
            Whose::Person(chain) => self.person_goes_on(who, run, chain, outcome),
        }
    }

    /// The back-end hears a request. It may fail for the caller, and come through all the same.
    fn ask(&mut self, who: usize, run: u64, step: &Step, whose: Whose) {
        if let Step::Visit { intent, answered, .. } = step {
            return self.visit(who, run, *intent, &answered.edits, whose);
        }
        let fails = self.random.random_bool(self.weather.back_end_fails);
        let comes_through = !fails || self.random.random_bool(0.3);
        let lags = fails && self.random.random_bool(0.5);
        match step {
            Step::Create { intent, record } if comes_through => {
                let (intent, name) = (*intent, record.name.clone());
                let after = if lags { self.random.random_range(500..12_000) } else { 0 };
                if after == 0 {
                    self.land(intent, &name);
                } else {
                    self.plan(after, Event::Land { intent, name });
                }
            }
            Step::Destroy { intent, .. } => {
                self.going.entry(*intent).and_modify(|asking| *asking -= 1);
                let gone = comes_through.then(|| self.back_end.destroy(*intent)).flatten();
                if let Some(place) = gone {
                    self.machines[place].is_on = false;
                    self.machines[place].agent = None;
                    self.tell(|| format!("machine {place} ({intent}) is gone"));
                }
            }
            _ => {}
        }
        let learned = match step {
            Step::List { .. } if !fails => Learned::Listed(self.list()),
            Step::Destroy { intent, .. } if !fails => Learned::Gone(*intent),
            _ => Learned::Nothing,
        };
        let outcome = if fails { failed("the back-end does not answer") } else { Outcome::Done };
        let work = Work::Finish { whose, outcome, learned };
        self.plan(5, Event::Work { who, run, work });
    }

    /// Somebody goes to a machine, whatever the network between the agents is like.
    fn visit(&mut self, who: usize, run: u64, intent: IntentId, edits: &[Edit], whose: Whose) {
        let there = self.back_end.find(intent).map(|instance| instance.place);
        let answers = there.is_some_and(|place| self.machines[place].agent.is_some())
            && !self.random.random_bool(self.weather.back_end_fails);
        if self.machines[who].run != run || self.machines[who].agent.is_none() {
            return;
        }
        if answers {
            let changes: Vec<Change> = edits.iter().cloned().map(change).collect();
            let then = Work::over(whose, Outcome::Done);
            self.write(who, run, &changes, then);
        } else {
            self.finish_soon(who, run, whose, failed("nothing answers there"));
        }
    }

    /// A machine comes into being.
    pub fn land(&mut self, intent: IntentId, name: &Name) {
        let place = self.machines.len();
        let is_tagged = self.fault != Some(Fault::ForgetsTheTag);
        if self.back_end.create(intent, name, is_tagged, place) {
            self.add_machine();
            self.tell(|| format!("machine {place} ({intent}) is there"));
        }
        let (count, bound) = (self.back_end.instances.len(), self.bound());
        if count > bound {
            let names: Vec<&str> =
                self.back_end.instances.values().map(|it| it.name.as_str()).collect();
            let names = names.join(", ");
            self.violation =
                Some(format!("{count} machines at the back-end, at most {bound} may be: {names}"));
        }
    }

    fn list(&self) -> Vec<Listed> {
        let cluster: ClusterId = self.genesis.cluster_id();
        let instances = self.back_end.instances.iter();
        instances
            .filter_map(|(number, instance)| {
                Some(Listed {
                    id: number.to_string(),
                    intent: instance.tag?,
                    cluster,
                    name: instance.name.clone(),
                    running: instance.running,
                    access: None,
                })
            })
            .collect()
    }

    fn admit(&mut self, who: usize, run: u64, intent: IntentId, name: &Name, whose: Whose) {
        // The hands that made an unmarked machine still know where it is.
        let named = self.back_end.instances.values().find(|instance| instance.name == *name);
        let found = self.back_end.find(intent).or(named).map(|found| (found.place, found.running));
        let Some((place, true)) = found else {
            return self.finish_soon(who, run, whose, failed("there is no such machine"));
        };
        let (node, wall) = (self.machines[place].id(), self.machines[who].wall(self.now));
        let records = self.machines[who].agent.as_mut().map(Agent::records);
        let is_wanted = records.is_some_and(|records| {
            records.machines.contains_key(&intent) && !records.tombstones.contains_key(&intent)
        });
        if !is_wanted {
            return self.finish_soon(who, run, whose, failed("it was taken back"));
        }
        let member = json!({"name": name, "role": "full", "added_at": wall, "endpoints": [],
            "intent": intent});
        let changes = [
            set(&["members", &node.to_string()], member),
            set(&["machines", &intent.to_string(), "node"], json!(node)),
            set(&["machines", &intent.to_string(), "machine"], json!(place.to_string())),
        ];
        self.write(who, run, &changes, Work::Boot { place, whose });
    }

    fn boot(&mut self, who: usize, run: u64, place: usize, whose: Whose) {
        if self.machines[place].disk.is_empty() {
            let disk = self.machines[who].disk.clone();
            self.machines[place].disk = disk;
        }
        self.machines[place].is_adopted = true;
        let after = self.random.random_range(50..400);
        self.plan(after, Event::Start(place));
        if self.dies_young(place) {
            let life = self.random.random_range(0..500);
            self.plan(after + life, Event::DieYoung(place));
        }
        let until = self.now + SEEN_TIMEOUT;
        self.plan(after, Event::Work { who, run, work: Work::See { place, until, whose } });
    }

    fn see(&mut self, who: usize, run: u64, place: usize, until: Moment, whose: Whose) {
        let node: NodeId = self.machines[place].id();
        let agent = self.machines[who].agent.as_ref();
        let status = agent.and_then(|agent| agent.gossip.status(node));
        if status == Some(Status::Alive) {
            self.finish_soon(who, run, whose, Outcome::Done);
        } else if self.now > until {
            self.finish_soon(who, run, whose, failed("the members do not see it"));
        } else {
            self.plan(300, Event::Work { who, run, work: Work::See { place, until, whose } });
        }
    }
}

fn change(edit: Edit) -> Change {
    let path = Path::from_keys(edit.path).unwrap();
    match edit.value {
        Some(value) => Change::Set { path, value },
        None => Change::Unset { path },
    }
}

fn told(step: &Step) -> String {
    match step {
        Step::Write(edits) => format!("write: {}", edits.note),
        Step::Create { intent, .. } => format!("create {intent}"),
        Step::Enter { intent, .. } => format!("enter {intent}"),
        Step::Evict { node } => format!("evict {}", node.short()),
        Step::Destroy { intent, .. } => format!("destroy {intent}"),
        Step::End { name } => format!("end {name}"),
        Step::List { .. } => "list".to_owned(),
        Step::Visit { intent, .. } => format!("visit {intent}"),
    }
}

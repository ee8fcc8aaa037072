//! Carrying a plan out, one step at a time: which step is next, given what came of the one before.
//! Pure: somebody else has the hands.
//!
//! Nothing is remembered beyond the steps that are under way. Whoever starts again finds everything
//! else in the document and at the back-ends.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::identity::NodeId;
use crate::model::machine::IntentId;
use crate::model::machine::MachineRecord;
use crate::model::name::Name;
use crate::model::time::Moment;
use crate::reconcile::fleet::plan::Act;
use crate::reconcile::fleet::plan::FleetPlan;
use crate::reconcile::fleet::task::Next;
use crate::reconcile::fleet::task::Task;
use crate::reconcile::fleet::view::FleetView;
use crate::reconcile::fleet::write::Edit;
use crate::reconcile::fleet::write::Edits;

/// First, and longest, time until something that failed is tried again.
const REST_MIN: Duration = Duration::from_millis(500);
const REST_MAX: Duration = Duration::from_secs(60);

/// Names one step until its outcome is told.
pub type OrderId = u64;

/// A step to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// Its number.
    pub id: OrderId,
    /// What is done.
    pub step: Step,
}

/// What hands can do.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Change the document, all or nothing; done once it is on disk.
    Write(Edits),
    /// Ask the back-end for the machine of a wish, which may be there already.
    Create {
        /// The wish.
        intent: IntentId,
        /// What is wished for.
        record: Box<MachineRecord>,
    },
    /// Provision the machine, put an agent on it, admit it, and wait until it is seen.
    Enter {
        /// The wish.
        intent: IntentId,
        /// What is wished for.
        record: Box<MachineRecord>,
    },
    /// Take a member out of the cluster.
    Evict {
        /// The member.
        node: NodeId,
    },
    /// Give a machine back, which may be gone already.
    Destroy {
        /// Its wish.
        intent: IntentId,
        /// Its back-end.
        compute_type: String,
    },
    /// Destroy the machine on which this very member is.
    End {
        /// Its name.
        name: Name,
    },
    /// Go to a machine past the mesh; when its agent answers, tell it where the members are and
    /// write that down.
    Visit {
        /// Its wish.
        intent: IntentId,
        /// What is known of it.
        record: Box<MachineRecord>,
        /// What is written when it answers.
        answered: Edits,
    },
    /// List what a back-end has of this cluster.
    List {
        /// The back-end.
        compute_type: String,
    },
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It is not, and why.
    Failed(String),
}

/// What an order is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Aim {
    /// The work on one machine.
    Task(IntentId),
    /// A back-end's list.
    Listing(String),
    /// Wishes for more machines.
    Wishes,
    /// Something that is only written down, in its words.
    Note(String),
}

/// Something that failed rests before it is tried again.
#[derive(Debug, Clone, Copy, Default)]
struct Rest {
    failures: u32,
    until: Moment,
}

/// One member's work on the fleet.
#[derive(Debug, Default)]
pub struct Executor {
    next: OrderId,
    tasks: BTreeMap<IntentId, Task>,
    under_way: BTreeMap<OrderId, Aim>,
    /// Tasks whose step is done and whose next one is due.
    due: BTreeSet<IntentId>,
    resting: BTreeMap<Aim, Rest>,
    /// Machines that are made or taken away at the same time, at most.
    concurrent: usize,
}

impl Executor {
    /// Works on at most `concurrent` machines at the same time.
    #[must_use]
    pub fn new(concurrent: usize) -> Self {
        Self { concurrent: concurrent.max(1), ..Self::default() }
    }

    /// The wishes that are being worked on.
    #[must_use]
    pub fn busy(&self) -> BTreeSet<IntentId> {
        self.tasks.keys().copied().collect()
    }

    /// When something that failed may be tried again.
    #[cfg(test)]
    fn next_retry(&self, now: Moment) -> Option<Moment> {
        self.resting.values().map(|rest| rest.until).filter(|until| *until > now).min()
    }

    /// The steps that are due: the next of what is under way, and the first of what is planned for
    /// this member and not begun.
    pub fn advance(&mut self, now: Moment, view: &FleetView, plan: &FleetPlan) -> Vec<Order> {
        let mut orders = Vec::new();
        for intent in std::mem::take(&mut self.due) {
            self.proceed(view, intent, &mut orders);
        }
        let mut wishes = Edits::new("wish for more machines");
        for planned in plan.actions.iter().filter(|planned| planned.by == view.me) {
            match &planned.act {
                Act::Wish(wish) => wishes.push(Edit::wish(wish, view.now)),
                act => self.begin(now, view, act, &planned.reason, &mut orders),
            }
        }
        // One batch at a time: a second one would not know of the first.
        if !wishes.is_empty() {
            self.order_once(now, Aim::Wishes, || Step::Write(wishes), &mut orders);
        }
        orders
    }

    /// What came of the step `id`. Its task goes on with the next [`Executor::advance`].
    pub fn finished(&mut self, now: Moment, id: OrderId, outcome: &Outcome) {
        let Some(aim) = self.under_way.remove(&id) else { return };
        if let Aim::Task(intent) = aim
            && let Some(task) = self.tasks.get_mut(&intent)
        {
            if task.finished(outcome) == Next::Step {
                self.due.insert(intent);
                return;
            }
            self.tasks.remove(&intent);
        }
        if *outcome == Outcome::Done {
            self.resting.remove(&aim);
        } else {
            self.rest(now, aim);
        }
    }

    fn rest(&mut self, now: Moment, aim: Aim) {
        let rest = self.resting.entry(aim).or_default();
        let doubled = REST_MIN.saturating_mul(1 << rest.failures.min(16));
        rest.failures += 1;
        rest.until = now + doubled.min(REST_MAX);
        // What is not wanted any more is never tried again, and not remembered for ever.
        self.resting.retain(|_, rest| rest.until + REST_MAX > now);
    }

    /// Begins what is planned and not under way.
    fn begin(
        &mut self,
        now: Moment,
        view: &FleetView,
        act: &Act,
        reason: &str,
        orders: &mut Vec<Order>,
    ) {
        match act {
            Act::Make { intent, .. } => {
                if let Some(record) = view.machines.get(intent) {
                    self.start(now, view, *intent, Task::make(record), orders);
                }
            }
            Act::Destroy { intent, compute_type, node, .. } => {
                let record = view.machines.get(intent);
                let task = Task::take_away(record, compute_type, *node, reason);
                self.start(now, view, *intent, task, orders);
            }
            Act::DestroyAgain { intent, compute_type, .. } => {
                let task = Task::take_away(None, compute_type, None, reason);
                self.start(now, view, *intent, task, orders);
            }
            Act::Check { compute_type } => {
                let aim = Aim::Listing(compute_type.clone());
                let step = || Step::List { compute_type: compute_type.clone() };
                self.order_once(now, aim, step, orders);
            }
            Act::Wish(_) => {}
            Act::Visit { intent, name } => {
                if let Some(record) = view.machines.get(intent) {
                    let answered = Edits::answered(*intent, name, view.now);
                    let (intent, record) = (*intent, Box::new(record.clone()));
                    let step = || Step::Visit { intent, record, answered };
                    self.order_once(now, Aim::Note(act.to_string()), step, orders);
                }
            }
            Act::End { name, .. } => {
                let aim = Aim::Note(act.to_string());
                self.order_once(now, aim, || Step::End { name: name.clone() }, orders);
            }
            Act::PutOut { node, .. } => {
                let aim = Aim::Note(act.to_string());
                self.order_once(now, aim, || Step::Evict { node: *node }, orders);
            }
            note => {
                if let Some(edits) = Edits::of(note, reason, view) {
                    let aim = Aim::Note(note.to_string());
                    self.order_once(now, aim, || Step::Write(edits), orders);
                }
            }
        }
    }

    fn is_resting(&self, now: Moment, aim: &Aim) -> bool {
        self.resting.get(aim).is_some_and(|rest| rest.until > now)
    }

    fn start(
        &mut self,
        now: Moment,
        view: &FleetView,
        intent: IntentId,
        task: Task,
        orders: &mut Vec<Order>,
    ) {
        let is_free = self.tasks.len() < self.concurrent && !self.tasks.contains_key(&intent);
        if is_free && !self.is_resting(now, &Aim::Task(intent)) {
            self.tasks.insert(intent, task);
            self.proceed(view, intent, orders);
        }
    }

    /// Orders the step at which a task stands.
    fn proceed(&mut self, view: &FleetView, intent: IntentId, orders: &mut Vec<Order>) {
        let Some(task) = self.tasks.get_mut(&intent) else { return };
        match task.next_step(view, intent) {
            Some(step) => self.order(Aim::Task(intent), step, orders),
            None => drop(self.tasks.remove(&intent)),
        }
    }

    fn order_once(
        &mut self,
        now: Moment,
        aim: Aim,
        step: impl FnOnce() -> Step,
        orders: &mut Vec<Order>,
    ) {
        let is_under_way = self.under_way.values().any(|other| *other == aim);
        if !is_under_way && !self.is_resting(now, &aim) {
            self.order(aim, step(), orders);
        }
    }

    fn order(&mut self, aim: Aim, step: Step, orders: &mut Vec<Order>) {
        self.next += 1;
        self.under_way.insert(self.next, aim);
        orders.push(Order { id: self.next, step });
    }
}

#[cfg(test)]
#[path = "executor_tests.rs"]
mod tests;

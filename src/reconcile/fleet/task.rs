//! The work on one machine: made, or taken away, a step at a time.

use crate::model::identity::NodeId;
use crate::model::machine::IntentId;
use crate::model::machine::MachineRecord;
use crate::model::member::Status;
use crate::reconcile::fleet::executor::Outcome;
use crate::reconcile::fleet::executor::Step;
use crate::reconcile::fleet::view::FleetView;
use crate::reconcile::fleet::write::Edits;

/// Where the work stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The back-end is asked for it.
    Creating,
    /// It becomes a member.
    Entering,
    /// It is written down that it is made.
    Releasing,
    /// Its member is taken out.
    Evicting,
    /// It is written down why its member was taken out.
    Noting,
    /// It is given back.
    Destroying,
    /// It is written down that it is gone.
    Burying,
    /// It is written down that it is to go: before its member is taken out, or because it could not
    /// be given back.
    Marking,
}

/// What a step's outcome leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Another step.
    Step,
    /// The end of the work.
    End,
}

/// The work on one machine.
#[derive(Debug, Clone)]
pub(super) struct Task {
    stage: Stage,
    /// Its record as it was when the work began; none of a machine that only a back-end knows.
    record: Option<MachineRecord>,
    compute_type: String,
    node: Option<NodeId>,
    /// Why it goes, and whether it never became what was wished for; none while it is made.
    ending: Option<(String, bool)>,
    /// Whether it is written down that it is to go.
    is_marked: bool,
}

impl Task {
    pub(super) fn make(record: &MachineRecord) -> Self {
        Self {
            stage: Stage::Creating,
            record: Some(record.clone()),
            compute_type: record.compute_type.clone(),
            node: None,
            ending: None,
            is_marked: false,
        }
    }

    pub(super) fn take_away(
        record: Option<&MachineRecord>,
        compute_type: &str,
        node: Option<NodeId>,
        reason: &str,
    ) -> Self {
        let retire = record.and_then(|record| record.upkeep.ending());
        let failed = retire.is_some_and(|retire| retire.failed);
        Self {
            stage: if node.is_some() { Stage::Evicting } else { Stage::Destroying },
            record: record.cloned(),
            compute_type: compute_type.to_owned(),
            node,
            ending: Some((reason.to_owned(), failed)),
            is_marked: true,
        }
    }

    /// Goes on from the outcome of the step that was under way.
    pub(super) fn finished(&mut self, outcome: &Outcome) -> Next {
        match (self.stage, outcome) {
            (Stage::Marking, Outcome::Done) if self.node.is_some() && !self.is_marked => {
                self.is_marked = true;
                self.stage = Stage::Evicting;
            }
            (Stage::Releasing | Stage::Burying | Stage::Marking, _)
            | (Stage::Noting, Outcome::Failed(_)) => return Next::End,
            // It was made and let in before, and may well live: that its back-end does not answer
            // says nothing of it. It is asked again.
            (Stage::Creating, Outcome::Failed(_)) if self.was_let_in() => return Next::End,
            (Stage::Creating, Outcome::Done) => self.stage = Stage::Entering,
            (Stage::Entering, Outcome::Done) => self.stage = Stage::Releasing,
            (Stage::Creating | Stage::Entering, Outcome::Failed(why)) => self.end(why, true),
            // A member that is not there any more is out.
            (Stage::Evicting, _) => self.stage = Stage::Noting,
            (Stage::Noting, Outcome::Done) => self.stage = Stage::Destroying,
            (Stage::Destroying, Outcome::Done) => self.stage = Stage::Burying,
            // It is planned again later.
            (Stage::Destroying, Outcome::Failed(_)) if self.is_marked => return Next::End,
            (Stage::Destroying, Outcome::Failed(_)) => self.stage = Stage::Marking,
        }
        Next::Step
    }

    /// From making to taking away.
    fn end(&mut self, why: &str, failed: bool) {
        self.ending = Some((why.to_owned(), failed));
        self.stage = Stage::Destroying;
    }

    /// Whether somebody made it, and let it in, before this work began.
    fn was_let_in(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.node.is_some())
    }

    /// Whether it was being made, and could not be.
    fn has_failed(&self) -> bool {
        !self.is_marked && self.ending.as_ref().is_some_and(|(_, failed)| *failed)
    }

    /// The step at which the work stands, as things are; none when it is over.
    pub(super) fn next_step(&mut self, view: &FleetView, intent: IntentId) -> Option<Step> {
        if matches!(self.stage, Stage::Creating | Stage::Entering) {
            let record = view.machines.get(&intent);
            let lease = record.and_then(|record| record.upkeep.lease.as_ref());
            if lease.is_some_and(|lease| lease.holder != view.me) {
                // It is another's, who finds what there is.
                return None;
            }
            if let Some(why) = reason_to_stop(view, intent) {
                self.end(why, false);
            }
        }
        if self.stage == Stage::Destroying && self.node.is_none() {
            self.node = view.machines.get(&intent).and_then(|record| record.node);
            let member = self.node.and_then(|node| view.members.get(&node));
            if self.has_failed() && member.is_some_and(|member| member.status == Status::Alive) {
                // Another made it meanwhile.
                return None;
            }
            if member.is_some() {
                // Put out and still there it would pass for one that a person put out.
                self.stage = if self.is_marked { Stage::Evicting } else { Stage::Marking };
            }
        }
        // While its member is there it can be kept.
        if self.stage == Stage::Evicting && is_kept(view, intent) {
            return None;
        }
        let compute_type = self.compute_type.clone();
        Some(match (self.stage, &self.record) {
            (Stage::Creating, Some(record)) => {
                Step::Create { intent, record: Box::new(record.clone()) }
            }
            (Stage::Entering, Some(record)) => {
                Step::Enter { intent, record: Box::new(record.clone()) }
            }
            (Stage::Releasing, Some(record)) => Step::Write(Edits::release(intent, &record.name)),
            (Stage::Evicting, _) => Step::Evict { node: self.node? },
            (Stage::Noting, Some(record)) => {
                let (reason, failed) = self.ending.as_ref()?;
                Step::Write(Edits::put_out(intent, &record.name, reason, *failed, view.now))
            }
            (Stage::Destroying, _) => Step::Destroy { intent, compute_type },
            (Stage::Burying, Some(record)) => {
                let (reason, failed) = self.ending.as_ref()?;
                Step::Write(Edits::bury(intent, record, reason, *failed, view.now))
            }
            (Stage::Marking, Some(record)) => {
                let (reason, failed) = self.ending.as_ref()?;
                Step::Write(Edits::retire(intent, &record.name, reason, *failed, view.now))
            }
            (_, None) => return None,
        })
    }
}

/// Whether the mark that a machine is to go was taken off again.
fn is_kept(view: &FleetView, intent: IntentId) -> bool {
    let record = view.machines.get(&intent);
    record.is_some_and(|record| record.upkeep.retire.is_none())
        && !view.tombstones.contains_key(&intent)
}

/// Why a machine is not to be made any more: a person may have said so meanwhile.
fn reason_to_stop(view: &FleetView, intent: IntentId) -> Option<&'static str> {
    let Some(record) = view.machines.get(&intent) else { return Some("its wish was withdrawn") };
    if record.upkeep.retire.is_some() || view.tombstones.contains_key(&intent) {
        return Some("it was retired while it was being made");
    }
    view.limits.paused.then_some("the fleet was paused")
}

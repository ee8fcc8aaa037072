//! A plan while it is being made.

use std::collections::BTreeSet;

use crate::model::identity::NodeId;
use crate::model::rule::Rule;
use crate::reconcile::fleet::census::State;
use crate::reconcile::fleet::census::Unit;
use crate::reconcile::fleet::census::census;
use crate::reconcile::fleet::choose::choose;
use crate::reconcile::fleet::crew::Crew;
use crate::reconcile::fleet::crew::choose_staying;
use crate::reconcile::fleet::plan::Act;
use crate::reconcile::fleet::plan::FleetPlan;
use crate::reconcile::fleet::plan::Planned;
use crate::reconcile::fleet::plan::RuleState;
use crate::reconcile::fleet::plan::Wait;
use crate::reconcile::fleet::plan::WhyNot;
use crate::reconcile::fleet::view::FleetView;

/// Under which name those that all go choose the last of them.
const LAST: &str = "the last to go";

/// The plan so far, and what it is made from.
pub(super) struct Draft<'v> {
    pub(super) view: &'v FleetView,
    pub(super) units: Vec<Unit<'v>>,
    /// Whether half of the members or more are failed.
    pub(super) braked: bool,
    /// Members whose machines are to go: they act only when nobody else can.
    going: BTreeSet<NodeId>,
    crew: Crew<'v>,
    plan: FleetPlan,
}

impl<'v> Draft<'v> {
    pub(super) fn new(view: &'v FleetView) -> Self {
        let units = census(view);
        let mut plan = FleetPlan::default();
        for (name, rule) in &view.rules {
            plan.rules.push(state(name, rule, &units));
        }
        let going = units.iter().filter(|unit| unit.state == State::Going);
        let going = going.filter_map(|unit| unit.node).collect();
        Self { view, units, braked: view.is_braked(), going, crew: Crew::new(view), plan }
    }

    pub(super) fn finish(self) -> FleetPlan {
        self.plan
    }

    /// What is planned so far.
    pub(super) fn plan(&self) -> &FleetPlan {
        &self.plan
    }

    /// Plans an action.
    pub(super) fn push(
        &mut self,
        by: NodeId,
        act: Act,
        rule: Option<&str>,
        reason: impl Into<String>,
    ) {
        let planned = Planned {
            act,
            by,
            by_name: self.view.name_of(by),
            rule: rule.map(str::to_owned),
            reason: reason.into(),
        };
        self.plan.actions.push(planned);
    }

    /// Says what is not done.
    pub(super) fn wait(&mut self, rule: Option<&str>, why: WhyNot, message: String) {
        self.plan.waits.push(Wait { rule: rule.map(str::to_owned), why, message });
    }

    /// Who of those that can act deals with `subject`, which may be the member `except`.
    pub(super) fn chosen(&self, subject: &str, except: Option<NodeId>) -> Option<NodeId> {
        choose_staying(subject, self.crew.actors(), except, |node| !self.going.contains(node))
    }

    /// Who of those that drive the back-end deals with `subject`, on the machine of `except`.
    pub(super) fn chosen_driver(
        &mut self,
        subject: &str,
        compute_type: &str,
        scope: Option<&str>,
        except: Option<NodeId>,
    ) -> Option<NodeId> {
        let going = &self.going;
        let stays = |node: &NodeId| !going.contains(node);
        self.crew.chosen_driver(subject, (compute_type, scope), except, stays)
    }

    /// Who writes down that the machines of the members `leaving` are to go: one that stays, and the
    /// same for all of them, or else one of them. Two that wrote each other off at the same moment
    /// would both go.
    pub(super) fn chosen_of_staying(
        &self,
        subject: &str,
        leaving: &BTreeSet<NodeId>,
    ) -> Option<NodeId> {
        let able = self.crew.actors();
        let stays = |node: &NodeId| !leaving.contains(node) && !self.going.contains(node);
        let staying = able.iter().copied().filter(stays);
        choose(subject, staying).or_else(|| choose(LAST, able.iter().copied()))
    }

    /// Who destroys the machine of a wish, on which the member `node` is. When all that could are
    /// to go, one of them takes the others away, and is itself taken away by nobody: two that put
    /// each other out would both stop half-way.
    pub(super) fn chosen_destroyer(
        &mut self,
        subject: &str,
        compute_type: &str,
        scope: Option<&str>,
        node: Option<NodeId>,
    ) -> Option<NodeId> {
        let able = self.crew.drivers(compute_type, scope);
        let staying = able.iter().copied().filter(|by| !self.going.contains(by));
        let last = || choose(LAST, able.iter().copied()).filter(|last| Some(*last) != node);
        choose(subject, staying).or_else(last)
    }

    /// Whether a member that can act drives the back-end.
    pub(super) fn is_driven(&mut self, compute_type: &str, scope: Option<&str>) -> bool {
        !self.crew.drivers(compute_type, scope).is_empty()
    }

    /// The places of the units that count for `rule`: those that it selects, less those that go.
    pub(super) fn counted(&self, rule: &Rule) -> Vec<usize> {
        let counts = |unit: &Unit<'_>| {
            !matches!(unit.state, State::Going | State::Apart) && rule.select.matches(unit)
        };
        (0..self.units.len()).filter(|place| counts(&self.units[*place])).collect()
    }
}

fn state(name: &str, rule: &Rule, units: &[Unit<'_>]) -> RuleState {
    let (mut alive, mut coming) = (0, 0);
    for unit in units.iter().filter(|unit| rule.select.matches(*unit)) {
        match unit.state {
            State::Alive | State::Suspect => alive += 1,
            State::Coming => coming += 1,
            _ => {}
        }
    }
    let (rule, min, max, note) = (name.to_owned(), rule.min, rule.max, rule.note.clone());
    RuleState { rule, alive, coming, min, max, note }
}

//! A fleet that grows line by line, for the tests of the planner and the executor.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::identity::NodeId;
use crate::model::identity::testing::key;
use crate::model::machine::IntentId;
use crate::model::machine::MachineRecord;
use crate::model::member::Role;
use crate::model::member::Status;
use crate::model::rule::FleetLimits;
use crate::model::rule::Rule;
use crate::model::time::Timestamp;
use crate::model::upkeep::Lease;
use crate::model::upkeep::Retirement;
use crate::model::upkeep::Upkeep;
use crate::reconcile::fleet::plan::FleetPlan;
use crate::reconcile::fleet::reconcile;
use crate::reconcile::fleet::view::FleetView;
use crate::reconcile::fleet::view::Listed;
use crate::reconcile::fleet::view::Listing;
use crate::reconcile::fleet::view::SeenMember;

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_795_246_200_000);
/// Long enough for every patience.
pub(super) const LONG: Duration = Duration::from_secs(86_400);
/// The one scope of most tests.
pub(super) const HERE: &str = "here";

pub(super) fn node(number: u8) -> NodeId {
    key(u64::from(number)).node_id()
}

pub(super) fn intent(number: u8) -> IntentId {
    IntentId::from_bytes([number; 10])
}

/// Time before [`NOW`].
pub(super) fn ago(seconds: u64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() - seconds * 1_000)
}

/// A view that grows.
pub(super) struct Story(pub(super) FleetView);

impl Story {
    /// `count` local machines, `local-1` and so on, a day old, alive, each with its member; seen by
    /// the first. The youngest has the highest number.
    pub(super) fn of(count: u8) -> Self {
        let mut story = Self(FleetView {
            me: node(1),
            now: NOW,
            rules: BTreeMap::new(),
            limits: FleetLimits::default(),
            default_compute_type: "local".to_owned(),
            default_server_type: "headless".to_owned(),
            machines: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            members: BTreeMap::new(),
            lease_known_for: BTreeMap::new(),
            mark_known_for: BTreeMap::new(),
            listings: BTreeMap::from([("local".to_owned(), Listing::default())]),
            busy: BTreeSet::new(),
            settled_for: LONG,
            half_knowledge: None,
        });
        for number in 1..=count {
            story.add(number);
        }
        story
    }

    pub(super) fn add(&mut self, number: u8) {
        let name = format!("local-{number}").parse().unwrap();
        let record = MachineRecord {
            name,
            compute_type: "local".to_owned(),
            server_type: "headless".to_owned(),
            labels: BTreeMap::new(),
            created_at: ago(86_400 - u64::from(number)),
            machine: None,
            access: None,
            node: Some(node(number)),
            upkeep: Upkeep { scope: Some(HERE.to_owned()), ..Upkeep::default() },
            rest: serde_json::Map::new(),
        };
        let member = SeenMember {
            name: record.name.clone(),
            role: Role::Full,
            status: Status::Alive,
            status_for: LONG,
            added_at: record.created_at,
            intent: Some(intent(number)),
            compute_type: "local".to_owned(),
            server_type: "headless".to_owned(),
            labels: BTreeMap::new(),
            drives: Some(BTreeMap::from([("local".to_owned(), HERE.to_owned())])),
        };
        self.0.machines.insert(intent(number), record);
        self.0.members.insert(node(number), member);
        self.list(number, true);
    }

    pub(super) fn rule(mut self, name: &str, min: u32, max: Option<u32>) -> Self {
        self.0.rules.insert(name.to_owned(), Rule { min, max, ..Rule::default() });
        self
    }

    pub(super) fn status(mut self, number: u8, status: Status, seconds: u64) -> Self {
        let member = self.0.members.get_mut(&node(number)).unwrap();
        member.status = status;
        member.status_for = Duration::from_secs(seconds);
        self
    }

    /// What this member's local back-end lists, at this very moment.
    pub(super) fn list(&mut self, number: u8, running: bool) {
        let name = format!("local-{number}").parse().unwrap();
        let listed = Listed { name, running, listed_for: LONG };
        self.0.listings.get_mut("local").unwrap().machines.insert(intent(number), listed);
    }

    /// A wish without a machine, held by a member.
    pub(super) fn wish(mut self, number: u8, holder: u8, known_for: Duration) -> Self {
        self.add(number);
        self.0.members.remove(&node(number));
        self.0.listings.get_mut("local").unwrap().machines.remove(&intent(number));
        let record = self.0.machines.get_mut(&intent(number)).unwrap();
        record.node = None;
        record.upkeep.rule = Some("default".to_owned());
        record.upkeep.lease = Some(Lease { holder: node(holder), at: NOW, attempt: 0 });
        self.0.lease_known_for.insert(intent(number), known_for);
        self
    }

    pub(super) fn record(&mut self, number: u8) -> &mut MachineRecord {
        self.0.machines.get_mut(&intent(number)).unwrap()
    }

    /// It is written that a machine is to go, for long enough.
    pub(super) fn retire(&mut self, number: u8, reason: &str, failed: bool) {
        let retire = Retirement { reason: reason.to_owned(), at: NOW, failed };
        self.record(number).upkeep.retire = Some(retire);
        self.0.mark_known_for.insert(intent(number), LONG);
    }

    pub(super) fn seen_by(mut self, number: u8) -> Self {
        self.0.me = node(number);
        self
    }

    /// The plan, which reaches those who print it as JSON.
    pub(super) fn plan(&self) -> FleetPlan {
        let plan = reconcile(&self.0);
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<FleetPlan>(&text).unwrap(), plan);
        plan
    }

    /// The plan's lines without who acts: that is a matter of hashes, and tested by itself.
    pub(super) fn lines(&self) -> Vec<String> {
        lines(&self.plan())
    }

    /// The lines of what the one who looks does itself.
    pub(super) fn own_lines(&self) -> Vec<String> {
        let mut plan = self.plan();
        plan.actions.retain(|planned| planned.by == self.0.me);
        plan.waits.clear();
        lines(&plan)
    }
}

fn lines(plan: &FleetPlan) -> Vec<String> {
    let text = plan.to_string();
    let without_actor = |line: &str| match line.split_once(": ") {
        Some((who, rest)) if who.starts_with("local-") => rest.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().filter(|line| !line.starts_with("rule ")).map(without_actor).collect()
}

//! What one member knows when it plans: the document, how the others are seen, and what its own
//! back-ends list.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::identity::NodeId;
use crate::model::label::Labels;
use crate::model::machine::IntentId;
use crate::model::machine::MachineRecord;
use crate::model::machine::MachineRecords;
use crate::model::machine::Tombstones;
use crate::model::member::Role;
use crate::model::member::Status;
use crate::model::name::Name;
use crate::model::rule::FleetLimits;
use crate::model::rule::Rules;
use crate::model::time::Timestamp;

/// The fleet as one member sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetView {
    /// Who looks.
    pub me: NodeId,
    /// The wall clock.
    pub now: Timestamp,
    /// What must hold.
    pub rules: Rules,
    /// Within which bounds.
    pub limits: FleetLimits,
    /// Where machines come from when a rule does not say.
    pub default_compute_type: String,
    /// What they become when a rule does not say.
    pub default_server_type: String,
    /// The machines of the document.
    pub machines: MachineRecords,
    /// What remains of those that went.
    pub tombstones: Tombstones,
    /// The members of the document; those that were put out are not among them.
    pub members: BTreeMap<NodeId, SeenMember>,
    /// For how long this member has known the lease of a machine as it is. No clock but its own
    /// counts, so that a wrong one elsewhere takes nothing over too early.
    pub lease_known_for: BTreeMap<IntentId, Duration>,
    /// For how long, by its own clock as well, this member has known that a machine is to go.
    pub mark_known_for: BTreeMap<IntentId, Duration>,
    /// What this member's own back-ends listed last, by compute type.
    pub listings: BTreeMap<String, Listing>,
    /// Wishes that this member is working on at this moment.
    pub busy: BTreeSet<IntentId>,
    /// Since when nothing changed in who is there.
    pub settled_for: Duration,
    /// Why this member does not know enough to act; none when it does.
    pub half_knowledge: Option<String>,
}

/// A member as it is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenMember {
    /// Its name.
    pub name: Name,
    /// What it may do.
    pub role: Role,
    /// How it is seen.
    pub status: Status,
    /// For how long it has been seen so.
    pub status_for: Duration,
    /// When it was admitted.
    pub added_at: Timestamp,
    /// The wish of its machine, as it was told at its admission.
    pub intent: Option<IntentId>,
    /// How it was got, by its own word.
    pub compute_type: String,
    /// What it is, by its own word.
    pub server_type: String,
    /// Its labels, by its own word.
    pub labels: Labels,
    /// The compute types that it can drive, and the scope of each; none from a member that does
    /// not tend the fleet.
    pub drives: Option<BTreeMap<String, String>>,
}

impl SeenMember {
    /// Whether it is there to do something: it answers, may write, and tends the fleet.
    #[must_use]
    pub fn can_act(&self) -> bool {
        self.status == Status::Alive && self.role == Role::Full && self.drives.is_some()
    }

    /// The scope in which it drives `compute_type`, when it does.
    #[must_use]
    pub fn scope(&self, compute_type: &str) -> Option<&str> {
        self.drives.as_ref()?.get(compute_type).map(String::as_str)
    }
}

/// What a back-end listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// How old the list is.
    pub age: Duration,
    /// The cluster's machines on it.
    pub machines: BTreeMap<IntentId, Listed>,
}

/// One machine on a back-end's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: Name,
    /// Whether it runs.
    pub running: bool,
    /// For how long it has been on this member's lists.
    pub listed_for: Duration,
}

impl FleetView {
    /// Whether nothing is to hold, nothing is to go, and no machine's time ends.
    #[must_use]
    pub fn has_nothing_to_tend(&self) -> bool {
        let is_left_alone =
            |one: &MachineRecord| one.upkeep.retire.is_none() && one.upkeep.expires_at.is_none();
        self.rules.is_empty() && self.machines.values().all(is_left_alone)
    }

    /// How long ago `time` was. A time that lies ahead by more than clocks may differ says nothing
    /// and counts as long ago: no wrong clock may block the fleet for ever.
    #[must_use]
    pub fn since(&self, time: Timestamp) -> Duration {
        const SKEW_MAX: Duration = Duration::from_secs(300);
        if time.since(self.now) > SKEW_MAX { Duration::MAX } else { self.now.since(time) }
    }

    /// The members that can act, of which `wanted` is true.
    pub fn actors<'v>(
        &'v self,
        wanted: impl Fn(NodeId, &SeenMember) -> bool + 'v,
    ) -> impl Iterator<Item = NodeId> + 'v {
        let able =
            self.members.iter().filter(move |(node, seen)| seen.can_act() && wanted(**node, seen));
        able.map(|(node, _)| *node)
    }

    /// The members that can act and drive `compute_type`, in `scope` when it is known.
    pub fn drivers<'v>(
        &'v self,
        compute_type: &'v str,
        scope: Option<&'v str>,
    ) -> impl Iterator<Item = NodeId> + 'v {
        self.actors(move |_, seen| {
            let drives = seen.scope(compute_type);
            drives.is_some_and(|drives| scope.is_none_or(|scope| scope == drives))
        })
    }

    /// What a member is called.
    #[must_use]
    pub fn name_of(&self, node: NodeId) -> String {
        self.members.get(&node).map_or_else(|| node.short(), |seen| seen.name.to_string())
    }

    /// Whether a member is missed: it failed, or was there before this member started and has not
    /// been seen since.
    #[must_use]
    pub fn is_missing(&self, member: &SeenMember) -> bool {
        match member.status {
            Status::Failed | Status::Left => true,
            Status::Booting => {
                let boot_timeout = Duration::from_millis(self.limits.boot_timeout_ms);
                self.since(member.added_at) >= boot_timeout
            }
            Status::Alive | Status::Suspect => false,
        }
    }

    /// Whether half of the members or more are missed: then it may be this one that is cut off.
    #[must_use]
    pub fn is_braked(&self) -> bool {
        let dead = |seen: &&SeenMember| seen.status != Status::Left && self.is_missing(seen);
        let dead = self.members.values().filter(dead).count();
        dead > 0 && dead * 2 >= self.members.len()
    }
}

//! What hooks are told of, as this member sees it happen.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::hook::Event;
use crate::model::identity::NodeId;
use crate::model::member::Status;
use crate::model::time::Moment;
use crate::reconcile::fleet::view::SeenMember;

/// How long who is there must stay the same before that is told: many changes make one.
const STEADY_FOR: Duration = Duration::from_secs(1);

/// What was told last, and what is new since when.
#[derive(Debug, Default)]
pub(super) struct Events {
    told: Option<BTreeSet<NodeId>>,
    new: Option<(BTreeSet<NodeId>, Moment)>,
}

impl Events {
    /// What has happened by `now`, as the member `me` sees the others.
    pub(super) fn observe(
        &mut self,
        now: Moment,
        me: NodeId,
        members: &BTreeMap<NodeId, SeenMember>,
    ) -> Option<Event> {
        let is_there = |seen: &SeenMember| matches!(seen.status, Status::Alive | Status::Suspect);
        let alive: BTreeSet<NodeId> =
            members.iter().filter(|(_, seen)| is_there(seen)).map(|(node, _)| *node).collect();
        let Some(told) = &self.told else {
            // The only member there is has found its cluster; any other once it sees somebody.
            let has_found = members.contains_key(&me) && (members.len() == 1 || alive.len() > 1);
            return has_found.then(|| {
                self.told = Some(alive);
                Event::AfterMesh
            });
        };
        if *told == alive {
            self.new = None;
            return None;
        }
        match &self.new {
            Some((new, since)) if *new == alive => {
                if now.since(*since) < STEADY_FOR {
                    return None;
                }
                self.told = self.new.take().map(|(new, _)| new);
                Some(Event::ClusterChange)
            }
            _ => {
                self.new = Some((alive, now));
                None
            }
        }
    }

    /// Whether something is new and not told yet.
    pub(super) fn is_unsteady(&self) -> bool {
        self.new.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::testing::key;
    use crate::model::member::Role;
    use crate::model::time::Timestamp;

    fn members(statuses: &[Status]) -> BTreeMap<NodeId, SeenMember> {
        let member = |(number, status): (u64, &Status)| {
            let seen = SeenMember {
                name: format!("m{number}").parse().unwrap(),
                role: Role::Full,
                status: *status,
                status_for: Duration::ZERO,
                added_at: Timestamp::from_millis(0),
                intent: None,
                compute_type: String::new(),
                server_type: String::new(),
                labels: BTreeMap::new(),
                drives: None,
            };
            (key(number).node_id(), seen)
        };
        (1..).zip(statuses).map(member).collect()
    }

    #[test]
    fn what_lasts_is_told_once() {
        let (me, mut events) = (key(1).node_id(), Events::default());
        let mut at = |second: u64, statuses: &[Status]| {
            events.observe(Moment::at(Duration::from_secs(second)), me, &members(statuses))
        };
        let (alive, failed, suspect) = (Status::Alive, Status::Failed, Status::Suspect);
        assert_eq!(at(0, &[alive, Status::Booting]), None, "it sees nobody yet");
        assert_eq!(at(1, &[alive, alive]), Some(Event::AfterMesh));
        assert_eq!(at(2, &[alive, suspect]), None);
        assert_eq!(at(3, &[alive, failed]), None);
        assert_eq!(at(3, &[alive, alive]), None, "it was nothing");
        assert_eq!(at(4, &[alive, failed]), None);
        assert_eq!(at(5, &[alive, failed]), Some(Event::ClusterChange));
        assert_eq!(at(6, &[alive, failed]), None);
        assert_eq!(at(7, &[alive, failed, alive]), None);
        assert_eq!(at(9, &[alive, failed, alive]), Some(Event::ClusterChange));
        let (me, mut first) = (key(1).node_id(), Events::default());
        assert_eq!(first.observe(Moment::START, me, &members(&[alive])), Some(Event::AfterMesh));
        assert!(!first.is_unsteady());
    }
}

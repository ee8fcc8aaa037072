//! How long an agent that has just started looks around before it acts.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::identity::NodeId;
use crate::model::member::Status;
use crate::reconcile::fleet::view::SeenMember;

/// How long at least: what the members tell of the document must have come.
const LEAST: Duration = Duration::from_secs(3);

/// How long at most: who has not answered by then may be missed.
const MOST: Duration = Duration::from_secs(10);

/// The first look around: over once every member was seen alive at the same time, so that whoever
/// is missed afterwards was there, and has gone.
#[derive(Debug, Default)]
pub struct FirstLook {
    is_over: bool,
}

impl FirstLook {
    /// Whether an agent that has been running for so long, and sees `members`, may act. What is over
    /// stays over.
    pub fn is_over(
        &mut self,
        running_for: Duration,
        members: &BTreeMap<NodeId, SeenMember>,
    ) -> bool {
        let are_all_there = || members.values().all(|member| member.status == Status::Alive);
        self.is_over |= running_for >= MOST || running_for >= LEAST && are_all_there();
        // Nobody is there to be waited for.
        self.is_over || members.len() <= 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::reconcile::sight::seen_member;
    use crate::config::document::views::Admission;
    use crate::model::identity::testing::key;
    use crate::model::time::Moment;

    fn members(statuses: &[Status]) -> BTreeMap<NodeId, SeenMember> {
        let nodes = (1..).map(|number| key(number).node_id());
        let seen = nodes.zip(statuses).map(|(node, status)| {
            let admission: Admission = serde_json::from_value(serde_json::json!({
                "name": "local-1", "role": "full", "added_at": "2026-11-22T08:00:00Z", "endpoints": [],
            }))
            .unwrap();
            let statuses = BTreeMap::from([(node, (*status, Moment::START))]);
            let me = key(99).node_id();
            (node, seen_member(me, node, &admission, &statuses, Moment::START))
        });
        seen.collect()
    }

    #[test]
    fn it_ends_when_all_were_there_at_once_or_it_took_long_enough() {
        let all = members(&[Status::Alive, Status::Alive]);
        let some = members(&[Status::Alive, Status::Suspect]);
        let mut look = FirstLook::default();
        assert!(!look.is_over(Duration::from_millis(2_999), &all));
        assert!(!look.is_over(Duration::from_secs(9), &some));
        assert!(look.is_over(Duration::from_secs(10), &some));
        let mut look = FirstLook::default();
        assert!(look.is_over(LEAST, &all));
        assert!(look.is_over(LEAST, &some), "who was there is missed");
    }

    #[test]
    fn who_is_alone_waits_for_nobody_until_there_are_others() {
        let mut look = FirstLook::default();
        assert!(look.is_over(Duration::ZERO, &members(&[Status::Alive])));
        assert!(!look.is_over(Duration::ZERO, &members(&[Status::Alive, Status::Alive])));
    }
}

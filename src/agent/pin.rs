//! Which links this machine has, as its own configuration says it: `mesh.reach`, `mesh.parent`.

use std::collections::BTreeMap;

use crate::config::document::views::Admission;
use crate::model::identity::NodeId;
use crate::model::name::Name;
use crate::model::reach::Reach;

/// What the configuration says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pin {
    /// Which links.
    pub reach: Reach,
    /// The member that a `tree` machine links to.
    pub parent: Option<Name>,
}

impl Pin {
    /// The key of the parent, when this machine has one and the document names it.
    #[must_use]
    pub fn parent_among(&self, members: &BTreeMap<NodeId, Admission>) -> Option<NodeId> {
        let parent = self.parent.as_ref().filter(|_| self.reach == Reach::Tree)?;
        members.iter().find(|(_, admission)| admission.name == *parent).map(|(node, _)| *node)
    }

    /// What stands in the way of the one link of a `tree` machine. `reach_of` is what a member says
    /// of itself.
    #[must_use]
    pub fn problem(
        &self,
        members: &BTreeMap<NodeId, Admission>,
        own: NodeId,
        reach_of: impl Fn(NodeId) -> Reach,
    ) -> Option<String> {
        let name = self.parent.as_ref().filter(|_| self.reach == Reach::Tree)?;
        match self.parent_among(members) {
            None => Some(format!(
                "no member is called {name} (mesh.parent): until one is, this machine links as if \
                 mesh.reach were linked"
            )),
            Some(parent) if parent == own => {
                Some(format!("{name} is this machine itself (mesh.parent): it has no link"))
            }
            Some(parent) => match reach_of(parent) {
                Reach::Full => None,
                pinned => Some(format!(
                    "{name} (mesh.parent) is {pinned} itself, so that nobody may dial it"
                )),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::testing::key;
    use crate::model::member::Role;
    use crate::model::time::Timestamp;

    #[test]
    fn a_parent_is_found_by_its_name_and_missed_with_words() {
        let members: BTreeMap<NodeId, Admission> = ["one", "two"]
            .into_iter()
            .zip(0..)
            .map(|(name, index)| {
                let admission = serde_json::json!({
                    "name": name, "role": Role::Full, "added_at": Timestamp::default(),
                    "added_by": key(0).node_id(), "endpoints": [],
                });
                (key(index).node_id(), serde_json::from_value(admission).unwrap())
            })
            .collect();
        let pin = |parent: &str| Pin { reach: Reach::Tree, parent: parent.parse().ok() };
        let (one, two) = (key(0).node_id(), key(1).node_id());
        assert_eq!(pin("two").parent_among(&members), Some(two));
        assert_eq!(pin("two").problem(&members, one, |_| Reach::Full), None);
        let told = |pin: Pin| pin.problem(&members, one, |_| Reach::Linked).unwrap();
        assert!(told(pin("two")).contains("is linked itself"));
        assert!(told(pin("one")).contains("this machine itself"));
        assert!(told(pin("three")).contains("no member is called three"));
        let linked = Pin { reach: Reach::Linked, ..pin("two") };
        assert_eq!(linked.parent_among(&members), None);
        assert_eq!(linked.problem(&members, one, |_| Reach::Tree), None);
    }
}

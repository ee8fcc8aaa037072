//! Members as they are shown: the document's names joined with what gossip and mesh observe. Pure.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::agent::error::AgentError;
use crate::config::document::views::Admission;
use crate::config::document::views::TicketRecord;
use crate::model::facts::Facts;
use crate::model::identity::NodeId;
use crate::model::label::Labels;
use crate::model::label::Selectable;
use crate::model::member::Member;
use crate::model::member::Status;
use crate::model::name::Name;
use crate::model::nat::NatKind;
use crate::model::time::Timestamp;

/// What the document says of a member.
#[derive(Debug, Clone, PartialEq)]
pub struct Admitted {
    /// The name it was given.
    pub name: Name,
    /// UDP addresses told at admission.
    pub endpoints: Vec<SocketAddr>,
    /// When it was admitted.
    pub added_at: Timestamp,
}

/// What is observed of a member.
#[derive(Debug, Clone, Default)]
pub struct Observed<'a> {
    /// How gossip sees it.
    pub status: Option<Status>,
    /// What it says of itself.
    pub facts: Option<&'a Facts>,
    /// The first hop, when the link is not direct.
    pub via: Option<NodeId>,
    /// Round-trip time of the path in milliseconds.
    pub rtt_ms: Option<f64>,
}

/// One row of the members table.
#[must_use]
pub fn member(
    id: NodeId,
    dc: &Name,
    admitted: &Admitted,
    observed: &Observed<'_>,
    names: &BTreeMap<NodeId, Name>,
) -> Member {
    let facts = observed.facts;
    let unknown = || "-".to_owned();
    Member {
        id,
        name: admitted.name.clone(),
        address: id.address(),
        status: observed.status.unwrap_or(Status::Booting),
        server_type: facts.map_or_else(unknown, |facts| shown(&facts.server_type)),
        build: facts.map_or_else(unknown, |facts| shown(&facts.build)),
        protocol: facts.map_or(0, |facts| facts.protocol),
        dc: dc.clone(),
        compute_type: facts.map_or_else(unknown, |facts| shown(&facts.compute_type)),
        endpoints: facts
            .map_or_else(|| admitted.endpoints.clone(), |facts| facts.endpoints.clone()),
        nat: facts.map_or_else(NatKind::default, |facts| facts.nat),
        via: observed.via.and_then(|via| names.get(&via).cloned()),
        rtt_ms: observed.rtt_ms,
        joined_at: facts.map_or(admitted.added_at, |facts| facts.joined_at),
        labels: facts.map_or_else(Labels::new, |facts| {
            facts.labels.iter().map(|(key, value)| (shown(key), shown(value))).collect()
        }),
    }
}

/// Finds a member by name, id, or unique prefix of its id.
///
/// # Errors
/// [`AgentError::NotFound`], naming the nearest name; [`AgentError::Conflict`] when several fit.
pub fn find<'a>(members: &'a [Member], word: &str) -> Result<&'a Member, AgentError> {
    if let Some(member) = members.iter().find(|member| member.name.as_str() == word) {
        return Ok(member);
    }
    let fitting: Vec<&Member> = members
        .iter()
        .filter(|member| {
            !word.is_empty()
                && (member.address.to_string() == word
                    || member.attribute("id").is_some_and(|id| id.starts_with(word)))
        })
        .collect();
    match fitting.as_slice() {
        [member] => Ok(member),
        [] => Err(AgentError::NotFound(unknown_node(members, word))),
        several => {
            let names: Vec<&str> = several.iter().map(|member| member.name.as_str()).collect();
            Err(AgentError::Conflict(format!(
                "{word:?} fits several members: {}",
                names.join(", ")
            )))
        }
    }
}

/// Key of a ticket's record: when it was revoked.
pub const REVOKED_AT: &str = "revoked_at";

/// Why a ticket lets nobody in; none while it holds.
#[must_use]
pub fn ticket_fault(ticket: &TicketRecord, now: Timestamp) -> Option<String> {
    if ticket.rest.contains_key(REVOKED_AT) {
        return Some("the ticket was revoked".to_owned());
    }
    if ticket.expires_at < now {
        return Some(format!("the ticket expired at {}", ticket.expires_at));
    }
    (ticket.uses_left == 0).then(|| "the ticket is used up".to_owned())
}

/// What `raptor status` says of a member that does not hold; none while it does.
#[must_use]
pub fn trouble(member: &Member) -> Option<String> {
    let name = &member.name;
    match member.status {
        Status::Failed => Some(format!("{name} failed: nobody reaches it")),
        Status::Suspect => Some(format!("{name} does not answer; others are asked about it")),
        Status::Left => Some(format!("{name} left: its agent was ended")),
        Status::Booting => Some(format!("{name} was admitted and has not been seen yet")),
        Status::Alive => None,
    }
}

fn unknown_node(members: &[Member], word: &str) -> String {
    /// Names less alike than this are no help (Jaro-Winkler similarity).
    const ALIKE: f64 = 0.75;
    let nearest = members
        .iter()
        .map(|member| (strsim::jaro_winkler(member.name.as_str(), word), member))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|left, right| left.0.total_cmp(&right.0));
    match nearest {
        Some((_, member)) => {
            format!("no member {word:?}; did you mean {:?}?", member.name.as_str())
        }
        None => format!("no member {word:?}"),
    }
}

/// Gives each of several members of one name a name of its own: two members that each admitted a
/// machine at the same time cannot know of each other. Whoever was admitted first keeps the name;
/// everybody who holds the same document finds the same names.
pub fn make_names_unique(members: &mut BTreeMap<NodeId, Admission>) {
    let mut by_age: Vec<NodeId> = members.keys().copied().collect();
    by_age.sort_by_key(|node| (members.get(node).map(|admission| admission.added_at), *node));
    let wanted: BTreeSet<Name> = members.values().map(|admission| admission.name.clone()).collect();
    if wanted.len() == members.len() {
        return;
    }
    let mut taken: BTreeSet<Name> = BTreeSet::new();
    for node in by_age {
        let Some(admission) = members.get_mut(&node) else { continue };
        if taken.contains(&admission.name) {
            let is_taken = |name: &Name| taken.contains(name) || wanted.contains(name);
            admission.name = free_name(&admission.name, &is_taken);
        }
        taken.insert(admission.name.clone());
    }
}

/// A member's word about itself, as it may be shown: it could hold what steers a terminal.
fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(SHOWN_LENGTH_MAX).collect()
}

/// Longest word of a member about itself that is shown.
const SHOWN_LENGTH_MAX: usize = 100;

/// A name nobody has: `wanted`, or `wanted-2`, `wanted-3`, ...
#[must_use]
pub fn free_name(wanted: &Name, taken: &dyn Fn(&Name) -> bool) -> Name {
    if !taken(wanted) {
        return wanted.clone();
    }
    // A cluster has fewer members than there are numbers, so one of them is free.
    (2..=u32::MAX)
        .filter_map(|number| numbered_name(wanted, number))
        .find(|name| !taken(name))
        .unwrap_or_else(|| wanted.clone())
}

/// Whether `name` is `wanted`, or what [`free_name`] made of it.
#[must_use]
pub fn is_name_of(name: &Name, wanted: &Name) -> bool {
    let numbered = name.as_str().rsplit_once('-').and_then(|(_, number)| number.parse().ok());
    name == wanted
        || numbered.is_some_and(|number| numbered_name(wanted, number) == Some(name.clone()))
}

fn numbered_name(wanted: &Name, number: u32) -> Option<Name> {
    let base: String = wanted.as_str().chars().take(52).collect();
    format!("{}-{number}", base.trim_end_matches('-')).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::testing::key;
    use crate::model::member::Role;

    fn members(names: &[&str]) -> Vec<Member> {
        let dc: Name = "default".parse().unwrap();
        names
            .iter()
            .zip(0..)
            .map(|(name, number)| {
                let admitted = Admitted {
                    name: name.parse().unwrap(),
                    endpoints: Vec::new(),
                    added_at: Timestamp::default(),
                };
                member(
                    key(number).node_id(),
                    &dc,
                    &admitted,
                    &Observed::default(),
                    &BTreeMap::new(),
                )
            })
            .collect()
    }

    #[test]
    fn members_are_found_by_name_id_prefix_and_address() {
        let members = members(&["web-1", "web-2"]);
        for word in [
            "web-1".to_owned(),
            members[0].id.to_string(),
            members[0].id.to_string()[..20].to_owned(),
            members[0].address.to_string(),
        ] {
            assert_eq!(find(&members, &word).unwrap().name.as_str(), "web-1", "{word}");
        }
        let error = find(&members, "wbe-1").unwrap_err();
        assert!(error.to_string().contains("did you mean"), "{error}");
        assert_eq!(find(&members, "xyz").unwrap_err().to_string(), "no member \"xyz\"");
        assert!(find(&members, "").is_err());
    }

    #[test]
    fn a_taken_name_gets_a_number() {
        let taken = |name: &Name| ["box", "box-2"].contains(&name.as_str());
        assert_eq!(free_name(&"box".parse().unwrap(), &taken).as_str(), "box-3");
        assert_eq!(free_name(&"new".parse().unwrap(), &taken).as_str(), "new");
    }

    #[test]
    fn members_of_one_name_get_names_of_their_own_everywhere_alike() {
        let admission = |name: &str, added_at: u64| Admission {
            name: name.parse().unwrap(),
            role: Role::Full,
            endpoints: Vec::new(),
            added_at: Timestamp::from_millis(added_at),
            evicted: false,
            rest: serde_json::Map::default(),
        };
        let ids: Vec<NodeId> = members(&["a", "b", "c", "d"]).iter().map(|one| one.id).collect();
        let mut admitted: BTreeMap<NodeId, Admission> = [
            (ids[0], admission("box", 2)),
            (ids[1], admission("box", 1)),
            (ids[2], admission("box-2", 9)),
            (ids[3], admission("box", 3)),
        ]
        .into();
        make_names_unique(&mut admitted);
        let names: Vec<&str> = ids.iter().map(|id| admitted[id].name.as_str()).collect();
        assert_eq!(names, ["box-3", "box", "box-2", "box-4"]);
        let before = admitted.clone();
        make_names_unique(&mut admitted);
        assert_eq!(admitted, before);
    }

    #[test]
    fn what_steers_a_terminal_is_not_shown() {
        assert_eq!(shown("head\u{1b}[2Jless\n\u{9b}1m"), "head[2Jless1m");
        assert_eq!(shown(&"x".repeat(1000)).len(), SHOWN_LENGTH_MAX);
    }

    #[test]
    fn one_that_nobody_saw_yet_is_booting() {
        assert_eq!(members(&["a"])[0].status, Status::Booting);
    }
}

//! The key that a machine names when it is taken over, and whether it is believed. Pure.

use crate::agent::perform::job::Failure;
use crate::agent::view;
use crate::model::identity::NodeId;
use crate::model::member::Member;
use crate::model::name::Name;
use crate::model::possession::Challenge;
use crate::provision::order::InitReply;

const STEP: &str = "enter the cluster";

/// Refuses a machine that does not prove that it holds the key it names: it could name a member's.
pub(super) fn check_proof(challenge: &Challenge, reply: &InitReply) -> Result<(), Failure> {
    let proof = reply.proof.as_deref().unwrap_or_default();
    if challenge.is_met(reply.node_id, proof) {
        return Ok(());
    }
    let why = format!("it does not prove that it holds the key {} it names", reply.node_id.short());
    Err(Failure::at(STEP, why).with_hint(
        "something on it answers in the place of raptor: look at the machine before you trust it",
    ))
}

/// Refuses the key of a `member` under another machine's `name`: one of the two is a copy.
/// `recorded` is the key with which this very machine was taken over before.
pub(super) fn check_member(
    member: &Member,
    name: &Name,
    recorded: Option<NodeId>,
    force: bool,
) -> Result<(), Failure> {
    let is_same = recorded == Some(member.id) || view::is_name_of(&member.name, name);
    if is_same || force {
        return Ok(());
    }
    let why = format!("{name} has the key of the member {}", member.name);
    Err(Failure::at(STEP, why).with_hint(
        "a copied disk? `raptor clean` on it makes it a machine of its own; if it is that member \
         under a new name, give --force",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cluster::ClusterId;
    use crate::model::identity::testing::key;
    use crate::model::member::Status;
    use crate::model::time::Timestamp;

    fn reply(number: u64, proof: Option<String>) -> InitReply {
        InitReply {
            node_id: key(number).node_id(),
            cluster_id: None,
            genesis: None,
            endpoints: Vec::new(),
            proof,
            rest: serde_json::Map::new(),
        }
    }

    #[test]
    fn a_key_that_is_not_proven_is_refused() {
        let challenge = Challenge::new(ClusterId::derive(1, &"a".parse().unwrap()), &[7; 32]);
        let proof = Some(challenge.answer(&key(1)));
        assert!(check_proof(&challenge, &reply(1, proof.clone())).is_ok());
        for claimed in [reply(2, proof), reply(1, None)] {
            let failure = check_proof(&challenge, &claimed).unwrap_err();
            assert!(failure.cause.starts_with("it does not prove"), "{failure:?}");
        }
    }

    #[test]
    fn a_members_key_is_refused_under_another_name() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        let id = key(1).node_id();
        let member = Member {
            id,
            name: name("web-2"),
            address: id.address(),
            status: Status::Alive,
            server_type: String::new(),
            build: String::new(),
            protocol: 1,
            dc: name("default"),
            compute_type: String::new(),
            endpoints: Vec::new(),
            nat: crate::model::nat::NatKind::Unknown,
            via: None,
            rtt_ms: None,
            joined_at: Timestamp::from_millis(0),
            labels: std::collections::BTreeMap::new(),
        };
        // The second of two hosts that are both called "web".
        for own in ["web-2", "web"] {
            assert!(check_member(&member, &name(own), None, false).is_ok(), "{own}");
        }
        for other in ["db", "web-3", "we"] {
            let failure = check_member(&member, &name(other), None, false).unwrap_err();
            assert_eq!(failure.cause, format!("{other} has the key of the member web-2"));
            assert!(check_member(&member, &name(other), None, true).is_ok());
        }
        assert!(check_member(&member, &name("db"), Some(id), false).is_ok());
    }
}

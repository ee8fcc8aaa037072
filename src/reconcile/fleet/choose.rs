//! Who acts: the same member in everybody's eyes, without a word between them.

use sha2::{Digest, Sha512};

use crate::model::identity::NodeId;
use crate::model::machine::IntentId;
use crate::model::time::Timestamp;

/// The candidate with the highest hash over `subject` and itself (rendezvous hashing, Thaler and
/// Ravishankar 1998): while candidates come and go, only what the gone one held moves.
pub fn choose(subject: &str, candidates: impl IntoIterator<Item = NodeId>) -> Option<NodeId> {
    let subject = u64::from_le_bytes(digest(&[b"raptor/1 chosen\0", subject.as_bytes()]));
    candidates.into_iter().max_by_key(|node| (weight(subject, *node), *node))
}

/// A key is as good as random, so that mixing it with the subject's hash is enough (the mixer is
/// the finalizer of `SplitMix64`, Steele and others 2014): choosing among 10,000 takes microseconds.
fn weight(subject: u64, node: NodeId) -> u64 {
    let mut seed = [0; 8];
    seed.copy_from_slice(&node.as_bytes()[..8]);
    let mut mixed = subject ^ u64::from_le_bytes(seed);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The id of a new wish: no two members, moments or places in a plan give the same one.
#[must_use]
pub fn new_intent(by: NodeId, rule: &str, now: Timestamp, place: usize) -> IntentId {
    let place = u64::try_from(place).unwrap_or(u64::MAX).to_le_bytes();
    let millis = now.as_millis().to_le_bytes();
    IntentId::from_bytes(digest(&[
        b"raptor/1 wish\0",
        by.as_bytes(),
        rule.as_bytes(),
        b"\0",
        &millis,
        &place,
    ]))
}

fn digest<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut hash = Sha512::new();
    for part in parts {
        hash.update(part);
    }
    let digest = hash.finalize();
    std::array::from_fn(|index| digest[index])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::testing::key;

    #[test]
    fn only_what_the_gone_one_held_moves() {
        let nodes: Vec<NodeId> = (0..5).map(|number| key(number).node_id()).collect();
        let gone = nodes[2];
        let mut held = 0;
        for number in 0..100 {
            let subject = number.to_string();
            let before = choose(&subject, nodes.iter().copied()).unwrap();
            let rest = nodes.iter().copied().filter(|node| *node != gone);
            let after = choose(&subject, rest).unwrap();
            held += usize::from(before == gone);
            assert!(before == after || before == gone);
        }
        assert!((8..35).contains(&held), "{held} of 100 for one of five");
    }

    #[test]
    fn wishes_differ_by_author_time_and_place() {
        let now = Timestamp::from_millis(7);
        let (one, two) = (key(0).node_id(), key(1).node_id());
        let intent = new_intent(one, "a", now, 0);
        assert_eq!(intent, new_intent(one, "a", now, 0));
        assert_ne!(intent, new_intent(two, "a", now, 0));
        assert_ne!(intent, new_intent(one, "b", now, 0));
        assert_ne!(intent, new_intent(one, "a", Timestamp::from_millis(8), 0));
        assert_ne!(intent, new_intent(one, "a", now, 1));
    }
}

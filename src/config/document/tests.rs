use proptest::prelude::*;
use serde_json::{Value, json};

use super::testing::{admission, genesis, key, set, sync, unset, write};
use super::*;
use crate::config::change::{Change, ChangeError};
use crate::config::document::blob::{BlobError, Header};
use crate::model::identity::SecretKey;
use crate::model::time::Timestamp;

/// Documents of `count` machines, all admitted, all equal.
fn cluster(count: u8) -> Vec<(SecretKey, Document)> {
    let keys: Vec<SecretKey> = (1..=u64::from(count)).map(key).collect();
    let genesis = genesis(&keys[0]);
    let mut first = Document::new(genesis.clone(), 100);
    let admissions: Vec<Change> = keys.iter().map(|key| admission(key.node_id())).collect();
    write(&mut first, &keys[0], &admissions).unwrap();
    let documents = (1..u64::from(count)).map(|index| {
        let mut document = Document::new(genesis.clone(), 100 + index);
        sync(&first, &mut document);
        document
    });
    let documents: Vec<Document> = documents.collect();
    keys.into_iter().zip(std::iter::once(first).chain(documents)).collect()
}

fn pair() -> (SecretKey, Document, SecretKey, Document) {
    let mut both = cluster(2);
    let (second_key, second) = both.pop().unwrap();
    let (first_key, first) = both.pop().unwrap();
    (first_key, first, second_key, second)
}

fn exchange(a: &mut Document, b: &mut Document) {
    sync(a, b);
    sync(b, a);
    assert_eq!(a.value(), b.value());
    assert_eq!(a.versions(), b.versions());
}

fn config(document: &Document) -> Value {
    document.config_layer()
}

#[test]
fn both_write_one_object_and_keep_both_halves() {
    let (ka, mut a, kb, mut b) = pair();
    write(&mut a, &ka, &[set("config.mesh", json!({"rings": 4, "deep": {"x": 1}}))]);
    write(&mut b, &kb, &[set("config.mesh", json!({"listen": ":1", "deep": {"y": 2}}))]);
    exchange(&mut a, &mut b);
    let expected = json!({"mesh": {"rings": 4, "listen": ":1", "deep": {"x": 1, "y": 2}}});
    assert_eq!(config(&a), expected);
}

#[test]
fn a_deleted_key_stays_deleted_after_a_partition() {
    let (ka, mut a, kb, mut b) = pair();
    write(&mut a, &ka, &[set("config.user", json!({"x": 1, "y": {"z": 2}}))]);
    exchange(&mut a, &mut b);
    write(&mut a, &ka, &[unset("config.user.y")]);
    write(&mut b, &kb, &[set("config.user.x", 3)]);
    exchange(&mut a, &mut b);
    assert_eq!(config(&a), json!({"user": {"x": 3}}));
}

#[test]
fn deleting_an_object_wins_over_an_edit_below_it_also_when_it_is_made_again() {
    let (ka, mut a, kb, mut b) = pair();
    write(&mut a, &ka, &[set("config.user.y", json!({"z": 2}))]);
    exchange(&mut a, &mut b);
    write(&mut a, &ka, &[unset("config.user.y")]);
    write(&mut b, &kb, &[set("config.user.y.late", 1)]);
    exchange(&mut a, &mut b);
    assert_eq!(config(&a), json!({"user": {}}));
    write(&mut b, &kb, &[set("config.user.y.new", 5)]);
    exchange(&mut a, &mut b);
    assert_eq!(config(&a), json!({"user": {"y": {"new": 5}}}));
}

#[test]
fn an_object_that_became_a_number_comes_back_empty() {
    let (ka, mut a, ..) = pair();
    write(&mut a, &ka, &[set("config.k", json!({"old": {"x": 1}}))]);
    write(&mut a, &ka, &[set("config.k", 7)]);
    assert_eq!(config(&a), json!({"k": 7}));
    write(&mut a, &ka, &[set("config.k", json!({"fresh": [1, {"a": null}]}))]);
    assert_eq!(config(&a), json!({"k": {"fresh": [1, {"a": null}]}}));
}

#[test]
fn setting_an_object_replaces_it() {
    let (ka, mut a, ..) = pair();
    write(&mut a, &ka, &[set("config.k", json!({"old": {"x": 1}, "same": 1}))]);
    write(&mut a, &ka, &[set("config.k", json!({"same": 1, "n": null, "e": {}, "f": 1.5}))]);
    assert_eq!(config(&a), json!({"k": {"same": 1, "n": null, "e": {}, "f": 1.5}}));
}

#[test]
fn a_write_that_says_nothing_new_makes_no_blob() {
    let (ka, mut a, ..) = pair();
    assert!(write(&mut a, &ka, &[set("config.a", 1)]).is_some());
    assert!(write(&mut a, &ka, &[set("config.a", 1), unset("config.b")]).is_none());
}

#[test]
fn a_refused_write_changes_nothing() {
    let (ka, mut a, ..) = pair();
    write(&mut a, &ka, &[set("config.a", 1)]);
    let before = (a.value(), a.versions());
    let changes = [set("config.b", 2), set("config.a.c", 3)];
    let error = a.write(&ka, Timestamp::default(), "", &changes).unwrap_err();
    assert!(matches!(error, DocumentError::Change(ChangeError::NotAnObject { .. })));
    let changes = [set("config.big", "x".repeat(blob::BLOB_SIZE_MAX))];
    let error = a.write(&ka, Timestamp::default(), "", &changes).unwrap_err();
    assert!(matches!(error, DocumentError::Blob(BlobError::TooLarge(_))));
    assert_eq!((a.value(), a.versions()), before);
    assert!(write(&mut a, &ka, &[set("config.b", 2)]).is_some());
}

#[test]
fn strangers_wait_until_they_are_admitted() {
    let (ka, mut a, ..) = pair();
    let stranger = key(9);
    let mut theirs = Document::new(a.genesis().clone(), 5);
    assert!(matches!(
        theirs.write(&stranger, Timestamp::default(), "", &[set("config.a", 1)]),
        Err(DocumentError::NotAdmitted { .. })
    ));
    let mut elsewhere = Document::new(a.genesis().clone(), 6);
    sync(&a, &mut elsewhere);
    write(&mut a, &ka, &[admission(stranger.node_id())]);
    sync(&a, &mut theirs);
    let blob = write(&mut theirs, &stranger, &[set("config.a", 1)]).unwrap();
    assert!(matches!(elsewhere.apply(blob).unwrap(), Applied::Waiting));
    sync(&a, &mut elsewhere);
    assert_eq!(config(&elsewhere), json!({"a": 1}));
    assert_eq!(elsewhere.pending_count(), 0);
}

#[test]
fn an_evicted_members_writings_stay_accepted_and_it_is_no_member() {
    let (ka, mut a, kb, mut b) = pair();
    let path = format!("members.{}.evicted", kb.node_id());
    write(&mut b, &kb, &[set("config.b", 1)]);
    write(&mut a, &ka, &[set(&path, true)]);
    exchange(&mut a, &mut b);
    assert_eq!(config(&a), json!({"b": 1}));
    assert!(!a.members().contains_key(&kb.node_id()));
    assert!(a.admissions().contains_key(&kb.node_id()));
}

#[test]
fn gaps_are_filled_in_any_order() {
    let (ka, mut a, _, mut b) = pair();
    let mut blobs: Vec<Blob> = (0..5)
        .map(|index| write(&mut a, &ka, &[set(&format!("config.k{index}"), index)]).unwrap())
        .collect();
    let first = blobs.remove(0);
    for blob in blobs.into_iter().rev() {
        assert!(matches!(b.apply(blob).unwrap(), Applied::Waiting));
    }
    let Applied::Applied { blobs, refused } = b.apply(first.clone()).unwrap() else {
        panic!("not applied");
    };
    assert_eq!((blobs.len(), refused.len()), (5, 0));
    assert_eq!(a.value(), b.value());
    assert!(matches!(b.apply(first).unwrap(), Applied::Known));
}

#[test]
fn foreign_forged_and_borrowed_names_are_refused() {
    let (ka, mut a, kb, mut b) = pair();
    let blob = write(&mut a, &ka, &[set("config.a", 1)]).unwrap();
    let mut header = blob.header().clone();
    let resign =
        |header: &Header, key: &SecretKey| Blob::sign(header.clone(), blob.payload(), key).unwrap();
    assert!(matches!(b.apply(resign(&header, &kb)), Err(DocumentError::Forged { .. })));
    // B signs A's operations as its own.
    header.author = kb.node_id();
    header.sequence = 0;
    assert!(matches!(b.apply(resign(&header, &kb)), Err(DocumentError::Malformed { .. })));
    header.cluster = Genesis { nonce: 2, ..a.genesis().clone() }.cluster_id();
    assert!(matches!(b.apply(resign(&header, &kb)), Err(DocumentError::OtherCluster { .. })));
    b.apply(blob.clone()).unwrap();
    let mut twin = blob.header().clone();
    twin.note = "other".to_owned();
    assert!(matches!(b.apply(resign(&twin, &ka)), Err(DocumentError::Conflict { .. })));
}

#[test]
fn a_lost_tail_does_no_harm_in_a_new_epoch() {
    let (ka, mut a, _, mut b) = pair();
    let kept = a.blobs().to_vec();
    write(&mut a, &ka, &[set("config.lost", 1)]);
    sync(&a, &mut b);
    let mut reopened = Document::new(a.genesis().clone(), 999);
    assert!(reopened.restore(kept).is_empty());
    write(&mut reopened, &ka, &[set("config.new", 2)]);
    exchange(&mut reopened, &mut b);
    assert_eq!(config(&b), json!({"lost": 1, "new": 2}));
}

#[test]
fn a_malformed_record_does_not_hide_the_others() {
    let (ka, mut a, kb, _) = pair();
    let broken = format!("members.{}", key(7).node_id());
    write(&mut a, &ka, &[set(&broken, 1), set("members.x", json!({})), set("future.key", 1)]);
    assert_eq!(a.members().len(), 2);
    assert!(a.members().contains_key(&kb.node_id()));
    assert_eq!(a.malformed().len(), 2);
    assert_eq!(a.get(&"future.key".parse().unwrap()), Some(json!(1)));
}

#[test]
fn the_log_tells_who_and_why() {
    let (ka, mut a, kb, mut b) = pair();
    let time = Timestamp::from_millis(5);
    a.write(&ka, time, "first", &[set("config.a", 1)]).unwrap();
    b.write(&kb, time.after(std::time::Duration::from_secs(1)), "second", &[set("config.b.c", 1)])
        .unwrap();
    exchange(&mut a, &mut b);
    let log = a.log(2);
    assert_eq!(log, b.log(2));
    assert_eq!((log[0].note.as_str(), log[0].author), ("second", kb.node_id()));
    assert_eq!(log[0].paths, ["config.b.c"]);
    assert_eq!(log[1].note, "first");
}

#[test]
fn no_payload_of_an_admitted_author_panics() {
    let (ka, mut a, ..) = pair();
    let sound = write(&mut a, &ka, &[set("config.a", json!({"b": [1, "x", 2.5]}))]).unwrap();
    let base = a.blobs()[..1].to_vec();
    let genesis = a.genesis().clone();
    bolero::check!().with_iterations(2000).with_type::<(Vec<u8>, Vec<(u16, u8)>)>().for_each(
        |(tail, flips)| {
            let mut payload = sound.payload().to_vec();
            for (place, mask) in flips {
                let place = usize::from(*place) % payload.len();
                payload[place] ^= mask;
            }
            payload.extend_from_slice(tail);
            fix_checksum(&mut payload);
            let mut document = Document::new(genesis.clone(), 1);
            assert!(document.restore(base.clone()).is_empty());
            let blob = Blob::sign(sound.header().clone(), &payload, &ka).unwrap();
            let _ = document.apply(blob);
            let _ = document.value();
        },
    );
}

/// The CRDT's own checksum is no defence: a writer can make it. Bytes 16 to 20 are the xxhash32 of
/// what follows; a payload with a wrong one is refused before it is read.
fn fix_checksum(payload: &mut [u8]) {
    if payload.len() > 20 {
        let sum = xxhash32(&payload[20..], 0x4F52_4F4C);
        payload[16..20].copy_from_slice(&sum.to_le_bytes());
    }
}

/// xxHash32, from its specification.
fn xxhash32(input: &[u8], seed: u32) -> u32 {
    const P: [u32; 5] = [0x9E37_79B1, 0x85EB_CA77, 0xC2B2_AE3D, 0x27D4_EB2F, 0x1656_67B1];
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().unwrap());
    let round = |lane: u32, input: u32| {
        lane.wrapping_add(input.wrapping_mul(P[1])).rotate_left(13).wrapping_mul(P[0])
    };
    let mut rest = input;
    let mut hash = if input.len() >= 16 {
        let mut lanes = [
            seed.wrapping_add(P[0]).wrapping_add(P[1]),
            seed.wrapping_add(P[1]),
            seed,
            seed.wrapping_sub(P[0]),
        ];
        while rest.len() >= 16 {
            for (index, lane) in lanes.iter_mut().enumerate() {
                *lane = round(*lane, word(&rest[index * 4..]));
            }
            rest = &rest[16..];
        }
        lanes
            .iter()
            .zip([1, 7, 12, 18])
            .fold(0u32, |sum, (lane, turn)| sum.wrapping_add(lane.rotate_left(turn)))
    } else {
        seed.wrapping_add(P[4])
    };
    hash = hash.wrapping_add(u32::try_from(input.len()).unwrap());
    while rest.len() >= 4 {
        hash = hash.wrapping_add(word(rest).wrapping_mul(P[2])).rotate_left(17).wrapping_mul(P[3]);
        rest = &rest[4..];
    }
    for byte in rest {
        hash = hash
            .wrapping_add(u32::from(*byte).wrapping_mul(P[4]))
            .rotate_left(11)
            .wrapping_mul(P[0]);
    }
    hash ^= hash >> 15;
    hash = hash.wrapping_mul(P[1]);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(P[2]);
    hash ^ (hash >> 16)
}

#[derive(Debug, Clone)]
enum Step {
    Write(usize, Change),
    Sync(usize, usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let path = prop::sample::select(vec!["config.a", "config.a.b", "config.a.b.c", "config.d.e"]);
    let value = prop::sample::select(vec![
        json!(1),
        json!(null),
        json!({"c": 2}),
        json!({"b": {"c": 3, "x": [1]}}),
        json!({}),
    ]);
    let change = (path, prop::option::of(value)).prop_map(|(path, value)| match value {
        Some(value) => set(path, value),
        None => unset(path),
    });
    prop_oneof![
        (0..4usize, change).prop_map(|(who, change)| Step::Write(who, change)),
        (0..4usize, 0..4usize, 1..400usize).prop_map(|(a, b, limit)| Step::Sync(a, b, limit)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn all_who_hold_the_same_agree(steps in prop::collection::vec(step(), 1..40)) {
        let mut machines = cluster(4);
        for step in steps {
            match step {
                Step::Write(who, change) => {
                    let (key, document) = &mut machines[who];
                    let mut expected = document.value();
                    let fits = change.apply(&mut expected).is_ok();
                    let written = document.write(key, Timestamp::default(), "", &[change]);
                    prop_assert_eq!(written.is_ok(), fits);
                    prop_assert_eq!(document.value(), expected);
                }
                Step::Sync(from, to, limit) => {
                    let blobs = machines[from].1.missing(&machines[to].1.versions(), limit);
                    for blob in blobs {
                        machines[to].1.apply(blob).unwrap();
                    }
                }
            }
        }
        let (first, others) = machines.split_at_mut(1);
        for (_, other) in others.iter_mut() {
            sync(other, &mut first[0].1);
        }
        for (_, other) in others {
            sync(&first[0].1, other);
            prop_assert_eq!(other.value(), first[0].1.value());
            prop_assert_eq!(other.versions(), first[0].1.versions());
        }
    }

    #[test]
    fn the_order_of_arrival_does_not_matter(seed in any::<u64>()) {
        let (ka, mut a, kb, mut b) = pair();
        for index in 0..6u64 {
            let path = format!("config.k{}", (seed >> index) % 3);
            write(&mut a, &ka, &[set(&path, index)]);
            write(&mut b, &kb, &[set(&path, json!({"x": index})), unset("config.k0")]);
        }
        exchange(&mut a, &mut b);
        let mut blobs = a.blobs().to_vec();
        let mut state = seed | 1;
        for index in (1..blobs.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            blobs.swap(index, usize::try_from(state >> 33).unwrap() % (index + 1));
        }
        let mut shuffled = Document::new(a.genesis().clone(), 7);
        for blob in blobs {
            shuffled.apply(blob).unwrap();
        }
        prop_assert_eq!(shuffled.value(), a.value());
        prop_assert_eq!(shuffled.versions(), a.versions());
    }
}

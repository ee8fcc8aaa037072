use serde_json::json;

use super::*;
use crate::config::document::Document;
use crate::config::document::testing::{admission, genesis, key, set, unset, write};

/// What raptor writes, of all kinds.
fn payloads() -> Vec<Vec<u8>> {
    let founder = key(1);
    let mut document = Document::new(genesis(&founder), 1);
    let deep = (0..20).fold(json!(1), |inner, _| json!([inner]));
    let wide: Vec<u64> = (0..50_000).collect();
    let many: serde_json::Map<_, _> =
        (0..3_000).map(|number| (format!("key-{number}"), json!({"a": null, "b": true}))).collect();
    let changes = [
        vec![admission(founder.node_id())],
        vec![admission(key(2).node_id()), set("a.b", json!([1, -2, 2.5, "x", {"y": [null, {}]}]))],
        vec![set("deep", deep), set("wide", json!(wide))],
        vec![set("many", json!(many))],
        vec![unset("many"), unset("a.b")],
        vec![set("text", "x".repeat(100_000)), set("empty", json!({})), set("none", json!([]))],
    ];
    let blobs = changes.iter().filter_map(|changes| write(&mut document, &founder, changes));
    blobs.map(|blob| blob.payload().to_vec()).collect()
}

/// Puts `number` in the place of the number that begins at `place`.
fn with_number(bytes: &[u8], place: usize, number: u64) -> Vec<u8> {
    let mut rest = Reader(&bytes[place..]);
    rest.number().unwrap();
    let mut changed = bytes[..place].to_vec();
    let mut left = number;
    while left >= 0x80 {
        changed.push(0x80 | u8::try_from(left & 0x7f).unwrap());
        left >>= 7;
    }
    changed.push(u8::try_from(left).unwrap());
    changed.extend(rest.0);
    changed
}

/// The only block of an update, and the update with another in its place.
fn block(payload: &[u8]) -> &[u8] {
    Reader(&payload[MODE_START + 2..]).bytes().unwrap()
}

fn with_block(payload: &[u8], block: &[u8]) -> Vec<u8> {
    let mut changed = with_number(
        &[&payload[..MODE_START + 2], &[0]].concat(),
        MODE_START + 2,
        block.len() as u64,
    );
    changed.extend(block);
    changed
}

#[test]
fn whatever_is_written_passes() {
    let all = payloads();
    assert_eq!(all.len(), 6);
    for (number, payload) in all.iter().enumerate() {
        assert_eq!(check(payload), Ok(()), "payload {number} of {} bytes", payload.len());
    }
    assert_eq!(with_block(&all[0], block(&all[0])), all[0]);
}

#[test]
fn changes_that_no_byte_stands_for_are_refused() {
    let payload = &payloads()[0];
    let block = block(payload);
    let mut reader = Reader(block);
    for _ in 0..4 {
        reader.number().unwrap();
    }
    let place = block.len() - reader.0.len();
    for changes in [u64::from(u32::MAX), 100_000] {
        let lies = with_block(payload, &with_number(block, place, changes));
        assert_eq!(check(&lies), Err(PayloadFault::TooMany("changes")));
    }
}

#[test]
fn operations_and_items_that_no_byte_stands_for_are_refused() {
    // Of a kind without a value: a million billion of them in a few bytes.
    let columns = |run: &[u8]| {
        let kinds = [&[u8::try_from(run.len()).unwrap() + 1], run, &[8]].concat();
        [&[1, 4, 0, 0][..], &kinds, &[0]].concat()
    };
    assert_eq!(check_operations(&columns(&[20]), &[], 100), Ok(()));
    let many = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40];
    let refused = Err(PayloadFault::TooMany("operations"));
    assert_eq!(check_operations(&columns(&many), &[], OPERATIONS_MAX), refused);
    // A list of lists, each as long as the decoder lets it say.
    let list = [7, 0x80, 0x80, 0x80, 0x40];
    assert_eq!(Reader(&list.repeat(1_000)).value(), Err(PayloadFault::TooMany("items")));
    let deep = [7, 1].repeat(10_000);
    assert_eq!(Reader(&deep).value(), Err(PayloadFault::TooMany("levels")));
    assert_eq!(Reader(&[7, 2, 0, 8, 1, 0, 3, 1]).value(), Ok(()));
}

#[test]
fn dependencies_that_no_byte_stands_for_are_refused() {
    // One peer, one change, which follows the one before and a billion others.
    let peer = [1, 0, 0, 0, 0, 0, 0, 0, 0];
    let header = [&peer[..], &[0, 1, 2, 0x80, 0x94, 0xeb, 0xdc, 0x03]].concat();
    assert_eq!(check_changes(1, &header), Err(PayloadFault::TooMany("dependencies")));
    assert_eq!(check_changes(1, &[&peer[..], &[0, 1, 2, 3]].concat()), Ok(()));
}

#[test]
fn no_bytes_panic() {
    bolero::check!().with_iterations(5000).for_each(|bytes: &[u8]| {
        let _ = check(&[&[0; MODE_START], &MODE_UPDATES[..], bytes].concat());
    });
}

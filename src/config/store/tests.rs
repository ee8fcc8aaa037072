use std::collections::BTreeSet;

use super::*;
use crate::config::document::testing::{genesis, key, set, write};
use crate::model::identity::SecretKey;

/// A store of several writes. Gives the folder, the writer's key and all blobs.
fn store_of(count: u64) -> (tempfile::TempDir, SecretKey, DocumentStore, Document) {
    let folder = tempfile::tempdir().unwrap();
    let key = key(1);
    let mut document = Document::new(genesis(&key), 1);
    write(&mut document, &key, &[set("config.first", 1)]).unwrap();
    let mut store = DocumentStore::create(folder.path(), &document).unwrap();
    for index in 0..count {
        let blob = write(&mut document, &key, &[set(&format!("config.k{index}"), index)]).unwrap();
        store.append(&blob).unwrap();
    }
    (folder, key, store, document)
}

/// Blobs of `document` that lie wholly in the first `length` bytes of its only log.
fn whole_records(document: &Document, length: usize) -> usize {
    let mut end = log::HEADER_LENGTH;
    document
        .blobs()
        .iter()
        .take_while(|blob| {
            end += 8 + blob.encoded().len();
            end <= length
        })
        .count()
}

#[test]
fn what_was_acknowledged_is_there_again() {
    let (folder, key, store, document) = store_of(5);
    drop(store);
    let opened = DocumentStore::open(folder.path(), 2).unwrap();
    assert!(opened.notes.is_empty(), "{:?}", opened.notes);
    assert_eq!(opened.document.value(), document.value());
    let (mut store, mut document) = (opened.store, opened.document);
    let blob = write(&mut document, &key, &[set("config.more", 1)]).unwrap();
    store.append(&blob).unwrap();
    let again = DocumentStore::open(folder.path(), 3).unwrap();
    assert_eq!(again.document.value(), document.value());
    assert!(matches!(
        DocumentStore::create(folder.path(), &document),
        Err(StoreError::Exists { .. })
    ));
}

#[test]
fn a_log_cut_at_any_byte_keeps_all_records_before_and_goes_on() {
    let (folder, key, store, document) = store_of(4);
    drop(store);
    let path = log_path(folder.path(), 1);
    let content = fs::read(&path).unwrap();
    for cut in 0..content.len() {
        fs::write(&path, &content[..cut]).unwrap();
        let opened = DocumentStore::open(folder.path(), 100 + cut as u64).unwrap();
        let whole = whole_records(&document, cut);
        assert_eq!(opened.document.blobs(), &document.blobs()[..whole], "cut at {cut}");
        let clean = cut == 0 || whole_records(&document, cut.saturating_sub(1)) < whole;
        let header_only = cut == log::HEADER_LENGTH;
        assert_eq!(opened.notes.is_empty(), clean || header_only, "cut at {cut}");
        let (mut store, mut shorter) = (opened.store, opened.document);
        let blob = write(&mut shorter, &key, &[set("config.after", cut)]).unwrap();
        store.append(&blob).unwrap();
        let again = DocumentStore::open(folder.path(), 3).unwrap();
        assert_eq!(again.document.value(), shorter.value(), "cut at {cut}");
        assert!(again.notes.is_empty());
    }
}

#[test]
fn a_flipped_bit_anywhere_loses_at_most_the_record_it_hits() {
    let (folder, _, store, document) = store_of(3);
    drop(store);
    let path = log_path(folder.path(), 1);
    let content = fs::read(&path).unwrap();
    for index in 0..content.len() {
        let fresh = tempfile::tempdir().unwrap();
        for file in [GENESIS_FILE, "snapshot-1"] {
            fs::copy(folder.path().join(file), fresh.path().join(file)).unwrap();
        }
        let mut flipped = content.clone();
        flipped[index] ^= 0x01;
        fs::write(log_path(fresh.path(), 1), &flipped).unwrap();
        let opened = DocumentStore::open(fresh.path(), 2).unwrap();
        assert!(!opened.notes.is_empty(), "flip at {index}");
        let before = whole_records(&document, index);
        assert!(opened.document.blobs().len() >= before);
        assert_eq!(opened.document.blobs()[..before], document.blobs()[..before]);
        let held = opened.document.blobs().len() + opened.document.pending_count();
        assert!(held + 1 >= document.blobs().len(), "flip at {index}");
    }
}

#[test]
fn any_damaged_snapshot_falls_back_to_the_one_before() {
    let (folder, key, mut store, mut document) = store_of(3);
    store.compact(&document).unwrap();
    for index in 0..3 {
        let blob = write(&mut document, &key, &[set("config.later", index)]).unwrap();
        store.append(&blob).unwrap();
    }
    drop(store);
    let path = snapshot_path(folder.path(), 2);
    let content = fs::read(&path).unwrap();
    for index in 0..content.len() {
        let fresh = tempfile::tempdir().unwrap();
        for file in [GENESIS_FILE, "snapshot-1", "log-1", "log-2"] {
            fs::copy(folder.path().join(file), fresh.path().join(file)).unwrap();
        }
        let mut flipped = content.clone();
        flipped[index] ^= 0x80;
        fs::write(snapshot_path(fresh.path(), 2), &flipped).unwrap();
        let opened = DocumentStore::open(fresh.path(), 2).unwrap();
        assert_eq!(opened.document.value(), document.value(), "flip at {index}");
        assert!(matches!(opened.notes[..], [RepairNote::DamagedSnapshot { .. }]));
        let again = DocumentStore::open(fresh.path(), 3).unwrap();
        assert!(again.notes.is_empty());
        assert_eq!(again.document.value(), document.value());
    }
}

#[test]
fn the_genesis_and_the_logs_alone_are_enough() {
    let (folder, _, store, document) = store_of(3);
    drop(store);
    fs::remove_file(snapshot_path(folder.path(), 1)).unwrap();
    let opened = DocumentStore::open(folder.path(), 2).unwrap();
    assert_eq!(opened.document.value(), document.value());
    fs::remove_dir_all(folder.path()).unwrap();
    assert!(matches!(DocumentStore::open(folder.path(), 2), Err(StoreError::Unreadable { .. })));
}

#[test]
fn a_later_builds_snapshot_is_left_alone() {
    let (folder, _, store, _) = store_of(1);
    drop(store);
    let path = snapshot_path(folder.path(), 1);
    let mut content = fs::read(&path).unwrap();
    content[12] = 2;
    let checksum = crc32fast::hash(&content[12..]).to_le_bytes();
    content[8..12].copy_from_slice(&checksum);
    fs::write(&path, &content).unwrap();
    let error = DocumentStore::open(folder.path(), 2).unwrap_err();
    assert!(matches!(error, StoreError::Newer { version: 2, .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), content);
}

#[test]
fn old_generations_go_and_the_last_but_one_stays() {
    let (folder, key, mut store, mut document) = store_of(0);
    for index in 0..4 {
        let blob = write(&mut document, &key, &[set("config.k", index)]).unwrap();
        store.append(&blob).unwrap();
        assert!(!store.compact_if_due(&document).unwrap());
        store.compact(&document).unwrap();
    }
    let names: BTreeSet<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected = ["genesis.json", "log-4", "log-5", "snapshot-4", "snapshot-5"];
    assert_eq!(names, expected.map(str::to_owned).into());
    let opened = DocumentStore::open(folder.path(), 9).unwrap();
    assert_eq!(opened.document.value(), document.value());
}

#[test]
fn a_long_log_is_folded() {
    let (folder, key, mut store, mut document) = store_of(0);
    let mut compactions = 0;
    for index in 0..5 {
        let text = format!("{index}").repeat(300_000);
        let blob = write(&mut document, &key, &[set("config.k", text)]).unwrap();
        store.append(&blob).unwrap();
        compactions += u32::from(store.compact_if_due(&document).unwrap());
    }
    assert_eq!(compactions, 1);
    let opened = DocumentStore::open(folder.path(), 9).unwrap();
    assert_eq!(opened.document.value(), document.value());
}

#[test]
fn a_snapshot_that_cannot_be_written_loses_nothing() {
    let (folder, key, mut store, mut document) = store_of(2);
    // A folder in the snapshot's place makes the rename fail.
    let blocked = snapshot_path(folder.path(), 2);
    fs::create_dir_all(blocked.join("x")).unwrap();
    assert!(store.compact(&document).is_err());
    let blob = write(&mut document, &key, &[set("config.k", "after")]).unwrap();
    store.append(&blob).unwrap();
    fs::remove_dir_all(&blocked).unwrap();
    let opened = DocumentStore::open(folder.path(), 9).unwrap();
    assert_eq!(opened.document.value(), document.value());
    assert!(opened.notes.is_empty());
}

#[test]
fn the_export_is_readable_and_sorted() {
    let (folder, _, _, document) = store_of(2);
    let path = folder.path().join("mutable_config.json");
    export(&document.value(), &path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("{\n  \"config\": {\n    \"first\": 1,\n    \"k0\": 0,"), "{text}");
}

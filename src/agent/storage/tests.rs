use super::*;
use crate::config::document::testing::genesis;
use crate::config::document::testing::key;
use crate::config::document::testing::set;
use crate::config::document::testing::write;

/// Makes the worker do `jobs`, which all wait when it begins; what it answered.
fn work(folder: &std::path::Path, jobs: Vec<Job>) -> Vec<Stored> {
    let founder = key(1);
    let genesis = genesis(&founder);
    let document = Document::new(genesis.clone(), 1);
    let store = DocumentStore::create(&folder.join("document"), &document).unwrap();
    let (outcomes, mut receiver) = mpsc::unbounded_channel();
    let (sender, queue) = channel();
    for job in jobs {
        sender.send(job).unwrap();
    }
    drop(sender);
    let home = Home::new(folder);
    std::fs::create_dir_all(home.agent_folder()).unwrap();
    let waiting = Arc::new(Waiting::default());
    Worker { store, genesis, home, outcomes, waiting }.work(&queue);
    std::iter::from_fn(|| receiver.try_recv().ok()).collect()
}

#[test]
fn what_is_acknowledged_around_a_snapshot_is_there_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let founder = key(1);
    let mut document = Document::new(genesis(&founder), 1);
    // Incompressible enough for a log that is due to be folded.
    let mut number = 1u32;
    let mut long = String::new();
    while long.len() < 900_000 {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        long.push(char::from(b'0' + u8::try_from(number >> 26).unwrap()));
    }
    let before = ["config.a", "config.b", "config.c"]
        .map(|path| write(&mut document, &founder, &[set(path, long.as_str())]).unwrap())
        .to_vec();
    let snapshot = document.blobs().to_vec();
    let after = write(&mut document, &founder, &[set("config.after", 1)]).unwrap();
    let jobs = vec![
        Job::Append(before),
        Job::Compact(snapshot),
        Job::Append(vec![after]),
        Job::Export(document.value()),
    ];
    assert_eq!(work(folder.path(), jobs), [Ok(true), Ok(false)]);
    let opened = DocumentStore::open(&folder.path().join("document"), 2).unwrap();
    assert_eq!(opened.document.value(), document.value());
    assert!(opened.notes.is_empty(), "{:?}", opened.notes);
    assert!(folder.path().join("document/snapshot-2").exists(), "nothing was folded");
    assert!(Home::new(folder.path()).export_file().exists());
}

#[test]
fn appends_that_wait_together_are_answered_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let founder = key(1);
    let mut document = Document::new(genesis(&founder), 1);
    let jobs = (0..=GROUP_MAX * 2)
        .map(|index| write(&mut document, &founder, &[set("config.a", index)]).unwrap())
        .map(|blob| Job::Append(vec![blob]))
        .collect();
    let outcomes = work(folder.path(), jobs);
    assert_eq!(outcomes, vec![Ok(false); GROUP_MAX * 2 + 1]);
    let opened = DocumentStore::open(&folder.path().join("document"), 2).unwrap();
    assert_eq!(opened.document.value(), document.value());
}

#[test]
fn one_export_and_one_snapshot_wait_at_most() {
    let (jobs, queue) = channel();
    let storage = Storage { jobs: Some(jobs), waiting: Arc::default(), thread: None };
    assert!(storage.export(|| Value::Null));
    assert!(!storage.export(|| unreachable!("it is not asked for")));
    storage.compact(Vec::new);
    storage.compact(|| unreachable!("it is not asked for"));
    assert_eq!(queue.try_iter().count(), 2);
}

use super::*;
use crate::agent::api::BootstrapPeer;
use crate::agent::machine_file::Description;

fn request(found: Option<u64>) -> InitRequest {
    let cluster: Name = "default".parse().unwrap();
    InitRequest {
        description: Description {
            name: "box".parse().unwrap(),
            compute_type: "local".to_owned(),
            server_type: "headless".to_owned(),
            labels: [("zone".to_owned(), "a".to_owned())].into(),
            listen: None,
            ssh_port: None,
            ssh_user: None,
        },
        force: false,
        challenge: None,
        found: found.map(|nonce| FoundRequest { cluster, nonce, recovery: None }),
    }
}

fn home() -> (tempfile::TempDir, Home) {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path());
    (folder, home)
}

fn bootstrap(genesis: Genesis) -> Bootstrap {
    let peers = vec![BootstrapPeer { id: genesis.founder, endpoints: Vec::new() }];
    Bootstrap { genesis, name: "given".parse().unwrap(), peers }
}

#[test]
fn twice_gives_the_same_answer_also_while_the_agent_runs() {
    let (_folder, home) = home();
    let first = initialise(&home, &request(Some(1))).unwrap();
    assert_eq!(initialise(&home, &request(Some(1))).unwrap(), first);
    let lock = StateLock::acquire(&home.lock_file()).unwrap();
    assert_eq!(initialise(&home, &request(Some(1))).unwrap(), first);
    assert_eq!(initialise(&home, &request(None)).unwrap(), first);
    assert!(matches!(initialise(&home, &request(Some(2))), Err(HomeError::OtherCluster { .. })));
    let told = bootstrap(first.genesis.clone().unwrap());
    assert_eq!(adopt(&home, &told, false).unwrap(), first);
    let other = Genesis { nonce: 9, ..told.genesis.clone() };
    assert!(matches!(adopt(&home, &bootstrap(other), true), Err(HomeError::Lock(_))));
    drop(lock);
}

#[test]
fn a_home_that_is_only_just_being_made_is_not_answered_for() {
    let (_folder, home) = home();
    initialise(&home, &request(None)).unwrap();
    let _lock = StateLock::acquire(&home.lock_file()).unwrap();
    assert!(matches!(initialise(&home, &request(None)), Err(HomeError::Lock(_))));
}

#[test]
fn one_that_was_put_out_and_is_taken_back_forgets_that_it_was_put_out() {
    let (_folder, home) = home();
    let reply = initialise(&home, &request(Some(1))).unwrap();
    let (_, mut file) = load(&home).unwrap();
    file.evicted = true;
    save_machine_file(&home, &file).unwrap();
    adopt(&home, &bootstrap(reply.genesis.unwrap()), false).unwrap();
    let (_, file) = load(&home).unwrap();
    assert!(!file.evicted);
    assert_eq!(file.description.name.as_str(), "given");
    assert!(!DocumentStore::exists(&home.document_folder()), "the old document still says it");
}

#[test]
fn another_cluster_is_entered_only_by_force() {
    let (_folder, home) = home();
    let reply = initialise(&home, &request(Some(1))).unwrap();
    let other = Genesis { nonce: 2, ..reply.genesis.unwrap() };
    let told = bootstrap(other.clone());
    assert!(matches!(adopt(&home, &told, false), Err(HomeError::OtherCluster { .. })));
    assert_eq!(adopt(&home, &told, true).unwrap().genesis, Some(other));
}

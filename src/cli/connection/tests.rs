//! Finding an agent, against small servers in folders of the test's own.

use std::path::Path;

use axum::Json;
use axum::Router;
use axum::routing::get;
use clap::Parser;
use serde_json::Value;
use serde_json::json;

use super::*;
use crate::cli::arguments::Arguments;
use crate::model::cluster::Genesis;
use crate::model::identity::testing::key;

fn genesis(name: &str) -> Genesis {
    Genesis { founder: key(0).node_id(), nonce: 1, name: name.parse().unwrap() }
}

fn status(genesis: &Genesis) -> Value {
    json!({
        "node": genesis.founder, "name": "web-1", "cluster": genesis.name,
        "cluster_id": genesis.cluster_id(), "genesis": genesis, "build": "0.1.0", "protocol": 1, "pid": 1,
        "started_at": "2026-11-21T07:30:00Z", "endpoints": [], "document_updates": 0,
        "links": [], "problems": [],
    })
}

fn serve(socket: &Path, genesis: &Genesis) {
    serve_with(socket, genesis, json!({}));
}

fn serve_with(socket: &Path, genesis: &Genesis, document: Value) -> tokio::task::JoinHandle<()> {
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    let status = status(genesis);
    let router = Router::new()
        .route("/v1/status", get(|| async { Json(status) }))
        .route("/v1/document", get(|| async { Json(document) }));
    tokio::spawn(async move { drop(axum::serve(listener, router).await) })
}

fn invocation(home: &Path, options: &[&str]) -> Invocation {
    let home = home.display().to_string();
    let words = ["raptor", "--home", &home].into_iter().chain(options.iter().copied());
    Invocation::new(Arguments::parse_from(words.chain(["members"])).global).unwrap()
}

fn unix(path: &Path) -> Endpoint {
    Endpoint::Unix(path.to_owned())
}

#[tokio::test]
async fn without_a_cluster_spawn_is_advised() {
    let home = tempfile::tempdir().unwrap();
    let error = open(&invocation(home.path(), &[])).await.unwrap_err().render(false);
    assert!(error.starts_with("error: there is no cluster yet\n  hint: `raptor spawn`"), "{error}");
    let error = open(&invocation(home.path(), &["-c", "lab"])).await.unwrap_err().render(false);
    assert!(error.starts_with("error: no cluster named lab is known here\n"), "{error}");
    assert!(open_if_any(&invocation(home.path(), &[])).await.unwrap().is_none());
}

#[tokio::test]
async fn the_homes_own_agent_answers_unless_another_cluster_is_meant() {
    let home = tempfile::tempdir().unwrap();
    serve(&home.path().join("agent/agent.sock"), &genesis("default"));
    let connection = open(&invocation(home.path(), &[])).await.unwrap();
    assert_eq!(connection.status.name.as_str(), "web-1");
    assert!(!Contexts::path(home.path()).exists(), "a plain member keeps no list");

    let error = open(&invocation(home.path(), &["-c", "lab"])).await.unwrap_err().render(false);
    assert!(error.contains("it is of the cluster default, and lab is meant"), "{error}");
}

#[tokio::test]
async fn dead_members_are_passed_over_and_the_one_that_answers_comes_first() {
    let home = tempfile::tempdir().unwrap();
    let (dead, alive) = (home.path().join("dead.sock"), home.path().join("alive.sock"));
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let genesis = genesis("lab");
    serve(&alive, &genesis);
    let mut contexts = Contexts::default();
    contexts.remember(&genesis.name, Some(&genesis), &unix(&alive));
    contexts.remember(&genesis.name, None, &unix(&dead));
    contexts.save(home.path()).unwrap();

    let connection = open(&invocation(home.path(), &[])).await.unwrap();
    assert_eq!(connection.endpoint, unix(&alive));
    let contexts = Contexts::load(home.path()).unwrap();
    assert_eq!(contexts.contexts[&genesis.name].connections, [unix(&alive), unix(&dead)]);
}

#[tokio::test]
async fn the_ways_to_machines_that_others_made_are_learnt_and_outlive_those_that_told_them() {
    let home = tempfile::tempdir().unwrap();
    let (known, other) = (home.path().join("known.sock"), home.path().join("b"));
    let genesis = genesis("lab");
    let record = |node: u64, home: &Path| {
        json!({"name": "m", "compute_type": "local", "server_type": "bare",
            "created_at": "2026-11-21T07:30:00Z", "node": key(node).node_id(),
            "access": {"kind": "local", "home": home}})
    };
    // One is a member, and one is only on its way.
    let document = json!({
        "members": {key(1).node_id().to_string(): {"name": "m"}},
        "machines": {"aaaaaaaaaaaaaaaa": record(1, &other),
            "bbbbbbbbbbbbbbbb": record(2, Path::new("/nowhere"))},
    });
    let told = serve_with(&known, &genesis, document);
    let mut contexts = Contexts::default();
    contexts.remember(&genesis.name, None, &unix(&known));
    contexts.save(home.path()).unwrap();
    open(&invocation(home.path(), &[])).await.unwrap();
    let learnt = Contexts::load(home.path()).unwrap().contexts[&genesis.name].clone();
    assert_eq!(learnt.ways, [unix(&other.join("agent/agent.sock"))]);
    assert_eq!(learnt.genesis, Some(genesis.clone()));

    told.abort();
    std::fs::remove_file(&known).unwrap();
    serve(&other.join("agent/agent.sock"), &genesis);
    let connection = open(&invocation(home.path(), &[])).await.unwrap();
    assert_eq!(connection.endpoint, unix(&other.join("agent/agent.sock")));
}

#[tokio::test]
async fn when_all_are_dead_each_is_named_with_its_cause() {
    let home = tempfile::tempdir().unwrap();
    let (gone, other) = (home.path().join("gone.sock"), home.path().join("other.sock"));
    let mut twin = genesis("lab");
    twin.nonce = 2;
    serve(&other, &twin);
    let mut contexts = Contexts::default();
    let genesis = genesis("lab");
    contexts.remember(&genesis.name, Some(&genesis), &unix(&gone));
    contexts.remember(&genesis.name, None, &unix(&other));
    contexts.save(home.path()).unwrap();

    let error = open(&invocation(home.path(), &[])).await.unwrap_err().render(false);
    assert!(error.starts_with("error: no member of the cluster answers\n"), "{error}");
    assert!(error.contains("other.sock: it is of another cluster that is also named lab\n"));
    assert!(error.contains("gone.sock: ") && error.contains("No such file"), "{error}");
}

#[tokio::test]
async fn a_named_agent_is_the_only_one_asked_and_is_not_kept() {
    let home = tempfile::tempdir().unwrap();
    serve(&home.path().join("agent/agent.sock"), &genesis("default"));
    let named = home.path().join("named.sock");
    serve(&named, &genesis("lab"));
    let connect = format!("unix:{}", named.display());
    let invocation = invocation(home.path(), &["--connect", &connect]);
    assert_eq!(open(&invocation).await.unwrap().status.cluster.as_str(), "lab");
    assert!(!Contexts::path(home.path()).exists());
}

//! `raptor secret`: read by those who are meant to, and by nobody else.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tokio::runtime::Runtime;

use super::text;
use crate::cloud::weather::Weather;
use crate::cloud::{Dialect, Stub, TOKEN};
use crate::support::sandbox::Sandbox;
use crate::support::wait::wait_until;

const SETTLED: Duration = Duration::from_secs(30);

/// `secret ls`, the row of `name`.
fn row(sandbox: &Sandbox, name: &str) -> Value {
    let rows = sandbox.raptor(["secret", "ls", "-o", "json"]).success().stdout_json();
    let found = rows.as_array().unwrap().iter().find(|row| row["name"] == name).cloned();
    found.unwrap_or_else(|| panic!("no {name} in {rows}"))
}

fn wait_for_row(sandbox: &Sandbox, name: &str, key: &str, expected: &Value) {
    wait_until(SETTLED, &format!("{key} of {name} is {expected}"), || {
        let row = row(sandbox, name);
        if row[key] == *expected { Ok(()) } else { Err(row.to_string()) }
    });
}

/// Files of the home that hold `needle`.
fn files_with(sandbox: &Sandbox, needle: &str) -> Vec<String> {
    let holds = |file: &Path| {
        let content = fs::read(sandbox.home().join(file)).unwrap_or_default();
        content.windows(needle.len()).any(|window| window == needle.as_bytes())
    };
    let files = sandbox.files();
    files.iter().filter(|file| holds(file)).map(|file| file.display().to_string()).collect()
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn holders_follow_the_members_and_what_the_gone_know_is_listed() {
    let sandbox = Sandbox::new();
    sandbox.spawn(3);
    let secret = "correct horse battery staple";
    sandbox.raptor(["secret", "set", "token", "--note", "for tests"]).stdin(secret).success();
    assert_eq!(row(&sandbox, "token")["holders"], json!(["local-1", "local-2", "local-3"]));
    assert_eq!(row(&sandbox, "token")["recoverable"], true);
    let labelled = ["spawn", "--label", "zone=home"];
    sandbox.raptor(labelled).success();
    wait_for_row(
        &sandbox,
        "token",
        "holders",
        &json!(["local-1", "local-2", "local-3", "local-4"]),
    );
    sandbox.raptor(["secret", "set", "narrow", "--select", "zone=home"]).stdin("x1").success();
    wait_for_row(&sandbox, "narrow", "holders", &json!(["local-4"]));
    sandbox.raptor(["secret", "ls"]).success().stdout_contains("zone=home");

    sandbox.raptor(["evict", "local-3", "--yes"]).success();
    wait_for_row(&sandbox, "token", "holders", &json!(["local-1", "local-2", "local-4"]));
    let told = row(&sandbox, "token")["rotate"].clone();
    assert_eq!(
        (&told[0]["node"], &told[0]["reason"]),
        (&json!("local-3"), &json!("it is no member any more"),)
    );
    sandbox.raptor(["secret", "ls"]).success().stdout_contains("known to local-3");
    let fresh = "a quite different horse";
    sandbox.raptor(["secret", "rotate", "token"]).stdin(format!("{fresh}\n")).success();
    let rotated = row(&sandbox, "token");
    assert_eq!((&rotated["rotate"], &rotated["note"]), (&json!([]), &json!("for tests")));

    // Nowhere in the clear: not on any disk, nor in what is shown.
    for needle in [secret, fresh, "x1x1"] {
        assert_eq!(files_with(&sandbox, needle), Vec::<String>::new());
    }
    for words in [
        &["config", "show"][..],
        &["config", "export"],
        &["config", "log"],
        &["status"],
        &["secret", "ls", "-o", "json"],
    ] {
        let run = sandbox.raptor(words).success();
        assert!(!run.stdout.contains(secret) && !run.stdout.contains(fresh), "{run:?}");
    }

    sandbox.raptor(["secret", "rm", "tokne"]).run().status(1).stderr_contains("\"token\"?");
    sandbox.raptor(["secret", "rm", "token", "--dry-run"]).success();
    sandbox.raptor(["secret", "rm", "token"]).success();
    let rows = sandbox.raptor(["secret", "ls", "-o", "json"]).success().stdout_json();
    assert!(rows.as_array().unwrap().iter().all(|row| row["name"] != "token"), "{rows}");
    let none = sandbox.raptor(["secret", "rotate", "token"]).stdin("x").run().status(1);
    none.stderr_contains("error: there is no secret \"token\"\n");
    let empty = sandbox.raptor(["secret", "set", "empty"]).run().status(1);
    empty.stderr_contains("error: nothing was entered\n");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_member_drives_a_cloud_with_a_token_that_only_the_document_has() {
    let runtime = Runtime::new().unwrap();
    let stub = runtime.block_on(Stub::start(Dialect::Hetzner, Weather::fair()));
    let sandbox = Sandbox::new();
    sandbox.spawn(2);
    let settings = json!({
        "driver": "hetzner", "api": stub.api(), "token_secret": "cloud", "region": "eu-1",
        "size": "small", "image": "7",
    });
    let set = ["config", "set", "compute_types.rented", &settings.to_string()];
    sandbox.raptor(set).success();
    let check = |sandbox: &Sandbox, home: &Path| {
        sandbox.raptor(["--home", home.to_str().unwrap(), "compute", "check", "rented"]).run()
    };
    let home = sandbox.machine("local-2");
    let none = check(&sandbox, &home).status(1);
    none.stderr_contains("the secret \"cloud\" cannot be used: there is no secret of that name");
    // For the other one alone.
    let set = ["secret", "set", "cloud", "--select", "local-1"];
    sandbox.raptor(set).stdin(format!("{TOKEN}\n")).success();
    wait_until(SETTLED, "the secret at local-2", || {
        let run = check(&sandbox, &home);
        let is_refused = run.stderr.contains("no key here may open it");
        if is_refused { Ok(()) } else { Err(format!("{run:?}")) }
    });
    check(&sandbox, &sandbox.machine("local-1")).success().stdout_contains("rented: ");
    // The operator's home has the recovery key.
    sandbox.raptor(["compute", "check", "rented"]).success();
    // The agent itself: nothing in its environment, nothing on its disk.
    assert_eq!(files_with(&sandbox, TOKEN), Vec::<String>::new());
    sandbox.raptor(["secret", "set", "cloud"]).stdin(TOKEN).success();
    let rule = ["rule", "add", "r", "--min", "1", "--max", "9", "--compute-type", "rented"];
    sandbox.raptor(rule).success();
    let rented = |sandbox: &Sandbox| {
        sandbox.raptor(["scale", "3", "--rule", "r"]).success();
        wait_until(SETTLED, "a machine is asked for at the cloud", || {
            let plan = sandbox.raptor(["plan"]).run();
            if stub.rented("raptor-") > 0 { Ok(()) } else { Err(format!("{plan:?}")) }
        });
    };
    rented(&sandbox);
    sandbox.raptor(["config", "set", "fleet.paused", "true"]).success();
    let violations = stub.world().violations.clone();
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn age_itself_opens_a_secret_with_the_recovery_key() {
    let sandbox = Sandbox::new();
    let founded = sandbox.raptor(["spawn"]).success();
    let key = sandbox.raptor(["secret", "recovery"]).success().stdout.trim().to_owned();
    assert!(founded.stderr.contains(&key), "{founded:?}");
    let value = "a longer value\nof two lines ".repeat(2000);
    sandbox.raptor(["secret", "set", "token"]).stdin(value.clone()).success();
    let document = wait_until(SETTLED, "the export", || {
        let path = sandbox.machine("local-1").join("agent/mutable_config.json");
        let document: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        if document["secrets"]["token"].is_object() { Ok(document) } else { Err("not yet") }
    });
    let values = document["secrets"]["token"]["values"].as_object().unwrap();
    let value_of = values.values().next().unwrap();
    let decrypt = |sealed: &Value, identity: &Path| {
        let file = data_encoding::BASE64.decode(text(sealed).as_bytes()).unwrap();
        let identity = identity.to_str().unwrap();
        sandbox.program("age").args(["--decrypt", "-i", identity]).stdin(file).success().stdout
    };
    let sealed_key = value_of["recovery"].as_object().unwrap().values().next().unwrap();
    let value_key = sandbox.path().join("value.key");
    fs::write(&value_key, decrypt(sealed_key, Path::new(&key))).unwrap();
    assert_eq!(decrypt(&value_of["sealed"], &value_key), value);

    // A new key takes the place of the old one, also in what is sealed already.
    let before = row(&sandbox, "token")["recoverable"].clone();
    assert_eq!(before, true);
    sandbox.raptor(["secret", "recovery", "--new"]).success();
    let told = sandbox.raptor(["secret", "recovery", "-o", "json"]).success().stdout_json();
    wait_until(SETTLED, "sealed to the new key", || {
        let path = sandbox.machine("local-1").join("agent/mutable_config.json");
        let document: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let values = document["secrets"]["token"]["values"].as_object().unwrap().clone();
        let keys = values.values().next().unwrap()["recovery"].clone();
        let only = json!([text(&told["public"])]);
        let found: Vec<_> = keys.as_object().unwrap().keys().cloned().collect();
        if json!(found) == only { Ok(()) } else { Err(keys.to_string()) }
    });
}

//! Tickets, and homes that enter a cluster with one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use super::text;
use crate::support::run::Invocation;
use crate::support::sandbox::{CONVERGENCE_LIMIT, Sandbox};
use crate::support::wait::wait_until;

/// A second home on the same computer, whose agent takes any free port.
fn newcomer(sandbox: &Sandbox, name: &str) -> PathBuf {
    let home = sandbox.path().join(name);
    fs::create_dir(&home).unwrap();
    fs::write(home.join("mutable_config.json"), "{\"mesh\": {\"listen\": \"127.0.0.1:0\"}}")
        .unwrap();
    home
}

fn ticket(sandbox: &Sandbox, options: &[&str]) -> Value {
    sandbox.raptor(["ticket", "create", "-o", "json"]).args(options).success().stdout_json()
}

/// `join -`: the ticket stands on no command line.
fn join(sandbox: &Sandbox, home: &Path, ticket: &str) -> Invocation {
    sandbox.raptor(["--home", home.to_str().unwrap(), "join", "-"]).stdin(format!("{ticket}\n"))
}

fn ids(sandbox: &Sandbox) -> Vec<String> {
    let list = sandbox.raptor(["ticket", "ls", "-o", "json"]).success().stdout_json();
    list.as_array().unwrap().iter().map(|ticket| text(&ticket["id"])).collect()
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_ticket_lets_one_machine_in() {
    let sandbox = Sandbox::new();
    sandbox.spawn(2);
    let made = ticket(&sandbox, &[]);
    let secret = text(&made["ticket"]);
    assert_eq!(ids(&sandbox), [text(&made["id"])]);
    let table = sandbox.raptor(["ticket", "ls"]).success();
    assert!(!table.stdout.contains(&secret), "the secret is told only once");

    let home = newcomer(&sandbox, "a");
    let run = join(&sandbox, &home, &secret).success();
    assert_eq!(run.stdout.matches(" alive ").count(), 3, "{run:?}");
    let members = sandbox.wait_for_alive(3);
    let adopted: Vec<_> =
        members.iter().filter(|member| member["compute_type"] == "adopted").collect();
    assert_eq!(adopted.len(), 1, "{members:?}");
    let name = text(&adopted[0]["name"]);
    sandbox.raptor(["exec", "--on", &name, "--", "echo", "in"]).success().stdout_contains("in\n");

    // Used up: gone from the list, and another machine is told so.
    assert!(ids(&sandbox).is_empty());
    let late = join(&sandbox, &newcomer(&sandbox, "b"), &secret).run().status(1);
    late.stderr_contains("error: cluster default refused: the ticket is used up\n  hint: a member makes another ticket: `raptor ticket create`\n");

    // Once more on the same machine: it is in already, and is not doubled.
    let again = join(&sandbox, &home, &secret).success();
    again.stderr_contains("this machine is a member of the cluster default already");
    assert_eq!(sandbox.wait_for_alive(3).len(), 3);
    // Asked for anew, with a port that its own agent holds.
    let port = members.iter().find(|member| text(&member["name"]) == name).unwrap();
    let listen = text(&port["endpoints"][0]);
    fs::write(home.join("mutable_config.json"), json!({"mesh": {"listen": listen}}).to_string())
        .unwrap();
    let fresh = text(&ticket(&sandbox, &[])["ticket"]);
    join(&sandbox, &home, &fresh).success().stderr_contains("default already");
    // Where its agent does not run, nobody says that there is no cluster.
    let at_home = ["--home", home.to_str().unwrap()];
    sandbox.raptor(at_home).args(["agent", "stop"]).success();
    let asleep = "this machine is a member of the cluster default, and its agent does not run";
    for words in [&["members"][..], &["spawn", "--count", "1"]] {
        sandbox.raptor(at_home).args(words).run().status(1).stderr_contains(asleep);
    }
    join(&sandbox, &home, &fresh).success();
    assert_eq!(sandbox.wait_for_alive(3).len(), 3);
    // It leaves as it came: the machine stays, its membership goes.
    sandbox.raptor(["destroy", &name, "--yes"]).success();
    sandbox.wait_for_alive(2);
    wait_until(CONVERGENCE_LIMIT, "the end of its agent", || {
        let left = sandbox.processes_with(&[&format!("{}/a ", sandbox.path().display())]);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    assert!(home.join("agent/identity.key").exists());
    sandbox.raptor(["--home", home.to_str().unwrap(), "clean", "--yes"]).success();
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_ticket_may_let_several_in_until_it_is_revoked() {
    let sandbox = Sandbox::new();
    sandbox.spawn(1);
    let made = ticket(&sandbox, &["--uses", "3", "--ttl", "1h"]);
    let (id, secret) = (text(&made["id"]), text(&made["ticket"]));
    for (count, name) in [(2, "a"), (3, "b")] {
        join(&sandbox, &newcomer(&sandbox, name), &secret).success();
        sandbox.wait_for_alive(count);
    }
    assert_eq!(ids(&sandbox), std::slice::from_ref(&id));
    sandbox.raptor(["ticket", "revoke", &id]).success();
    assert!(ids(&sandbox).is_empty());
    join(&sandbox, &newcomer(&sandbox, "c"), &secret)
        .run()
        .status(1)
        .stderr_contains("error: cluster default refused: the ticket was revoked\n");
    for (word, why) in
        [(id.as_str(), "the ticket was revoked"), ("nope", "there is no ticket \"nope\"")]
    {
        let run = sandbox.raptor(["ticket", "revoke", word]).run().status(1);
        assert_eq!(
            run.stderr,
            format!("error: {why}\n  hint: `raptor ticket ls` lists those that hold\n")
        );
    }
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn tickets_that_do_not_hold_are_refused_at_once() {
    let sandbox = Sandbox::new();
    sandbox.spawn(1);
    let home = newcomer(&sandbox, "a");
    let hint = "\n  hint: a member makes one: `raptor ticket create`\n";
    let refused = |ticket: &str, why: &str| {
        let run = join(&sandbox, &home, ticket).run().status(1);
        assert_eq!(run.stderr, format!("error: {why}{hint}"));
        assert!(run.took < Duration::from_secs(5), "{run:?}");
    };
    let whole = text(&ticket(&sandbox, &[])["ticket"]);
    let mut altered = whole.clone().into_bytes();
    let middle = altered.len() - 40;
    altered[middle] = if altered[middle] == b'a' { b'b' } else { b'a' };
    let altered = String::from_utf8(altered).unwrap();
    refused(&altered, "this ticket was altered: its signature does not match");
    let torn =
        "this is not a whole ticket: it should start with \"raptor1-\" and be copied in full";
    refused("raptor1-abc", torn);
    refused(&whole[..whole.len() - 1], torn);

    let short = ticket(&sandbox, &["--ttl", "1ms"]);
    let expired = format!("this ticket expired at {}", text(&short["expires_at"]));
    refused(&text(&short["ticket"]), &expired);
    assert_eq!(ids(&sandbox).len(), 1, "only the first holds");
    let run = join(&sandbox, &home, "hello").run().status(2);
    run.stderr_contains("error: what was read is no ticket\n  hint: a member makes one with `raptor ticket create`\n");
    assert!(!home.join("agent").exists(), "nothing was made of it");

    // A ticket of a cluster that is gone: nobody answers.
    sandbox.raptor(["destroy", "--all", "--yes"]).success();
    join(&sandbox, &home, &whole)
        .run()
        .status(1)
        .stderr_contains("error: no answer from ")
        .stderr_contains("hint: is that member up, and does UDP reach it? any other member makes a ticket, too\n");
}

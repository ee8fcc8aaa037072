//! A pair whose network is cut: each member in a network namespace of its own.

mod chaos;
mod clear;
mod external;
mod interface;
mod looking;
mod names;
mod ports;
mod routers;
mod shapes;

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::namespace::Pair;
use crate::support::run::Invocation;
use crate::support::sandbox::{CONVERGENCE_LIMIT, Sandbox};
use crate::support::wait::wait_until;

/// One of the two members, asked through its own agent.
struct Side<'a> {
    sandbox: &'a Sandbox,
    home: PathBuf,
}

impl Side<'_> {
    fn ask(&self, words: &[&str]) -> Invocation {
        self.sandbox.raptor(["--home", self.home.to_str().unwrap()]).args(words)
    }

    fn set(&self, path: &str, value: &str) {
        self.ask(&["config", "set", path, value]).success();
    }

    fn document(&self) -> Value {
        self.ask(&["config", "show", "--layer", "document"]).success().stdout_json()
    }

    /// Waits until this side has `expected` (`null`: nothing) at `server_types.NAME.modules`.
    fn wait_for(&self, name: &str, expected: &Value) {
        wait_until(CONVERGENCE_LIMIT, &format!("{name} = {expected}"), || {
            let document = self.document();
            let found = &document["server_types"][name]["modules"];
            if found == expected { Ok(()) } else { Err(document.to_string()) }
        });
    }

    /// Waits until this side sees `count` members of this status.
    fn wait_for_members(&self, count: usize, status: &str) {
        wait_until(CONVERGENCE_LIMIT, &format!("{count} {status}"), || {
            let run = self.ask(&["members"]).run();
            let found = run.stdout.matches(&format!(" {status} ")).count();
            if found == count { Ok(()) } else { Err(format!("{run:?}")) }
        });
    }
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_pair_that_is_cut_writes_on_both_sides_and_agrees() {
    let sandbox = Sandbox::new();
    let pair = Pair::new(&sandbox);
    let raptor = env!("CARGO_BIN_EXE_raptor");
    pair.left.enter(&sandbox, raptor).args(["spawn", "--name", "left"]).success();
    let ticket = sandbox.raptor(["ticket", "create"]).success().stdout;
    let home = sandbox.path().join("right");
    fs::create_dir(&home).unwrap();
    let join = pair.right.enter(&sandbox, raptor).arg("--home").arg(&home).args(["join", "-"]);
    join.stdin(ticket).success();

    let left = Side { sandbox: &sandbox, home: sandbox.machine("left") };
    let right = Side { sandbox: &sandbox, home };
    let sides = [&left, &right];
    for side in sides {
        side.wait_for_members(2, "alive");
    }
    left.set("server_types.deleted.modules", "[]");
    right.wait_for("deleted", &json!([]));

    pair.cut(&sandbox);
    left.ask(&["config", "unset", "server_types.deleted"]).success();
    left.set("server_types.left.modules", "[]");
    right.set("server_types.right.modules", "[]");
    left.set("server_types.both.modules", "[\"headless\"]");
    right.set("server_types.both.modules", "[\"headless\", \"headless\"]");
    for side in sides {
        side.wait_for_members(1, "failed");
    }
    left.wait_for("right", &Value::Null);
    right.wait_for("left", &Value::Null);
    right.wait_for("deleted", &json!([]));

    pair.mend(&sandbox);
    for side in sides {
        side.wait_for_members(2, "alive");
        side.wait_for("left", &json!([]));
        side.wait_for("right", &json!([]));
        side.wait_for("deleted", &Value::Null);
    }
    wait_until(CONVERGENCE_LIMIT, "one document on both sides", || {
        let (one, other) = (left.document(), right.document());
        if one == other { Ok(()) } else { Err(format!("{one} and {other}")) }
    });
    assert!(left.document()["server_types"]["both"]["modules"].is_array());
}

//! Clusters on networks of a given shape, on which most members cannot reach each other directly.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::e2e::text;
use crate::support::namespace::Shape;
use crate::support::run::Invocation;
use crate::support::sandbox::{CONVERGENCE_LIMIT, Sandbox};
use crate::support::wait::wait_until;

/// The longest a program on a member behind a dead link may take to answer on a busy computer. How
/// long routes take is measured without a clock, in the simulation of `mesh`.
const DETOUR_LIMIT: Duration = Duration::from_secs(15);

/// Members `m0`, `m1`, ... in the namespaces of a shape.
struct Cluster<'a> {
    sandbox: &'a Sandbox,
    shape: Shape,
    homes: Vec<PathBuf>,
}

impl<'a> Cluster<'a> {
    /// Each member joins through the one it has a cable to, the first such pair that names it.
    fn new(sandbox: &'a Sandbox, count: usize, pairs: &[(usize, usize)]) -> Self {
        Self::with(sandbox, count, pairs, &[])
    }

    /// The same, some of them with a configuration of their own.
    fn with(
        sandbox: &'a Sandbox,
        count: usize,
        pairs: &[(usize, usize)],
        own: &[(usize, Value)],
    ) -> Self {
        let shape = Shape::new(sandbox, count, pairs);
        let raptor = env!("CARGO_BIN_EXE_raptor");
        shape.space(0).enter(sandbox, raptor).args(["spawn", "--name", "m0"]).success();
        let homes = vec![sandbox.machine("m0")];
        let mut cluster = Self { sandbox, shape, homes };
        for index in 1..count {
            let door = pairs.iter().find(|pair| pair.1 == index).unwrap().0;
            let ticket = cluster.ask(door, &["ticket", "create"]).success().stdout;
            let home = sandbox.path().join(format!("m{index}"));
            std::fs::create_dir(&home).unwrap();
            for (_, config) in own.iter().filter(|(which, _)| *which == index) {
                let file = home.join("mutable_config.json");
                std::fs::write(file, json!({ "mesh": config }).to_string()).unwrap();
            }
            // In a namespace of names as well, so that members have names of their own.
            let named = "echo \"$0\" > /proc/sys/kernel/hostname && exec \"$@\"";
            let enter = cluster.shape.space(index).enter(sandbox, "unshare");
            let enter = enter.args(["-u", "sh", "-c", named, &format!("m{index}"), raptor]);
            enter.arg("--home").arg(&home).args(["join", "-"]).stdin(ticket).success();
            cluster.homes.push(home);
        }
        cluster.wait_for_all();
        cluster
    }

    /// `raptor` as a user of member `index` runs it.
    fn ask(&self, index: usize, words: &[&str]) -> Invocation {
        self.sandbox.raptor(["--home", self.homes[index].to_str().unwrap()]).args(words)
    }

    /// Members as member `index` sees them.
    fn members(&self, index: usize) -> Vec<Value> {
        let run = self.ask(index, &["-o", "json", "members"]).success();
        run.stdout_json().as_array().cloned().unwrap_or_default()
    }

    fn wait_for_all(&self) {
        for index in 0..self.homes.len() {
            self.wait_for_status(index, &|_| "alive");
        }
    }

    /// Waits until member `index` sees every other one with this status.
    fn wait_for_status(&self, index: usize, expected: &dyn Fn(usize) -> &'static str) {
        wait_until(CONVERGENCE_LIMIT, &format!("m{index} sees who lives"), || {
            let members = self.members(index);
            let is_so = (0..self.homes.len()).all(|other| {
                let name = format!("m{other}");
                members.iter().any(|row| row["name"] == name && row["status"] == expected(other))
            });
            if is_so { Ok(()) } else { Err(format!("{members:?}")) }
        });
    }

    /// Runs a program on `to` through the agent of `from`. Returns what it printed and how long it took.
    fn run_on(&self, from: usize, to: usize) -> Result<Duration, String> {
        let begun = Instant::now();
        let (on, hostname) = (format!("name=m{to}"), "/proc/sys/kernel/hostname");
        let run = self.ask(from, &["exec", "--timeout", "5s", "--on", &on, "--", "cat", hostname]);
        let run = run.run();
        // The first member has the name of this computer.
        let expected = if to == 0 { "m0: ".to_owned() } else { format!("m{to}: m{to}\n") };
        let ran = run.stdout.contains(&expected);
        if ran { Ok(begun.elapsed()) } else { Err(format!("{run:?}")) }
    }

    /// Sets a value through one member and waits until another has it.
    fn write_through(&self, from: usize, to: usize, name: &str) {
        let path = format!("server_types.{name}.modules");
        self.ask(from, &["config", "set", &path, "[]"]).success();
        self.wait_for_value(to, name);
    }

    fn wait_for_value(&self, index: usize, name: &str) {
        wait_until(CONVERGENCE_LIMIT, &format!("{name} on m{index}"), || {
            let run = self.ask(index, &["config", "show", "--layer", "document"]).success();
            let found = run.stdout_json()["server_types"][name]["modules"].clone();
            if found == json!([]) { Ok(()) } else { Err(found.to_string()) }
        });
    }

    /// The neighbour through which `from` reaches `to`, once it does.
    fn via(&self, from: usize, to: usize) -> String {
        let name = format!("m{to}");
        wait_until(CONVERGENCE_LIMIT, &format!("a way from m{from} to {name}"), || {
            let members = self.members(from);
            let row = members.iter().find(|row| row["name"] == name && !row["via"].is_null());
            row.map(|row| text(&row["via"])).ok_or(format!("{members:?}"))
        })
    }

    fn swallow_both_ways(&self, one: usize, other: usize) {
        self.shape.swallow(self.sandbox, one, other);
        self.shape.swallow(self.sandbox, other, one);
    }
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_chain_of_five_is_one_cluster_and_heals_after_a_partition() {
    let sandbox = Sandbox::new();
    let cluster = Cluster::new(&sandbox, 5, &[(0, 1), (1, 2), (2, 3), (3, 4)]);
    assert_eq!(cluster.via(0, 4), "m1");
    assert_eq!(cluster.via(4, 0), "m3");
    cluster.run_on(0, 4).unwrap();
    cluster.run_on(4, 0).unwrap();
    cluster.write_through(0, 4, "there");
    cluster.write_through(4, 0, "back");

    cluster.swallow_both_ways(1, 2);
    cluster.wait_for_status(0, &|other| if other < 2 { "alive" } else { "failed" });
    cluster.wait_for_status(4, &|other| if other < 2 { "failed" } else { "alive" });
    cluster.write_through(0, 1, "left");
    cluster.write_through(4, 2, "right");
    cluster.run_on(2, 4).unwrap();

    cluster.shape.restore(&sandbox, 1, 2);
    cluster.shape.restore(&sandbox, 2, 1);
    cluster.wait_for_all();
    for index in 0..5 {
        cluster.wait_for_value(index, "left");
        cluster.wait_for_value(index, "right");
    }
    cluster.run_on(0, 4).unwrap();
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn leaves_of_a_tree_reach_each_other() {
    let sandbox = Sandbox::new();
    let cluster = Cluster::new(&sandbox, 6, &[(0, 1), (0, 2), (1, 3), (1, 4), (2, 5)]);
    assert_eq!(cluster.via(3, 5), "m1");
    for (from, to) in [(3, 5), (5, 4), (4, 3)] {
        cluster.run_on(from, to).unwrap();
    }
    cluster.write_through(3, 5, "across");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn pinned_members_keep_to_their_links_and_are_reached_through_others() {
    let sandbox = Sandbox::new();
    let cables = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)];
    let own = [(2, json!({"reach": "tree", "parent": "m1"})), (3, json!({"reach": "linked"}))];
    // All have cables to all; the tree member joins through one that is not its parent.
    let cluster = Cluster::with(&sandbox, 4, &cables, &own);
    let mesh = |index: usize| cluster.ask(index, &["-o", "json", "mesh"]).success().stdout_json();
    let links = |index: usize| {
        let view = mesh(index);
        let links = view["links"].as_array().unwrap().iter();
        links.map(|link| text(&link["node"])).collect::<Vec<_>>()
    };
    for (index, expected) in [(2, vec!["m1"]), (3, vec!["m0", "m1"]), (0, vec!["m1", "m3"])] {
        wait_until(CONVERGENCE_LIMIT, &format!("the links of m{index}"), || {
            let found = links(index);
            if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
        });
    }
    assert_eq!(cluster.via(0, 2), "m1");
    assert!(["m0", "m1"].contains(&cluster.via(2, 3).as_str()));
    cluster.run_on(0, 2).unwrap();
    cluster.run_on(2, 3).unwrap();
    cluster.run_on(3, 2).unwrap();
    cluster.write_through(2, 3, "pinned");
    let view = mesh(2);
    assert_eq!((&view["reach"], &view["parent"]), (&json!("tree"), &json!("m1")));
    let shown = cluster.ask(0, &["-o", "wide", "mesh"]).success().stdout;
    assert!(shown.contains("tree: it links to its parent alone; m1 is the nearest way"), "{shown}");
    let set = cluster.ask(0, &["config", "set", "mesh.reach", "\"linked\""]).run();
    set.status(1).stderr_contains("mesh.reach is each machine's own");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn traffic_leaves_a_cable_that_swallows_it() {
    let sandbox = Sandbox::new();
    let cluster = Cluster::new(&sandbox, 4, &[(0, 1), (1, 2), (0, 3), (2, 3)]);
    cluster.run_on(0, 2).unwrap();
    let middle = cluster.via(0, 2);
    let middle: usize = middle.trim_start_matches('m').parse().unwrap();
    let other = 4 - middle;
    // First the far cable of the way, one way only; then the near one of the other way, wholly.
    cluster.shape.swallow(&sandbox, middle, 2);
    let begun = Instant::now();
    wait_until(DETOUR_LIMIT, "a program runs behind the dead cable", || cluster.run_on(0, 2));
    println!("one way: a program ran after {:?}", begun.elapsed());
    assert_eq!(cluster.via(0, 2), format!("m{other}"));

    cluster.shape.restore(&sandbox, middle, 2);
    cluster.wait_for_all();
    cluster.swallow_both_ways(0, other);
    let begun = Instant::now();
    wait_until(DETOUR_LIMIT, "a program runs behind the dead cable", || cluster.run_on(0, 2));
    println!("both ways: a program ran after {:?}", begun.elapsed());
    assert_eq!(cluster.via(0, 2), format!("m{middle}"));
    cluster.write_through(0, 2, "around");
}

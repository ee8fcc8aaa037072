//! Four members in a row: paths are looked at, and services at the far end are used.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::e2e::text;
use crate::support::namespace::Row;
use crate::support::run::{Invocation, Run};
use crate::support::sandbox::{CONVERGENCE_LIMIT, Sandbox};
use crate::support::wait::wait_until;

/// Members in the row.
const COUNT: usize = 4;

/// An echo server: says its port, then answers each caller once the caller has ended its side.
const ECHO: &str = "$| = 1; my $all = IO::Socket::INET->new(Listen => 9, LocalAddr => '127.0.0.1') \
    or die; print $all->sockport, \"\\n\"; while (my $one = $all->accept) { local $/; \
    my $text = <$one>; print $one \"far: $text\"; close $one }";

struct Members {
    sandbox: Sandbox,
    row: Row,
    homes: Vec<PathBuf>,
    /// The first calls itself `ann`; the cluster names the others.
    names: Vec<String>,
}

impl Members {
    /// Each is let in by the one before it, and reaches no other.
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let row = Row::new(&sandbox, COUNT);
        let raptor = env!("CARGO_BIN_EXE_raptor");
        row.places[0].enter(&sandbox, raptor).args(["spawn", "--name", "ann"]).success();
        let mut homes = vec![sandbox.machine("ann")];
        let mut names = vec!["ann".to_owned()];
        for (place, number) in row.places.iter().zip(1..).skip(1) {
            let before = homes.last().unwrap().to_str().unwrap();
            let ticket = sandbox.raptor(["--home", before, "ticket", "create"]).success().stdout;
            let home = sandbox.path().join(format!("r{number}"));
            std::fs::create_dir(&home).unwrap();
            let join = place.enter(&sandbox, raptor).arg("--home").arg(&home);
            join.args(["join", "-"]).stdin(ticket).success();
            let status = sandbox.raptor(["--home", home.to_str().unwrap(), "status", "-o", "json"]);
            names.push(text(&status.success().stdout_json()["name"]));
            homes.push(home);
        }
        let members = Self { sandbox, row, homes, names };
        wait_until(CONVERGENCE_LIMIT, "a path from the first to the last", || {
            let run = members.ask(0, &["members"]).run();
            let alive = run.stdout.matches(" alive ").count();
            let last = members.ask(0, &["ping", members.last(), "-n", "1"]).run();
            if alive == 4 && last.code() == 0 { Ok(()) } else { Err(format!("{run:?} {last:?}")) }
        });
        members
    }

    fn last(&self) -> &str {
        &self.names[COUNT - 1]
    }

    /// `raptor WORDS`, told to the agent of member `number`.
    fn ask(&self, number: usize, words: &[&str]) -> Invocation {
        self.sandbox.raptor(["--home", self.homes[number].to_str().unwrap()]).args(words)
    }
}

fn names(hops: &Value) -> Vec<String> {
    hops.as_array().unwrap().iter().map(|hop| text(&hop["node"])).collect()
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_path_of_four_is_looked_at_and_used() {
    let members = Members::new();
    hops_are_named(&members);
    the_mesh_is_told(&members);
    a_far_service_is_used(&members);
    a_cut_path_is_noticed(&members);
}

fn hops_are_named(members: &Members) {
    let last = members.last();
    let [_, second, third, _] = members.names.as_slice() else { panic!("{:?}", members.names) };
    let trace = members.ask(0, &["trace", last, "-o", "json"]).success().stdout_json();
    assert_eq!(names(&trace), [second, third, last], "{trace}");
    for (hop, number) in trace.as_array().unwrap().iter().zip(1..) {
        assert_eq!(hop["hop"], number, "{trace}");
        assert_eq!(hop["is_end"], number == 3, "{trace}");
        assert_eq!(hop["rtts_ms"].as_array().unwrap().len(), 3, "{trace}");
        assert!(hop["rtts_ms"][0].as_f64().unwrap() > 0.0, "{trace}");
        assert!(text(&hop["address"]).starts_with("fc"), "{trace}");
    }
    let back = members.ask(3, &["trace", "ann", "-n", "1", "-o", "json"]).success().stdout_json();
    assert_eq!(names(&back), [third, second, "ann"], "{back}");
    let short = members.ask(0, &["trace", last, "-m", "2", "-n", "1"]).run().status(1);
    let rows: Vec<&str> = short.stdout.lines().collect();
    assert_eq!(rows.len(), 3, "{short:?}");
    assert!(rows[0].starts_with("Hop  Node  "), "{short:?}");
    assert!(
        rows[2].starts_with(&format!("2    {third}  fc")) && rows[2].ends_with(" ms"),
        "{short:?}"
    );

    let ping = ["ping", last, "-n", "3", "-i", "20ms", "-o", "json"];
    let lines = members.ask(0, &ping).success().stdout_json_lines();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for (line, sequence) in lines[..3].iter().zip(1..) {
        assert_eq!((&line["sequence"], &line["hops"]), (&json!(sequence), &json!(3)), "{line}");
        assert!(line["rtt_ms"].as_f64().unwrap() > 0.0, "{line}");
    }
    let summary = &lines[3]["summary"];
    assert_eq!(summary["received"], 3, "{summary}");
    assert_eq!(summary["loss"], 0.0, "{summary}");
    let text = members.ask(0, &["ping", last, "-n", "1"]).success();
    let first = text.stdout.lines().next().unwrap();
    assert!(
        first.starts_with(&format!("{last} (fc")) && first.ends_with(" ms over 3 links"),
        "{text:?}"
    );
}

fn the_mesh_is_told(members: &Members) {
    let [_, second, third, last] = members.names.as_slice() else { panic!("{:?}", members.names) };
    let mesh = members.ask(0, &["mesh", "-o", "json"]).success().stdout_json();
    assert_eq!(mesh["node"], "ann");
    let routes = mesh["routes"].as_array().unwrap();
    let mut told: Vec<_> = routes
        .iter()
        .map(|route| (text(&route["node"]), route["via"].clone(), route["hops"].clone()))
        .collect();
    told.sort_by_key(|(_, _, hops)| hops.as_u64());
    assert_eq!(
        told,
        [
            (second.clone(), Value::Null, json!(1)),
            (third.clone(), json!(second), json!(2)),
            (last.clone(), json!(second), json!(3)),
        ]
    );
    let far = members.ask(0, &["mesh", "--node", last, "-o", "json"]).success().stdout_json();
    assert_eq!(far["node"], json!(last));
    let links: Vec<String> =
        far["links"].as_array().unwrap().iter().map(|link| text(&link["node"])).collect();
    assert_eq!(links, std::slice::from_ref(third), "{far}");
    assert_eq!(far["links"][0]["endpoint"].as_str().unwrap().split(':').next(), Some("10.99.2.1"));
    assert!(far["links"][0]["bytes_received"].as_u64().unwrap() > 1_000, "{far}");
}

fn a_far_service_is_used(members: &Members) {
    let sandbox = &members.sandbox;
    let perl = ["-MIO::Socket::INET", "-e", ECHO];
    let mut service = members.row.places[3].enter(sandbox, "perl").args(perl).start();
    let port = service.lines(1).pop().unwrap();
    let mut forward = members.ask(0, &["forward", &format!("0:{}:{port}", members.last())]).start();
    let line = forward.lines(1).pop().unwrap();
    let mut stream = TcpStream::connect(line.split_once(" -> ").unwrap().0).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let long: String = "0123456789".repeat(300_000);
    stream.write_all(long.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer == format!("far: {long}"), "{} bytes came back", answer.len());
}

fn a_cut_path_is_noticed(members: &Members) {
    members.row.cut(&members.sandbox, 2);
    let last = members.last();
    let ping = members.ask(0, &["ping", last, "-n", "2", "-i", "20ms", "-t", "200ms"]);
    let run: Run = ping.run().status(1);
    assert!(run.stdout.ends_with(&format!("{last}: 0 of 2 answered, 100 % lost\n")), "{run:?}");
    wait_until(CONVERGENCE_LIMIT, "no path to the last", || {
        let run = members.ask(0, &["trace", last]).run().status(1);
        if run.stdout.contains(&format!("no path leads to {last}")) {
            Ok(())
        } else {
            Err(format!("{run:?}"))
        }
    });
    let mesh = members.ask(0, &["mesh", "-o", "json"]).success().stdout_json();
    let mut routes = mesh["routes"].as_array().unwrap().iter();
    let route = routes.find(|route| route["node"] == last).unwrap();
    assert_eq!(route["hops"], Value::Null, "{mesh}");
    assert!(text(&route["reason"]).starts_with("no path: "), "{mesh}");
    let asked = members.ask(0, &["mesh", "--node", last]).run().status(1);
    asked.stderr_contains(&format!("error: {last} is not reached: "));
}

//! Looking at the mesh of a cluster on this computer: `mesh`, `ping`, `trace`, metrics.

use std::collections::{BTreeMap, BTreeSet};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::text;
use crate::support::sandbox::Sandbox;

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn the_mesh_of_three_is_told() {
    let sandbox = Sandbox::new();
    sandbox.spawn(3);
    let mesh = sandbox.raptor(["mesh", "-o", "json"]).success().stdout_json();
    let expected = ["node", "id", "address", "endpoints", "nat", "links", "routes"];
    assert!(BTreeSet::from(expected).is_subset(&keys(&mesh)), "{mesh}");
    let links = mesh["links"].as_array().unwrap();
    assert_eq!(links.len(), 2, "{mesh}");
    let expected = [
        "node",
        "id",
        "endpoint",
        "rtt_ms",
        "loss",
        "wanted",
        "since",
        "bytes_sent",
        "bytes_received",
        "packets_sent",
        "packets_received",
    ];
    for link in links {
        assert!(BTreeSet::from(expected).is_subset(&keys(link)), "{link}");
        assert!(text(&link["since"]).ends_with('Z'), "{link}");
        assert_eq!(link["wanted"], true, "{link}");
    }
    let expected =
        ["node", "id", "address", "status", "via", "hops", "cost_ms", "rtt_ms", "reason"];
    for route in mesh["routes"].as_array().unwrap() {
        assert!(BTreeSet::from(expected).is_subset(&keys(route)), "{route}");
        assert_eq!(route["status"], "alive", "{route}");
    }
    let shown = sandbox.raptor(["mesh", "--node", "local-2"]).success();
    let heads: Vec<&str> =
        shown.stdout.lines().filter(|line| !line.starts_with("local-")).collect();
    assert_eq!(heads[0], "address translation: unknown", "{shown:?}");
    assert_eq!(heads[2].split_whitespace().next(), Some("Link"), "{shown:?}");
    assert!(shown.stdout.starts_with("local-2 (fc"), "{shown:?}");
    let wide = sandbox.raptor(["mesh", "-o", "wide"]).success();
    assert!(wide.stdout.contains("Packets") && wide.stdout.contains("Cost"), "{wide:?}");
    sandbox
        .raptor(["mesh", "--node", "lokal-1"])
        .run()
        .status(1)
        .stderr_contains("error: no member \"lokal-1\"; did you mean \"local-1\"?\n");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_ping_ends_with_its_summary_and_status() {
    let sandbox = Sandbox::new();
    sandbox.spawn(2);
    let run = sandbox.raptor(["ping", "local-1", "-n", "2", "-i", "20ms"]).success();
    assert!(run.stdout.contains("local-1: 2 of 2 answered, 0 % lost; "), "{run:?}");
    let quiet = sandbox.raptor(["ping", "local-2", "-q", "-n", "1"]).success();
    assert_eq!(quiet.stdout.lines().count(), 1, "{quiet:?}");
    assert_eq!(quiet.stderr, "", "{quiet:?}");

    let mut endless = sandbox.raptor(["ping", "local-2", "-n", "0", "-i", "50ms"]).start();
    endless.lines(3);
    endless.signal(Signal::INT);
    let run = endless.finish(std::time::Duration::from_secs(10)).success();
    assert!(run.stdout.lines().last().unwrap().contains(" answered, 0 % lost; "), "{run:?}");

    let refused = |words: &[&str], status: i32, expected: &str| {
        let run = sandbox.raptor(words).run().status(status);
        assert!(run.stderr.contains(expected), "{words:?}: {run:?}");
        assert_eq!(run.stdout, "", "{words:?}");
    };
    let unknown = "error: no member \"lokal-2\"; did you mean \"local-2\"?\n  \
                   hint: `raptor members` lists what is there\n";
    refused(&["ping", "lokal-2"], 1, unknown);
    refused(&["trace", "lokal-2"], 1, unknown);
    refused(
        &["ping", "local-2", "-i", "1ms"],
        2,
        "invalid value '1ms' for '--interval <TIME>': expected at least 20ms",
    );
    refused(
        &["ping", "local-2", "-t", "2m"],
        2,
        "invalid value '2m' for '--timeout <TIME>': expected at most 1m",
    );
    refused(
        &["trace", "local-2", "-m", "33"],
        2,
        "invalid value '33' for '--max-hops <N>': 33 is not in 1..=32",
    );

    let agent = sandbox.agent("local-2", "supervise").unwrap();
    agent.signal(Signal::STOP);
    let agent = sandbox.agent("local-2", "run").unwrap();
    agent.signal(Signal::STOP);
    let words = ["ping", "local-2", "-n", "2", "-i", "20ms", "-t", "100ms", "-o", "json"];
    let lines = sandbox.raptor(words).run().status(1).stdout_json_lines();
    assert_eq!(lines[0]["rtt_ms"], Value::Null, "{lines:?}");
    assert_eq!(lines[2]["summary"]["received"], 0, "{lines:?}");
    assert_eq!(lines[2]["summary"]["rtt_min_ms"], Value::Null, "{lines:?}");
    agent.signal(Signal::CONT);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn metrics_are_what_prometheus_reads() {
    let sandbox = Sandbox::new();
    sandbox.spawn(3);
    let home = sandbox.machine("local-1");
    // Over which of two paths it goes is the mesh's choice.
    let run = sandbox.raptor(["--home", home.to_str().unwrap()]);
    run.args(["exec", "--", "true"]).success();
    let run = sandbox.raptor(["--home", home.to_str().unwrap()]);
    let told = run.args(["agent", "metrics"]).success().stdout;
    let socket = sandbox.machine("local-1").join("agent/agent.sock");
    let curl = sandbox.program("curl").args(["-sSi", "--unix-socket", socket.to_str().unwrap()]);
    let scraped = curl.arg("http://agent/metrics").success().stdout;
    assert!(
        scraped.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{scraped}"
    );
    assert!(scraped.contains("# TYPE raptor_links gauge\nraptor_links 2\n"), "{scraped}");

    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    let mut samples: BTreeMap<&str, f64> = BTreeMap::new();
    for line in told.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(types.insert(name, kind).is_none(), "{name} twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            assert!(types.contains_key(name), "{line}: no type before it");
            assert!(name.starts_with("raptor_") || name.starts_with("process_"), "{line}");
            assert!(samples.insert(series, value.parse().unwrap()).is_none(), "{series} twice");
        }
    }
    for (series, value) in [
        ("raptor_members{status=\"alive\"}", 3.0),
        ("raptor_members{status=\"failed\"}", 0.0),
        ("raptor_links", 2.0),
        ("raptor_reachable_members", 2.0),
        ("raptor_unreachable_members", 0.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series} of {told}");
    }
    let received = ["local-2", "local-3"].map(|peer| {
        samples[format!("raptor_link_received_bytes_total{{peer=\"{peer}\"}}").as_str()]
    });
    assert!(received.iter().all(|bytes| *bytes > 0.0), "{told}");
    assert!(received.iter().sum::<f64>() > 1_000.0, "{told}");
    assert!(samples["process_resident_memory_bytes"] > 1e6, "{told}");
    let json = sandbox.raptor(["--home", sandbox.machine("local-1").to_str().unwrap()]);
    let families = json.args(["agent", "metrics", "-o", "json"]).success().stdout_json();
    let links = families.as_array().unwrap().iter().find(|one| one["name"] == "raptor_links");
    assert_eq!(links.unwrap()["samples"], json!([{"labels": [], "value": 2.0}]), "{families}");
}

//! One TCP stream, latency and idle cost over the mesh, beside the wire, the same packets carried
//! in clear, and other programs of its kind: all in one run, in network namespaces of its own.
//!
//! `cargo bench --bench overlay`; `-- quick` measures once and only one hop.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement ends where it cannot go on")]

mod latency;
mod limit;
mod peers;
mod raptor;
mod stream;
#[path = "../support/mod.rs"]
mod support;
mod verdicts;
mod world;

use std::os::unix::process::CommandExt;
use std::process::Command;

use stream::Target;
use verdicts::{AES, LIMIT};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "limit") {
        return limit::run(&arguments[1..]);
    }
    if std::env::var_os("RAPTOR_BENCH_WORLD").is_none() {
        let program = std::env::current_exe().unwrap();
        let error = Command::new("unshare")
            .args(["-n", "-m", "--propagation", "private"])
            .arg(program)
            .args(arguments)
            .env("RAPTOR_BENCH_WORLD", "1")
            .exec();
        panic!("network namespaces need root and util-linux's unshare: {error}");
    }
    let is = |word: &str| arguments.iter().any(|argument| argument == word);
    world::build();
    let folder = tempfile::tempdir().unwrap();
    let outcome = std::panic::catch_unwind(|| measure(folder.path(), is("quick"), is("pause")));
    raptor::sweep(&["a", "b", "c"]);
    if outcome.is_err() {
        std::process::exit(1);
    }
}

fn measure(folder: &std::path::Path, is_quick: bool, pauses: bool) {
    let servers =
        ["b", "c"].map(|name| world::Running::start(world::inside(name, "iperf3").arg("-s")));
    let limits = limit_pair();
    let aes = raptor::cluster(folder, &["a", "b", "c"], "aes0", false);
    let chacha = raptor::cluster(folder, &["a", "b"], "cha0", true);
    let peers = if is_quick { Vec::new() } else { peers::start_all(folder) };
    let mut targets = vec![
        Target::new("the wire (veth, no program)", "10.81.0.2"),
        Target::new(LIMIT, "fc00::b"),
        Target::new(AES, &aes[1].address),
        Target::new(verdicts::CHACHA, &chacha[1].address),
    ];
    targets.push(Target::new(verdicts::AES_TWO_HOPS, &aes[2].address));
    for peer in &peers {
        targets.push(Target::new(peer.name, &peer.one_hop));
        if let Some(address) = &peer.two_hops {
            targets.push(Target::new(&format!("{}, two hops", peer.name), address));
        }
    }
    for target in &targets {
        world::wait_for("a", &target.address);
    }
    if pauses {
        println!("{}", aes[1].address);
        let _ = std::io::stdin().read_line(&mut String::new());
    }
    let limit = "fc00::b".to_owned();
    let latencies = [(LIMIT, &limit, 1), (AES, &aes[1].address, 1), (AES, &aes[2].address, 2)]
        .map(|(name, address, hops)| (name, hops, latency::added("10.81.0.2", address, hops)));
    stream::measure(&mut targets, if is_quick { 2 } else { 5 });
    verdicts::print(&targets, &peers, &latencies);
    drop((servers, limits));
}

fn limit_pair() -> [world::Running; 2] {
    let own = std::env::current_exe().unwrap();
    let own = own.to_str().unwrap();
    let start = |name: &str, words: [&str; 4]| {
        world::Running::start_ready(world::inside(name, own).arg("limit").args(words))
    };
    [
        start("a", ["fc00::a", "fc00::b", "10.81.0.1:7001", "10.81.0.2:7001"]),
        start("b", ["fc00::b", "fc00::a", "10.81.0.2:7001", "10.81.0.1:7001"]),
    ]
}

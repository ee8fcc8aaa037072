//! What somebody on the cable between two members sees of what they do.

use std::fs;

use rustix::process::Signal;

use crate::support::namespace::Pair;
use crate::support::sandbox::{CONVERGENCE_LIMIT, Sandbox};
use crate::support::wait::wait_until;

/// Never meant for the cable.
const SECRETS: [&str; 3] = ["ann-is-a-long-name", "set-in-the-configuration", "said-by-a-program"];

/// Sent without raptor: shows that the capture sees all.
const IN_CLEAR: &str = "sent-without-any-protection";

fn holds(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|window| window == part.as_bytes())
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_capture_of_all_that_two_members_do_shows_nothing_in_clear() {
    let sandbox = Sandbox::new();
    let pair = Pair::new(&sandbox);
    let file = sandbox.path().join("seen.pcap");
    let tcpdump = pair.left.enter(&sandbox, "tcpdump").args(["-Z", "root", "-i", "cable"]);
    let mut tcpdump = tcpdump.args(["-s", "0", "-U", "--immediate-mode", "-w"]).arg(&file).start();
    let seen = || fs::read(&file).unwrap_or_default();
    wait_until(CONVERGENCE_LIMIT, "a capture", || {
        if seen().is_empty() { Err("no file") } else { Ok(()) }
    });

    let [name, configured, said] = SECRETS;
    let raptor = env!("CARGO_BIN_EXE_raptor");
    pair.left.enter(&sandbox, raptor).args(["spawn", "--name", name]).success();
    let ticket = sandbox.raptor(["ticket", "create"]).success().stdout;
    let home = sandbox.path().join("bob");
    fs::create_dir(&home).unwrap();
    let join = pair.right.enter(&sandbox, raptor).arg("--home").arg(&home).args(["join", "-"]);
    join.stdin(ticket.clone()).success();
    let bob = |words: &[&str]| sandbox.raptor(["--home", home.to_str().unwrap()]).args(words);
    wait_until(CONVERGENCE_LIMIT, "two alive", || {
        let run = bob(&["members"]).run();
        if run.stdout.matches(" alive ").count() == 2 { Ok(()) } else { Err(format!("{run:?}")) }
    });
    let path = format!("user.{configured}");
    sandbox.raptor(["config", "set", &path, "true"]).success();
    wait_until(CONVERGENCE_LIMIT, "the setting on the other side", || {
        let run = bob(&["config", "get", &path]).run();
        if run.stdout == "true\n" { Ok(()) } else { Err(format!("{run:?}")) }
    });
    let run = sandbox.raptor(["exec", "--", "echo", said]).success();
    assert_eq!(run.stdout.matches(said).count(), 2, "{run:?}");

    let clear = "use IO::Socket::INET; IO::Socket::INET->new(Proto => 'udp', \
                 PeerAddr => '10.99.0.1:9')->send($ARGV[0]) or die";
    pair.right.enter(&sandbox, "perl").args(["-e", clear, IN_CLEAR]).success();
    wait_until(CONVERGENCE_LIMIT, "the last packet in the capture", || {
        if holds(&seen(), IN_CLEAR) { Ok(()) } else { Err("not there") }
    });
    tcpdump.signal(Signal::TERM);
    wait_until(CONVERGENCE_LIMIT, "the capture's end", || {
        if tcpdump.is_running() { Err("it runs") } else { Ok(()) }
    });
    let seen = seen();
    assert!(seen.len() > 10_000, "{} bytes seen", seen.len());
    for secret in SECRETS.iter().copied().chain([&ticket.trim()[..24]]) {
        assert!(!holds(&seen, secret), "{secret} in clear");
    }
}

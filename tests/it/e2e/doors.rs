//! What users do with the mesh without a network device: `forward` and `proxy`.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::json;

use super::text;
use crate::support::run::{Run, Running};
use crate::support::sandbox::Sandbox;
use crate::support::service::{Service, closed_port};
use crate::support::wait::wait_until;

/// `raptor WORDS`, running, and the local addresses of the doors that it says are open. `local-1` is
/// asked, so that `local-2` is another machine: either of the two may have founded the cluster.
fn opened(sandbox: &Sandbox, words: &[&str], count: usize) -> (Running, Vec<SocketAddr>) {
    let mut running = sandbox.raptor_at("local-1", words).start();
    let lines = running.lines(count);
    let local = |line: &String| line.split_once(" -> ").unwrap().0.parse().unwrap();
    (running, lines.iter().map(local).collect())
}

fn connect(door: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(door).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Says `bytes`, ends that direction, and reads the answer to its end.
fn ask(door: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(door);
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_forward_carries_everything_and_each_direction_ends_by_itself() {
    let sandbox = Sandbox::new();
    sandbox.spawn(2);
    let services = ["one:", "two:"].map(Service::after_the_end);
    let specs: Vec<String> =
        services.iter().map(|service| format!("0:local-2:{}", service.port)).collect();
    let own = format!("0:local-1:{}", services[0].port);
    let words = ["forward", &specs[0], &specs[1], &own];
    let (mut running, doors) = opened(&sandbox, &words, 3);
    let line = running.lines(1).pop().unwrap();
    assert_eq!(line, format!("{} -> local-2:{}", doors[0], services[0].port));
    assert!(doors.iter().all(|door| door.ip().is_loopback()), "{doors:?}");

    // Longer than all buffers on the way together, so that it only ends if both sides keep up.
    let long: Vec<u8> = (0..24_000_000u32).map(|index| (index % 251) as u8).collect();
    let answers: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let asked: Vec<_> = doors.iter().map(|door| scope.spawn(|| ask(*door, &long))).collect();
        asked.into_iter().map(|answer| answer.join().unwrap()).collect()
    });
    for (answer, name) in answers.iter().zip(["one:", "two:", "one:"]) {
        assert_eq!(answer[..4], *name.as_bytes());
        assert!(answer[4..] == long, "what came back of {name} differs");
    }

    // A connection that outlives the command ends with it.
    let mut held = connect(doors[0]);
    held.write_all(b"held").unwrap();
    running.signal(rustix::process::Signal::INT);
    running.finish(Duration::from_secs(10)).status(130);
    let rest = held.read_to_end(&mut Vec::new());
    assert!(rest.is_ok() || rest.unwrap_err().kind() == ErrorKind::ConnectionReset);
    assert!(TcpStream::connect(doors[0]).is_err(), "the port is still open");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_forward_nobody_reads_from_holds_its_writer_back_and_nobody_else() {
    let sandbox = Sandbox::new();
    sandbox.spawn(2);
    let stuck = Service::that_never_reads();
    let echo = Service::after_the_end("");
    let specs = [stuck.port, echo.port].map(|port| format!("0:local-2:{port}"));
    let (running, doors) = opened(&sandbox, &["forward", &specs[0], &specs[1]], 2);
    let piece = vec![7u8; 1 << 20];
    let held: Vec<TcpStream> = (0..12)
        .map(|_| {
            let mut stream = TcpStream::connect(doors[0]).unwrap();
            stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
            let mut taken = 0;
            while stream.write_all(&piece).is_ok() {
                taken += piece.len();
                assert!(taken < 200 << 20, "the writer is not held back");
            }
            stream
        })
        .collect();
    // The same two agents go on speaking to each other, about services and about the cluster.
    assert_eq!(ask(doors[1], b"still here"), b"still here");
    sandbox.raptor(["config", "set", "user.motto", "1"]).success();
    sandbox.wait_for_value("local-2", "user.motto", &json!(1));
    sandbox
        .raptor(["exec", "--on", "local-2", "--", "echo", "a"])
        .success()
        .stdout_is("    local-2: a\n1 / 1 node(s) completed / acknowledged\n");
    drop(held);

    // So many that no further one is served, and all else still is.
    let mut held = Vec::new();
    wait_until(Duration::from_secs(30), "a connection too many", || {
        held.extend((0..12).map(|_| connect(doors[0])));
        let mut stream = connect(doors[1]);
        let _ = stream.write_all(b"one more");
        let _ = stream.shutdown(Shutdown::Write);
        match stream.read_to_end(&mut Vec::new()) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    sandbox.raptor(["config", "set", "user.motto", "2"]).success();
    sandbox.wait_for_value("local-2", "user.motto", &json!(2));
    drop(held);
    running.signal(rustix::process::Signal::INT);
    running
        .finish(Duration::from_secs(10))
        .stderr_contains("local-2: it serves 96 connections of this machine already\n");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_forward_that_leads_nowhere_says_why() {
    let sandbox = Sandbox::new();
    sandbox.spawn(2);
    let refused = |words: &[&str], status: i32, expected: &str| {
        let run = sandbox.raptor(words).run().status(status);
        assert_eq!((run.stderr.as_str(), run.stdout.as_str()), (expected, ""), "{words:?}");
    };
    refused(
        &["forward", "0:lokal-2:80"],
        1,
        "error: no member \"lokal-2\"; did you mean \"local-2\"?\n  \
         hint: `raptor members` lists what is there\n",
    );
    let busy = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let holder = TcpListener::bind(busy).unwrap();
    let spec = format!("{}:local-2:80", busy.port());
    refused(
        &["forward", "0:local-1:80", &spec],
        1,
        &format!(
            "error: port {busy} is in use\n  hint: choose another port, or 0 for any that is free\n"
        ),
    );
    drop(holder);
    refused(
        &["forward", "192.0.2.1:0:local-2:80"],
        1,
        "error: this computer has no address 192.0.2.1\n",
    );
    let run = sandbox.raptor(["forward", "80:local-2"]).run().status(2);
    run.stderr_contains(
        "invalid value '80:local-2' for '<[LOCAL:]PORT:NODE:PORT>...': expected \
         [LOCAL:]PORT:NODE:PORT, as in 8080:web-1:80",
    );
    sandbox
        .raptor(["forward", "8080:local-2:80", "--dry-run"])
        .success()
        .stdout_is("127.0.0.1:8080 -> local-2:80\n");

    for name in ["local-1", "local-2"] {
        let port = closed_port();
        let (running, doors) = opened(&sandbox, &["forward", &format!("0:{name}:{port}")], 1);
        let outcome = connect(doors[0]).read_to_end(&mut Vec::new());
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::ConnectionReset, "{name}");
        assert_eq!(told(running), format!("nothing listens on port {port} of {name}\n"));
    }
}

/// What a command that was interrupted said until then.
fn told(running: Running) -> String {
    running.signal(rustix::process::Signal::INT);
    let run = running.finish(Duration::from_secs(10)).status(130);
    run.stderr.strip_suffix("error: interrupted\n").unwrap().to_owned()
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_proxy_reaches_members_by_name_and_address_and_nobody_else() {
    let sandbox = Sandbox::new();
    let members = sandbox.spawn(2);
    let service = Service::http("hello through the mesh");
    let (running, doors) = opened(&sandbox, &["proxy", "0"], 1);
    let curl = |proxy: &SocketAddr, options: &[&str], host: &str, port: u16| -> Run {
        sandbox
            .program("curl")
            .args(["-sS", "--max-time", "20", "--socks5-hostname", &proxy.to_string()])
            .args(options)
            .arg(format!("http://{host}:{port}/"))
            .run()
    };
    let address = |index: usize| format!("[{}]", text(&members[index]["address"]));
    let hosts = ["local-1.raptor", "local-2.raptor", "LOCAL-2.default.raptor"];
    for host in hosts.map(str::to_owned).into_iter().chain([address(0), address(1)]) {
        let run = curl(&doors[0], &[], &host, service.port).success();
        run.stdout_is("hello through the mesh");
    }
    // The status is curl's for a proxy that refuses, with SOCKS' number in the message.
    let port = closed_port();
    for (host, port, number) in [
        ("local-2.raptor", port, 5),
        ("local-9.raptor", service.port, 4),
        ("local-2.other.raptor", service.port, 4),
        ("127.0.0.1", service.port, 2),
        ("localhost", service.port, 2),
    ] {
        let run = curl(&doors[0], &[], host, port).status(97);
        run.stderr_contains(&format!("({number})"));
    }
    let said = told(running);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines,
        [
            &format!("nothing listens on port {port} of local-2"),
            "no member \"local-9\"; did you mean \"local-2\"?",
            "local-2.other.raptor names no member of default",
            "127.0.0.1 is no member of default; --direct lets through",
            "localhost is no member of default; --direct lets through",
        ]
    );

    let login = sandbox.path().join("login");
    fs::write(&login, "ann:long secret\n").unwrap();
    let words = ["proxy", "0", "--direct", "--login-file", login.to_str().unwrap()];
    let (_running, doors) = opened(&sandbox, &words, 1);
    let known = ["--proxy-user", "ann:long secret"];
    for host in ["127.0.0.1", "local-2.raptor"] {
        curl(&doors[0], &known, host, service.port).success().stdout_is("hello through the mesh");
        curl(&doors[0], &["--proxy-user", "ann:guess"], host, service.port).status(97);
        curl(&doors[0], &[], host, service.port).status(97);
    }
    sandbox.raptor(["proxy", "*:0"]).run().status(2).stderr_contains(
        "error: [::]:0 would let everybody who reaches this computer into the mesh\n  \
         hint: add --login-file FILE, or leave the address out\n",
    );
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_door_outlives_the_restart_of_agents() {
    let sandbox = Sandbox::new();
    sandbox.spawn(2);
    let service = Service::after_the_end("");
    let spec = format!("0:local-2:{}", service.port);
    let (_running, doors) = opened(&sandbox, &["forward", &spec], 1);
    assert_eq!(ask(doors[0], b"before"), b"before");
    let agent = sandbox.agent("local-2", "run").unwrap();
    agent.signal(rustix::process::Signal::KILL);
    wait_until(Duration::from_secs(30), "a connection after the restart", || {
        let mut stream = connect(doors[0]);
        let _ = stream.write_all(b"after");
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let outcome = stream.read_to_end(&mut answer);
        if answer == b"after" { Ok(()) } else { Err(format!("{outcome:?}")) }
    });
}

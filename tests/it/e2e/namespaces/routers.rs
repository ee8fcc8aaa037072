//! Members behind routers that translate addresses, and a member that moves under a running
//! transfer.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::internet::{Internet, Kind, Router, unplug};
use crate::support::namespace::Namespace;
use crate::support::overlay::{Member, may_enter};
use crate::support::sandbox::{CONVERGENCE_LIMIT, Sandbox};
use crate::support::wait::wait_until;

const NAMES: [&str; 4] = ["p0", "p1", "h0", "h1"];

/// Two members with public addresses and two elsewhere, all alive. So many rings link all of them.
pub fn cluster(
    sandbox: &Sandbox,
    internet: &Internet,
    homes: [Namespace; 2],
    config: &Value,
) -> [Member; 4] {
    let [first, second] = homes;
    let spaces = [internet.public(sandbox), internet.public(sandbox), first, second];
    let mut members: Vec<Member> = Vec::new();
    for (name, space) in NAMES.into_iter().zip(spaces) {
        let mut member = Member::enter(sandbox, space, name, config, members.first());
        member.run(sandbox, false);
        members.push(member);
    }
    for member in &members {
        member.wait_for(sandbox, NAMES.len());
    }
    members.try_into().unwrap_or_else(|_| unreachable!())
}

fn config() -> Value {
    json!({"mesh": {"listen": "[::]:0", "rings": 8}})
}

fn mesh(sandbox: &Sandbox, member: &Member) -> Value {
    member.raptor(sandbox).args(["mesh", "-o", "json"]).success().stdout_json()
}

/// Waits until `member` says that this stands between it and the others.
pub fn wait_for_nat(sandbox: &Sandbox, member: &Member, expected: &str) {
    wait_until(CONVERGENCE_LIMIT, &format!("address translation: {expected}"), || {
        let mesh = mesh(sandbox, member);
        if mesh["nat"] == expected { Ok(()) } else { Err(mesh.to_string()) }
    });
}

/// Where `member` speaks to its neighbour `name`.
fn endpoint(sandbox: &Sandbox, member: &Member, name: &str) -> Result<String, String> {
    let mesh = mesh(sandbox, member);
    let mut links = mesh["links"].as_array().into_iter().flatten();
    let link = links.find(|link| link["node"] == name);
    let endpoint = link.and_then(|link| link["endpoint"].as_str());
    let endpoint = endpoint.ok_or_else(|| format!("no link to {name}: {mesh}"))?;
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
    Ok(host.to_owned())
}

/// Waits until `member` has a link to `name` at the address `expected`.
pub fn wait_for_link(sandbox: &Sandbox, member: &Member, name: &str, expected: &str) {
    wait_until(CONVERGENCE_LIMIT, &format!("a link to {name} at {expected}"), || {
        let found = endpoint(sandbox, member, name)?;
        if found == expected { Ok(()) } else { Err(found) }
    });
}

/// Waits until packets from `member` reach `name` over so many links.
pub fn wait_for_hops(sandbox: &Sandbox, member: &Member, name: &str, expected: u64) {
    wait_until(CONVERGENCE_LIMIT, &format!("{expected} links to {name}"), || {
        let ping = ["ping", name, "-n", "1", "-o", "json"];
        let run = member.raptor(sandbox).args(ping).run();
        let line = run.stdout.lines().next().and_then(|line| line.parse::<Value>().ok());
        let is_so = line.is_some_and(|line| line["hops"] == expected);
        if is_so { Ok(()) } else { Err(format!("{run:?}")) }
    });
}

fn nat_of(kind: Kind) -> &'static str {
    if kind == Kind::Symmetric { "symmetric" } else { "easy" }
}

/// Members behind routers of these kinds get a link of their own.
fn meet(one: Kind, other: Kind) {
    behind(one, other, |sandbox, [_, _, left, right], [near, far]| {
        wait_for_link(sandbox, left, "h1", &far.outer);
        wait_for_link(sandbox, right, "h0", &near.outer);
    });
}

/// Members behind routers of these kinds try in vain, and reach each other through others.
fn pass_through_others(one: Kind, other: Kind) {
    behind(one, other, |sandbox, [_, _, left, right], routers| {
        wait_until(CONVERGENCE_LIMIT, "both routers refuse something", || {
            let refused = routers.each_ref().map(|router| router.refused(sandbox));
            let all = refused.iter().all(|count| *count > 0);
            if all { Ok(()) } else { Err(format!("{refused:?}")) }
        });
        wait_for_hops(sandbox, left, "h1", 2);
        wait_for_hops(sandbox, right, "h0", 2);
        endpoint(sandbox, left, "h1").unwrap_err();
        endpoint(sandbox, right, "h0").unwrap_err();
    });
}

fn behind(one: Kind, other: Kind, check: impl FnOnce(&Sandbox, &[Member; 4], &[Router; 2])) {
    if !may_enter() {
        return;
    }
    let sandbox = Sandbox::new();
    let internet = Internet::new(&sandbox);
    let routers = [one, other].map(|kind| internet.router(&sandbox, kind));
    let homes = routers.each_ref().map(|router| router.machine(&sandbox));
    let begun = Instant::now();
    let members = cluster(&sandbox, &internet, homes, &config());
    println!("{one:?} and {other:?}: all alive after {:?}", begun.elapsed());
    wait_for_nat(&sandbox, &members[0], "none");
    wait_for_nat(&sandbox, &members[2], nat_of(one));
    wait_for_nat(&sandbox, &members[3], nat_of(other));
    check(&sandbox, &members, &routers);
    println!("{one:?} and {other:?}: as expected after {:?}", begun.elapsed());
    for (from, to) in [(2, 3), (3, 2)] {
        let on = format!("name={}", NAMES[to]);
        let exec = ["exec", "--timeout", "10s", "--on", &on, "--", "echo", "through"];
        let run = members[from].raptor(&sandbox).args(exec).success();
        assert!(run.stdout.contains(&format!("{}: through\n", NAMES[to])), "{run:?}");
    }
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn full_cones_and_all_others_meet() {
    meet(Kind::Full, Kind::Full);
    meet(Kind::Full, Kind::Restricted);
    meet(Kind::Full, Kind::PortRestricted);
    meet(Kind::Full, Kind::Symmetric);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn restricted_cones_and_all_others_meet() {
    meet(Kind::Restricted, Kind::Restricted);
    meet(Kind::Restricted, Kind::PortRestricted);
    meet(Kind::Restricted, Kind::Symmetric);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn port_restricted_cones_meet() {
    meet(Kind::PortRestricted, Kind::PortRestricted);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn symmetric_routers_are_passed_through_others() {
    pass_through_others(Kind::PortRestricted, Kind::Symmetric);
    pass_through_others(Kind::Symmetric, Kind::Symmetric);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn behind_two_carriers_and_two_homes_members_meet() {
    if !may_enter() {
        return;
    }
    let sandbox = Sandbox::new();
    let internet = Internet::new(&sandbox);
    let carriers = [(); 2].map(|()| internet.carrier(&sandbox, Kind::PortRestricted));
    let routers = carriers.each_ref().map(|one| one.router(&sandbox, Kind::PortRestricted));
    let homes = routers.each_ref().map(|router| router.machine(&sandbox));
    let members = cluster(&sandbox, &internet, homes, &config());
    let [_, _, left, right] = &members;
    wait_for_nat(&sandbox, left, "easy");
    wait_for_link(&sandbox, left, "h1", &carriers[1].outer);
    wait_for_link(&sandbox, right, "h0", &carriers[0].outer);
}

/// One direction of an endless transfer: what is sent, and what came as it was sent.
#[derive(Default)]
struct Flow {
    sent: AtomicU64,
    received: AtomicU64,
    /// The longest time in which nothing came.
    longest_pause: Mutex<Duration>,
}

/// Bytes that never repeat within a packet's reach.
struct Content(u64);

impl Content {
    fn next(&mut self) -> [u8; 8_192] {
        let mut bytes = [0; 8_192];
        for chunk in bytes.chunks_exact_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            chunk.copy_from_slice(&self.0.to_le_bytes());
        }
        bytes
    }
}

impl Flow {
    /// Sends until told to end, then ends its side of the connection.
    fn send(&self, mut stream: &TcpStream, seed: u64, ends: &AtomicBool) {
        let mut content = Content(seed);
        while !ends.load(Ordering::Relaxed) {
            let bytes = content.next();
            stream.write_all(&bytes).unwrap();
            self.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Compares all that comes until the other side ends.
    fn receive(&self, mut stream: &TcpStream, seed: u64) {
        let mut content = Content(seed);
        let mut last = Instant::now();
        let mut buffer = [0; 8_192];
        loop {
            let mut filled = 0;
            while filled < buffer.len() {
                let count = stream.read(&mut buffer[filled..]).unwrap();
                let mut longest = self.longest_pause.lock().unwrap();
                *longest = last.elapsed().max(*longest);
                last = Instant::now();
                if count == 0 {
                    assert_eq!(filled, 0, "the stream ends within a piece");
                    return;
                }
                filled += count;
            }
            assert!(buffer == content.next(), "the content differs");
            self.received.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        }
    }

    /// Waits until so much more has come; says how long nothing came in between.
    fn wait_for_more(&self, what: &str) {
        let goal = self.received.load(Ordering::Relaxed) + (4 << 20);
        wait_until(CONVERGENCE_LIMIT, &format!("more bytes {what}"), || {
            let received = self.received.load(Ordering::Relaxed);
            if received >= goal { Ok(()) } else { Err(format!("{received} of {goal}")) }
        });
        let pause = std::mem::take(&mut *self.longest_pause.lock().unwrap());
        println!("{what}: nothing came for {pause:?} at most");
    }
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_transfer_goes_on_while_a_member_moves_between_networks() {
    if !may_enter() {
        return;
    }
    let sandbox = Sandbox::new();
    let internet = Internet::new(&sandbox);
    let kinds = [Kind::PortRestricted, Kind::PortRestricted, Kind::Symmetric];
    let [near, far, hotel] = kinds.map(|kind| internet.router(&sandbox, kind));
    let homes = [near.machine(&sandbox), far.machine(&sandbox)];
    let members = cluster(&sandbox, &internet, homes, &config());
    let [_, _, mover, other] = &members;
    wait_for_link(&sandbox, other, "h0", &near.outer);

    let (to, from) = (other.address, mover.address);
    let listener = other.inside(|| TcpListener::bind((to, 0)).unwrap());
    let port = listener.local_addr().unwrap().port();
    let left = mover.inside(|| {
        wait_until(CONVERGENCE_LIMIT, "a connection", || TcpStream::connect((to, port)))
    });
    let (right, source) = listener.accept().unwrap();
    assert_eq!(source.ip(), from);
    let flows = [Flow::default(), Flow::default()];
    let ends = AtomicBool::new(false);
    let more = |what: &str| {
        flows[0].wait_for_more(&format!("{what}, from the mover"));
        flows[1].wait_for_more(&format!("{what}, to the mover"));
    };
    std::thread::scope(|scope| {
        for (flow, seed, sender, receiver) in
            [(&flows[0], 1, &left, &right), (&flows[1], 2, &right, &left)]
        {
            receiver.set_read_timeout(Some(CONVERGENCE_LIMIT)).unwrap();
            let ends = &ends;
            scope.spawn(move || flow.send(sender, seed, ends));
            scope.spawn(move || flow.receive(receiver, seed));
        }
        // However a step fails, the threads must end.
        let steps = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            more("at home");
            unplug(&sandbox, &mover.namespace);
            hotel.plug(&sandbox, &mover.namespace);
            more("in the hotel, with the same private address");
            wait_for_hops(&sandbox, mover, "h1", 2);
            unplug(&sandbox, &mover.namespace);
            let public = internet.plug(&sandbox, &mover.namespace);
            more("at a public address");
            wait_for_link(&sandbox, other, "h0", &public);
            more("on a link of its own again");
        }));
        ends.store(true, Ordering::Relaxed);
        if let Err(panic) = steps {
            for stream in [&left, &right] {
                let _ = stream.shutdown(Shutdown::Both);
            }
            std::panic::resume_unwind(panic);
        }
    });
    for flow in &flows {
        let [sent, received] = [&flow.sent, &flow.received].map(|one| one.load(Ordering::Relaxed));
        println!("{received} bytes of {sent} came as they were sent");
        assert_eq!(sent, received);
    }
    wait_for_nat(&sandbox, mover, "none");
}

//! The network interface: any program reaches any member through it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::num::NonZeroU32;
use std::time::Duration;

use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::overlay::{Member, Overlay, may_enter};
use crate::support::sandbox::{CONVERGENCE_LIMIT, Sandbox};
use crate::support::wait::wait_until;

/// No single packet exchange may take longer, however busy the computer is.
const LIMIT: Duration = Duration::from_secs(30);

/// Bytes that never repeat within a packet's reach, so that a lost or doubled piece shows.
fn content(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn listener(member: &Member) -> TcpListener {
    let address = member.address;
    member.inside(move || TcpListener::bind((address, 0)).unwrap())
}

fn connect(from: &Member, to: Ipv6Addr, port: u16) -> TcpStream {
    from.inside(|| wait_until(LIMIT, "a connection", || TcpStream::connect((to, port))))
}

/// Sends `length` bytes there and back at the same time; both arrive as they were.
fn transfer(from: &Member, to: &Member, length: usize) {
    let listener = listener(to);
    let port = listener.local_addr().unwrap().port();
    let expected = content(length);
    let near = connect(from, to.address, port);
    let (far, source) = listener.accept().unwrap();
    assert_eq!(source.ip(), from.address, "the sender's own address");
    std::thread::scope(|scope| {
        for mut stream in [&near, &far] {
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            let expected = &expected;
            scope.spawn(move || stream.write_all(expected).unwrap());
        }
        for mut stream in [&near, &far] {
            let expected = &expected;
            scope.spawn(move || {
                let mut received = vec![0; length];
                stream.read_exact(&mut received).unwrap();
                assert!(received == *expected, "the content differs");
            });
        }
    });
}

/// Datagrams of many lengths there and back. A lost one is sent again: UDP may lose.
fn exchange(from: &Member, to: &Member, lengths: &[usize]) {
    let socket = |member: &Member| {
        let address = member.address;
        member.inside(move || UdpSocket::bind((address, 0)).unwrap())
    };
    let (server, client) = (socket(to), socket(from));
    client.connect(server.local_addr().unwrap()).unwrap();
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    }
    let mut buffer = vec![0; 65_536];
    for length in lengths {
        let expected = content(*length);
        wait_until(LIMIT, &format!("a datagram of {length} bytes"), || {
            client.send(&expected)?;
            let (count, source) = server.recv_from(&mut buffer)?;
            server.send_to(&buffer[..count], source)?;
            let count = client.recv(&mut buffer)?;
            let differs = std::io::Error::from(ErrorKind::InvalidData);
            if buffer[..count] == expected { Ok(()) } else { Err(differs) }
        });
    }
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn tcp_and_udp_reach_neighbours_and_members_behind_them() {
    if !may_enter() {
        return;
    }
    let sandbox = Sandbox::new();
    let row = Overlay::new(&sandbox, &[1_500, 1_500], None);
    let [a, b, c] = &row.members[..] else { unreachable!() };
    for member in &row.members {
        assert!(member.interface(&sandbox).starts_with("raptor0, MTU "));
    }
    for (from, to) in [(a, b), (a, c), (c, a)] {
        transfer(from, to, 10 << 20);
        exchange(from, to, &[1, 8, 500, 1_232, 1_300, 1_309, 1_310, 4_000, 20_000]);
        let ping = from.namespace.enter(&sandbox, "ping").args(["-c1", "-W5"]);
        ping.arg(to.address.to_string()).success();
    }
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn paths_of_every_width_carry_everything() {
    if !may_enter() {
        return;
    }
    for mtus in [[1_280, 1_280], [9_000, 1_280], [1_500, 9_000]] {
        let sandbox = Sandbox::new();
        let row = Overlay::new(&sandbox, &mtus, None);
        let [a, b, c] = &row.members[..] else { unreachable!() };
        for (from, to) in [(a, b), (b, c), (a, c), (c, a)] {
            transfer(from, to, 2 << 20);
            exchange(from, to, &[1_232, 1_400, 9_000]);
        }
        if mtus[0] == 9_000 {
            wait_until(CONVERGENCE_LIMIT, "a wide interface", || {
                let interface = a.interface(&sandbox);
                let mtu: Option<u32> = interface.rsplit(' ').next().unwrap().parse().ok();
                if mtu > Some(8_000) { Ok(()) } else { Err(interface) }
            });
            transfer(a, b, 20 << 20);
        }
    }
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_path_that_loses_one_packet_in_twenty_carries_everything() {
    if !may_enter() {
        return;
    }
    let sandbox = Sandbox::new();
    let row = Overlay::new(&sandbox, &[1_500, 1_500], None);
    let [a, b, c] = &row.members[..] else { unreachable!() };
    let rules = "table inet lossy {\n chain in {\n type filter hook input priority 0\n \
                 meta l4proto udp numgen random mod 100 < 5 drop\n }\n}\n";
    b.namespace.enter(&sandbox, "nft").args(["-f", "-"]).stdin(rules).success();
    transfer(a, b, 1 << 20);
    transfer(a, c, 1 << 20);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn device_and_routes_go_with_the_agent() {
    if !may_enter() {
        return;
    }
    let sandbox = Sandbox::new();
    let mut row = Overlay::new(&sandbox, &[1_500], None);
    for signal in [Signal::TERM, Signal::KILL] {
        let member = &mut row.members[0];
        assert!(member.has_device(&sandbox));
        let routes = member.namespace.enter(&sandbox, "ip").args(["-6", "route"]).success();
        assert!(routes.stdout.contains(" dev raptor0 "), "{routes:?}");
        let mut agent = member.agent.take().unwrap();
        agent.signal(signal);
        wait_until(CONVERGENCE_LIMIT, "the agent's end", || {
            if agent.is_running() { Err("runs") } else { Ok(()) }
        });
        wait_until(CONVERGENCE_LIMIT, "no device", || {
            if member.has_device(&sandbox) { Err("it is there") } else { Ok(()) }
        });
        let routes = member.namespace.enter(&sandbox, "ip").args(["-6", "route"]).success();
        assert!(!routes.stdout.contains("fc"), "{routes:?}");
        member.run(&sandbox, false);
        member.wait_for(&sandbox, 2);
        let [a, b] = &row.members[..] else { unreachable!() };
        transfer(a, b, 100_000);
    }
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_member_without_the_right_works_beside_those_that_have_it() {
    if !may_enter() {
        return;
    }
    let sandbox = Sandbox::new();
    let row = Overlay::new(&sandbox, &[1_500, 1_500], Some(1));
    let [a, b, c] = &row.members[..] else { unreachable!() };
    assert_eq!(
        b.interface(&sandbox),
        "none: this user may not make network devices (CAP_NET_ADMIN)"
    );
    assert!(!b.has_device(&sandbox));
    b.raptor(&sandbox).args(["status"]).success().stdout_contains("all is well");
    // It still carries what others send through it, and answers the program itself.
    transfer(a, c, 1 << 20);
    let members = a.raptor(&sandbox).args(["members", "-o", "json"]).success().stdout_json();
    let address = b.address.to_string();
    let of_b = |member: &&Value| member["address"] == address.as_str();
    let name = members.as_array().unwrap().iter().find(of_b).unwrap()["name"].as_str().unwrap();
    a.raptor(&sandbox)
        .args(["exec", "--on", name, "--", "echo", "here"])
        .success()
        .stdout_contains("here");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_hop_shows_nothing_in_clear() {
    if !may_enter() {
        return;
    }
    let sandbox = Sandbox::new();
    let row = Overlay::new(&sandbox, &[1_500, 1_500], None);
    let [a, b, c] = &row.members[..] else { unreachable!() };
    // ETH_P_ALL, in network order: everything that passes the relay's cables.
    let all = Protocol::from_raw(NonZeroU32::new(u32::from(3u16.to_be())).unwrap());
    let (family, kind) = (AddressFamily::PACKET, SocketType::RAW);
    let open = || rustix::net::socket_with(family, kind, SocketFlags::NONBLOCK, Some(all)).unwrap();
    let capture = b.inside(open);
    let secret = b"nobody on the way reads this line".repeat(40);
    let listener = listener(c);
    let port = listener.local_addr().unwrap().port();
    let mut near = connect(a, c.address, port);
    let (mut far, _) = listener.accept().unwrap();
    far.set_read_timeout(Some(LIMIT)).unwrap();
    near.write_all(&secret).unwrap();
    let mut received = vec![0; secret.len()];
    far.read_exact(&mut received).unwrap();
    assert_eq!(received, secret);
    let (mut packets, mut bytes) = (0, 0);
    let mut buffer = vec![0; 65_536];
    while let Ok((length, _)) = rustix::net::recv(&capture, &mut buffer, RecvFlags::empty()) {
        packets += 1;
        bytes += length;
        let seen = &buffer[..length];
        assert!(!seen.windows(16).any(|window| window == &secret[..16]), "in clear");
    }
    assert!(packets >= 4 && bytes > 2 * secret.len(), "{packets} packets, {bytes} bytes seen");
}

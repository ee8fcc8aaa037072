use std::collections::BTreeSet;
use std::time::Duration;

use super::*;

fn local(text: &str) -> MeshSocket {
    MeshSocket::bind(Some(text.parse().unwrap())).unwrap()
}

/// Where `receiver` is reached through the loopback address `ip`.
fn at(receiver: &MeshSocket, ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), receiver.local_address().unwrap().port())
}

/// Waits for a datagram. The limit is met only when one was lost.
async fn readable(receiver: &MeshSocket) {
    tokio::time::timeout(Duration::from_secs(20), receiver.ready()).await.unwrap().unwrap();
}

/// A datagram that says which it is and fills a length of its own.
fn datagram(index: u32) -> Vec<u8> {
    let length = [1_400, 1_400, 1_400, 200, 32, 1_452, 1_452, 900][index as usize % 8];
    let mut bytes = vec![index.to_le_bytes()[0]; length];
    bytes[..4].copy_from_slice(&index.to_le_bytes());
    bytes
}

/// Sends 1,000 datagrams in bursts, each awaited before the next so that no buffer overflows.
async fn exchange(sender: &mut MeshSocket, receiver: &mut MeshSocket, destination: SocketAddr) {
    const BURST: u32 = 50;
    let mut seen = Vec::new();
    for burst in 0..20 {
        let indices = burst * BURST..(burst + 1) * BURST;
        for index in indices.clone() {
            sender.send(destination, &datagram(index));
        }
        sender.flush();
        while seen.len() < indices.end as usize {
            readable(receiver).await;
            receiver
                .receive(|source, bytes| {
                    assert_eq!(source, at_source(sender, source));
                    let index = u32::from_le_bytes(bytes[..4].try_into().unwrap());
                    assert_eq!(bytes, datagram(index));
                    seen.push(index);
                })
                .unwrap();
        }
    }
    assert_eq!(seen, (0..1_000).collect::<Vec<_>>());
    assert_eq!(sender.counters(), SocketCounters { sent: 1_000, ..SocketCounters::default() });
    assert_eq!(receiver.counters().received, 1_000);
}

/// The sender's port, at a plain address of the family that the receiver saw.
fn at_source(sender: &MeshSocket, seen: SocketAddr) -> SocketAddr {
    let ip = if seen.is_ipv4() { "127.0.0.1" } else { "::1" };
    at(sender, ip)
}

#[tokio::test]
async fn a_thousand_mixed_datagrams_pass_on_ipv4() {
    let (mut sender, mut receiver) = (local("127.0.0.1:0"), local("127.0.0.1:0"));
    let destination = receiver.local_address().unwrap();
    exchange(&mut sender, &mut receiver, destination).await;
}

#[tokio::test]
async fn a_thousand_mixed_datagrams_pass_on_ipv6() {
    let (mut sender, mut receiver) = (local("[::1]:0"), local("[::1]:0"));
    let destination = receiver.local_address().unwrap();
    exchange(&mut sender, &mut receiver, destination).await;
}

#[tokio::test]
async fn a_socket_on_all_addresses_speaks_both_families_with_plain_addresses() {
    let mut any = MeshSocket::bind(None).unwrap();
    let mut receiver = local("127.0.0.1:0");
    let destination = receiver.local_address().unwrap();
    exchange(&mut any, &mut receiver, destination).await;

    for (bound, ip) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1")] {
        let mut any = MeshSocket::bind(None).unwrap();
        let destination = at(&any, ip);
        exchange(&mut local(bound), &mut any, destination).await;
    }
}

#[tokio::test]
async fn consecutive_datagrams_of_one_size_share_a_system_call() {
    let (mut sender, mut receiver) = (local("127.0.0.1:0"), local("127.0.0.1:0"));
    let destination = receiver.local_address().unwrap();
    for _ in 0..20 {
        sender.send(destination, &[7; 1_000]);
    }
    sender.flush();
    let mut slots = BTreeSet::new();
    let mut count = 0;
    while count < 20 {
        readable(&receiver).await;
        count += receiver
            .receive(|_, bytes| {
                slots.insert(bytes.as_ptr() as usize / RECEIVE_BUFFER_BYTES);
            })
            .unwrap();
    }
    assert_eq!(count, 20);
    // A kernel without offload carries them all the same, each by itself.
    let has_offload = sender.state.max_gso_segments() > 1 && receiver.state.gro_segments() > 1;
    assert!(
        slots.len() <= if has_offload { 2 } else { 20 },
        "20 datagrams came in {} buffers",
        slots.len()
    );
}

#[tokio::test]
async fn nothing_waits_when_there_is_nothing() {
    let mut socket = local("127.0.0.1:0");
    assert_eq!(socket.receive(|_, _| panic!("nobody sent")).unwrap(), 0);
    socket.flush();
    assert_eq!(socket.counters(), SocketCounters::default());
}

#[tokio::test]
async fn a_full_backlog_drops_and_counts() {
    let mut sender = local("127.0.0.1:0");
    let destination = sender.local_address().unwrap();
    let fitting = BACKLOG_BYTES_MAX / 1_000;
    for _ in 0..fitting + 7 {
        sender.send(destination, &[0; 1_000]);
    }
    assert_eq!(sender.counters().dropped, 7);
    sender.ready().await.unwrap();
    while !sender.backlog.is_empty() {
        sender.flush();
        sender.ready().await.unwrap();
    }
    assert_eq!(sender.counters().sent, fitting as u64);
}

#[tokio::test]
async fn a_refused_datagram_does_not_hold_up_the_next() {
    let (mut sender, mut receiver) = (local("127.0.0.1:0"), local("127.0.0.1:0"));
    let destination = receiver.local_address().unwrap();
    // Bound to loopback, the kernel knows no way out.
    sender.send("192.0.2.1:9".parse().unwrap(), b"lost");
    sender.send("[2001:db8::1]:9".parse().unwrap(), b"lost");
    sender.send(destination, b"kept");
    sender.flush();
    readable(&receiver).await;
    let mut seen = Vec::new();
    receiver.receive(|_, bytes| seen.push(bytes.to_vec())).unwrap();
    assert_eq!(seen, [b"kept".to_vec()]);
    assert_eq!(sender.counters().dropped, 1);
    assert_eq!((sender.counters().sent, sender.counters().refused), (1, 1));
}

#[tokio::test]
async fn a_busy_port_is_named() {
    let first = local("127.0.0.1:0");
    let address = first.local_address().unwrap();
    let error = MeshSocket::bind(Some(address)).unwrap_err();
    assert!(matches!(error, SocketError::AddressInUse { address: busy } if busy == address));
    let port = address.port();
    assert_eq!(error.to_string(), format!("UDP port {port} is in use (address {address})"));
}

#[tokio::test]
async fn a_foreign_address_is_named() {
    let error = MeshSocket::bind(Some("192.0.2.1:0".parse().unwrap())).unwrap_err();
    assert_eq!(error.to_string(), "this machine has no address 192.0.2.1");
}

#[test]
fn a_machine_without_ipv6_listens_on_all_of_ipv4() {
    let off = io::Error::from_raw_os_error(rustix::io::Errno::AFNOSUPPORT.raw_os_error());
    let wish = "[::]:4863".parse().unwrap();
    assert_eq!(without_ipv6(wish, &off), Some("0.0.0.0:4863".parse().unwrap()));
    assert_eq!(without_ipv6("[2001:db8::1]:4863".parse().unwrap(), &off), None);
    assert_eq!(without_ipv6(wish, &io::Error::from(ErrorKind::AddrInUse)), None);
}

#[test]
fn each_family_names_addresses_its_own_way() {
    let name = |family, text: &str| {
        address_for(family, text.parse().unwrap()).map(|address| address.to_string())
    };
    assert_eq!(name(Family::Both, "192.0.2.1:9").unwrap(), "[::ffff:192.0.2.1]:9");
    assert_eq!(name(Family::Both, "[2001:db8::1]:9").unwrap(), "[2001:db8::1]:9");
    assert_eq!(name(Family::V4, "[::ffff:192.0.2.1]:9").unwrap(), "192.0.2.1:9");
    assert_eq!(name(Family::V4, "[2001:db8::1]:9"), None);
    assert_eq!(name(Family::V6, "192.0.2.1:9"), None);
}

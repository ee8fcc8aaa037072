mod network;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join_all, poll_immediate};
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::mesh::stream::endpoint::StreamEndpoint;
use crate::mesh::stream::error::StreamError;
use crate::mesh::stream::frame::{read_frame, write_frame};
use crate::mesh::stream::keep_alive::KeepAlive;
use crate::mesh::stream::lane::lane;
use crate::mesh::stream::tests::network::{Machine, Members, Network, key};
use crate::mesh::stream::trust::Trust;

const MESSAGE_MAX: usize = 16 << 20;

/// Answers each message with its SHA-256.
fn serve(machine: &Machine) {
    let streams = machine.streams.clone();
    tokio::spawn(async move {
        while let Some((_, connection)) = streams.accept().await {
            tokio::spawn(async move {
                while let Ok((sender, receiver)) = connection.accept_bi().await {
                    tokio::spawn(answer(sender, receiver));
                }
            });
        }
    });
}

async fn answer(mut sender: SendStream, mut receiver: RecvStream) {
    while let Ok(Some(message)) = read_frame(&mut receiver, MESSAGE_MAX).await {
        if write_frame(&mut sender, &Sha256::digest(&message)).await.is_err() {
            return;
        }
    }
}

/// Sends `message` and returns the answer.
async fn ask(connection: &Connection, message: &[u8]) -> Option<Bytes> {
    let (mut sender, mut receiver) = connection.open_bi().await.ok()?;
    write_frame(&mut sender, message).await.ok()?;
    sender.finish().ok()?;
    read_frame(&mut receiver, MESSAGE_MAX).await.ok()?
}

/// Two machines that trust each other; the second one serves.
fn pair(network: &Network) -> (Machine, Machine, Arc<Members>) {
    let keys = [key(1), key(2)];
    let members = Members::of(&keys);
    let client = network.start(&keys[0], &members);
    let server = network.start(&keys[1], &members);
    serve(&server);
    (client, server, members)
}

#[tokio::test(start_paused = true)]
async fn eight_megabytes_arrive_whole_though_packets_are_lost() {
    let network = Network::default();
    network.lose(5);
    let (client, server, _) = pair(&network);
    let message: Vec<u8> = (0..2_000_000u32).flat_map(u32::to_le_bytes).collect();
    let connection = client.streams.connect(server.node).await.unwrap();
    let answer = ask(&connection, &message).await.unwrap();
    assert_eq!(answer, Sha256::digest(&message).as_slice());
    assert!(connection.stats().path.lost_packets > 100, "{:?}", connection.stats().path);
}

#[tokio::test(start_paused = true)]
async fn many_streams_share_a_connection() {
    let network = Network::default();
    let (client, server, _) = pair(&network);
    let asked = (0..600u32).map(async |number| {
        let connection = client.streams.connect(server.node).await.unwrap();
        let answer = ask(&connection, &number.to_le_bytes()).await.unwrap();
        assert_eq!(answer, Sha256::digest(number.to_le_bytes()).as_slice());
        connection.stable_id()
    });
    let ids = join_all(asked).await;
    assert!(ids.iter().all(|id| *id == ids[0]), "one dial for all");
    assert_eq!((client.streams.peers(), server.streams.peers()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn another_key_behind_the_address_is_refused() {
    let network = Network::default();
    let keys = [key(1), key(2), key(3)];
    let members = Members::of(&keys);
    let client = network.start(&keys[0], &members);
    let impostor = network.start(&keys[1], &members);
    let node = keys[2].node_id();
    network.impersonate(node, impostor.node);
    let error = client.streams.connect(node).await.unwrap_err();
    assert!(matches!(error, StreamError::WrongKey(named) if named == node), "{error}");
    assert_eq!(impostor.streams.peers(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_untrusted_client_is_refused_at_once() {
    let network = Network::default();
    let (stranger, server) = (key(1), key(2));
    let client = network.start(&stranger, &Members::of([&server]));
    let server = network.start(&server, &Members::of([]));
    let start = Instant::now();
    let error = client.streams.connect(server.node).await.unwrap_err();
    assert!(matches!(error, StreamError::Refused(node) if node == server.node), "{error}");
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!((client.streams.peers(), server.streams.peers()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_evicted_member_is_dropped_and_stays_out() {
    let network = Network::default();
    let keys = [key(1), key(2)];
    let (client_trust, server_trust) = (Members::of(&keys), Members::of(&keys));
    let client = network.start(&keys[0], &client_trust);
    let server = network.start(&keys[1], &server_trust);
    serve(&server);
    let connection = client.streams.connect(server.node).await.unwrap();
    assert!(ask(&connection, b"before").await.is_some());

    server_trust.remove(client.node);
    server.streams.drop_untrusted();
    let ended = connection.closed().await;
    assert!(matches!(ended, ConnectionError::ApplicationClosed(_)), "{ended}");
    assert!(ask(&connection, b"after").await.is_none());
    let error = client.streams.connect(server.node).await.unwrap_err();
    assert!(matches!(error, StreamError::Refused(_)), "{error}");

    client_trust.remove(server.node);
    let error = client.streams.connect(server.node).await.unwrap_err();
    assert!(matches!(error, StreamError::Untrusted(node) if node == server.node), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_peer_is_noticed_at_once_and_dialled_anew() {
    let network = Network::default();
    let keys = [key(1), key(2)];
    let members = Members::of(&keys);
    let client = network.start(&keys[0], &members);
    let server = network.start(&keys[1], &members);
    serve(&server);
    let first = client.streams.connect(server.node).await.unwrap();
    assert!(ask(&first, b"before").await.is_some());

    network.cut_off(server.node);
    drop(server);
    let server = network.start(&keys[1], &members);
    serve(&server);
    let start = Instant::now();
    assert!(ask(&first, b"to the one that is gone").await.is_none());
    assert_eq!(first.close_reason(), Some(ConnectionError::Reset));
    let second = client.streams.connect(server.node).await.unwrap();
    assert_ne!(first.stable_id(), second.stable_id());
    assert!(ask(&second, b"after").await.is_some());
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_restarts_often_holds_few_connections() {
    let network = Network::default();
    let keys = [key(1), key(2)];
    let members = Members::of(&keys);
    let server = network.start(&keys[1], &members);
    let mut accepted = Vec::new();
    for _ in 0..6 {
        let client = network.start(&keys[0], &members);
        client.streams.connect(server.node).await.unwrap();
        accepted.push(server.streams.accept().await.unwrap().1);
        network.cut_off(client.node);
    }
    let closed = |connection: &Connection| connection.close_reason().is_some();
    assert_eq!(
        accepted.iter().map(closed).collect::<Vec<_>>(),
        [true, true, false, false, false, false]
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_there_is_a_timeout_that_names_the_machine() {
    let network = Network::default();
    let keys = [key(1), key(2)];
    let client = network.start(&keys[0], &Members::of(&keys));
    let node = keys[1].node_id();
    let start = Instant::now();
    let dials = join_all((0..10).map(|_| client.streams.connect(node))).await;
    assert_eq!(start.elapsed().as_secs(), 5, "all waited for one dial");
    for dial in dials {
        let text = dial.unwrap_err().to_string();
        assert_eq!(text, format!("machine {node} did not answer within 5000 ms"));
    }
    let error = client.streams.connect(client.node).await.unwrap_err();
    assert!(matches!(error, StreamError::Itself(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_dial_goes_on_when_its_caller_gives_up() {
    let network = Network::default();
    let (client, server, _) = pair(&network);
    assert!(poll_immediate(client.streams.connect(server.node)).await.is_none());
    let connection = client.streams.connect(server.node).await.unwrap();
    assert!(ask(&connection, b"hello").await.is_some());
    assert_eq!(server.streams.peers(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_ends_unless_somebody_waits_on_it() {
    let network = Network::default();
    let (client, server, _) = pair(&network);
    let connection = client.streams.connect(server.node).await.unwrap();
    let guard = KeepAlive::new(&connection);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(ask(&connection, b"still there").await.is_some());
    drop(guard);
    let start = Instant::now();
    assert_eq!(connection.closed().await, ConnectionError::TimedOut);
    assert_eq!(start.elapsed().as_secs(), 30);
    let again = client.streams.connect(server.node).await.unwrap();
    assert!(ask(&again, b"again").await.is_some());
    drop(again);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((client.streams.peers(), server.streams.peers()), (0, 0), "nothing is kept");
}

#[tokio::test(start_paused = true)]
async fn a_closed_peer_may_come_back() {
    let network = Network::default();
    let (client, server, _) = pair(&network);
    let first = client.streams.connect(server.node).await.unwrap();
    assert!(ask(&first, b"one").await.is_some());
    server.streams.close_peer(client.node);
    first.closed().await;
    let second = client.streams.connect(server.node).await.unwrap();
    assert!(ask(&second, b"two").await.is_some());
    client.streams.close_peer(server.node);
    assert!(second.close_reason().is_some());
    assert_eq!(client.streams.peers(), 0);
}

#[tokio::test(start_paused = true)]
async fn closing_tells_the_peer_and_ends_accepting() {
    let network = Network::default();
    let (client, server, _) = pair(&network);
    let connection = client.streams.connect(server.node).await.unwrap();
    server.streams.close().await;
    let ended = connection.closed().await;
    assert!(matches!(ended, ConnectionError::ApplicationClosed(_)), "{ended}");
    assert!(server.streams.accept().await.is_none());
    let error = server.streams.connect(client.node).await.unwrap_err();
    assert!(matches!(error, StreamError::Closed), "{error}");
}

#[tokio::test(start_paused = true)]
async fn queues_hold_no_more_than_their_bound() {
    const CAPACITY: usize = 8;
    let keys = [key(1), key(2)];
    let (lane, mut driver) = lane(keys[0].node_id(), CAPACITY);
    let trust: Arc<dyn Trust> = Members::of(&keys);
    let streams = StreamEndpoint::new(&keys[0], trust, lane).unwrap();
    // Nobody carries packets: a dial repeats itself until the queue is full, and then waits.
    let error = streams.connect(keys[1].node_id()).await.unwrap_err();
    assert!(matches!(error, StreamError::Timeout { .. }), "{error}");
    let mut waiting = 0;
    while let Some((address, packet)) = driver.try_outgoing() {
        assert_eq!(address, keys[1].node_id().address());
        assert!(packet.len() <= 1_300);
        waiting += 1;
    }
    assert!((1..=CAPACITY).contains(&waiting), "{waiting} packets waited");
    for _ in 0..100 {
        driver.incoming(keys[1].node_id(), Bytes::from_static(b"no QUIC packet"));
    }
    assert_eq!(driver.dropped(), 92);
}

#[tokio::test(start_paused = true)]
async fn without_its_driver_an_endpoint_ends() {
    let network = Network::default();
    let (client, server, _) = pair(&network);
    let connection = client.streams.connect(server.node).await.unwrap();
    let streams = client.streams.clone();
    drop(client);
    connection.closed().await;
    assert!(streams.accept().await.is_none());
    assert!(matches!(streams.connect(server.node).await, Err(StreamError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn without_its_endpoint_a_driver_ends() {
    let keys = [key(1)];
    let (lane, mut driver) = lane(keys[0].node_id(), 8);
    let trust: Arc<dyn Trust> = Members::of(&keys);
    drop(StreamEndpoint::new(&keys[0], trust, lane).unwrap());
    assert_eq!(driver.outgoing().await, None);
}

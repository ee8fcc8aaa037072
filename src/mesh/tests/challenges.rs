//! Cookies between two meshes: what is asked, what is answered, what is not.

use std::net::Ipv6Addr;
use std::net::SocketAddr;

use super::*;
use crate::mesh::challenge::write_initiation;
use crate::mesh::cookie;
use crate::mesh::fixture::cluster;
use crate::mesh::handshake::mac_key;
use crate::mesh::wire::CHALLENGE_LENGTH;
use crate::mesh::wire::MAC_LENGTH;
use crate::mesh::wire::write_challenge;

fn false_source(number: u32) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::from_bits(u128::from(number) << 64).into(), 9)
}

/// Copies of a true initiation from ten thousand false addresses, while another member comes.
#[test]
fn a_flood_from_false_addresses_keeps_nobody_out_and_makes_nothing_longer() {
    let mut sim = Sim::new(3, 86);
    sim.cut(1, 2);
    sim.start(0);
    sim.capture = Some(Vec::new());
    sim.start(1);
    sim.run(seconds(1));
    let captured = sim.capture.take().unwrap();
    let target = sim.machines[0].endpoint;
    let first = captured.iter().find(|sent| sent.destination == target && sent.datagram[1] == 1);
    let initiation = first.unwrap().datagram.clone();
    sim.capture = Some(Vec::new());
    let read_before = sim.mesh(0).initiations_read;
    for step in 0..100 {
        for number in 0..100 {
            let (source, datagram) = (false_source(step * 100 + number), initiation.clone());
            sim.post(Sent { source, destination: target, datagram });
        }
        if step == 20 {
            sim.start(2);
        }
        sim.run(Duration::from_millis(10));
    }
    assert!(sim.is_connected(&[0, 2]), "the third got in during the flood");
    let read = sim.mesh(0).initiations_read - read_before;
    assert!(read <= 128 + 64 + 4, "{read} first messages were read");
    let captured = sim.capture.take().unwrap();
    let bytes = |sent: &Sent| sent.datagram.len();
    let asked = captured.iter().filter(|sent| sent.source.port() == 9).map(bytes).sum::<usize>();
    let answered =
        captured.iter().filter(|sent| sent.destination.port() == 9).map(bytes).sum::<usize>();
    assert!(answered > 0 && answered * 2 < asked, "{answered} bytes for {asked}");
}

#[test]
fn a_first_message_shorter_than_a_challenge_gets_none() {
    let mut sim = Sim::running(2, 87);
    sim.run(seconds(1));
    let (now, target) = (sim.now, key(0).node_id());
    let mut answers = |noise: &[u8]| {
        let datagram = write_initiation(7, noise, &mac_key(&target, cluster(0)));
        let answers = (0..300).map(|number| {
            sim.with(0, |mesh| {
                mesh.handle_datagram(now, false_source(number), &mut datagram.clone());
                let answer = mesh.poll_output();
                assert!(mesh.poll_output().is_none());
                answer
            })
        });
        let lengths = answers.flatten().map(|output| match output {
            Output::Transmit { datagram, .. } => datagram.len(),
            other => panic!("{other:?}"),
        });
        (datagram.len(), lengths.collect::<Vec<_>>())
    };
    let (length, none) = answers(&[0; 15]);
    assert!(length < CHALLENGE_LENGTH && none.is_empty());
    let (length, some) = answers(&[0; 16]);
    assert!(length == CHALLENGE_LENGTH && some.iter().all(|answer| *answer == CHALLENGE_LENGTH));
    assert!(!some.is_empty());
}

#[test]
fn a_challenge_is_followed_four_times_and_only_to_where_was_dialled() {
    let mut sim = Sim::new(2, 88);
    sim.capture = Some(Vec::new());
    sim.start(0);
    let now = sim.now;
    sim.with(0, |mesh| mesh.handle_timeout(now));
    let captured = sim.capture.take().unwrap();
    let initiation = &captured[0].datagram;
    let index = u32::from_be_bytes(initiation[4..8].try_into().unwrap());
    let first_mac = &initiation[initiation.len() - 2 * MAC_LENGTH..][..MAC_LENGTH];
    let mut follow = |source: SocketAddr, responder: usize, salt: u8| {
        let responder = key(responder).node_id();
        let sealed = cookie::seal(&responder, cluster(0), &[salt; 16], first_mac, [7; 16]).unwrap();
        let mut challenge = write_challenge(index, &[salt; 16], &sealed);
        let now = sim.now;
        sim.with(0, |mesh| {
            mesh.handle_datagram(now, source, &mut challenge);
            mesh.poll_output()
        })
    };
    let dialled = captured[0].destination;
    assert_eq!(follow(false_source(1), 1, 1), None);
    assert_eq!(follow(dialled, 5, 2), None, "not sealed by the responder");
    for salt in 3..7 {
        let Some(Output::Transmit { destination, datagram }) = follow(dialled, 1, salt) else {
            panic!("not followed");
        };
        assert_eq!(destination, dialled);
        let (provable, proof) = datagram.split_last_chunk::<MAC_LENGTH>().unwrap();
        assert_eq!(provable, &initiation[..provable.len()]);
        assert_eq!(*proof, cookie::proof_of(&[7; 16], provable));
    }
    assert_eq!(follow(dialled, 1, 8), None);
}

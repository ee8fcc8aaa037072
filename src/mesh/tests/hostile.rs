//! Machines that may not speak, and packets that lie.

use super::*;
use crate::mesh::core::Mesh;
use crate::mesh::fixture::cluster;
use crate::mesh::settings::MeshSettings;

#[test]
fn an_evicted_machine_is_refused_and_forgotten() {
    let mut sim = Sim::running(3, 20);
    sim.run_until(seconds(3), |sim| sim.is_connected(&[0, 1, 2]));
    let without: Vec<_> = sim.peers(|_| true).into_iter().take(2).collect();
    sim.set_peers(0, without.clone());
    sim.set_peers(1, without);
    assert_eq!(sim.link_count(0), 1);
    sim.run(seconds(60));
    for index in 0..2 {
        assert_eq!(sim.link_count(index), 1);
        assert_eq!(sim.route(index, 2), None);
        let states = &sim.mesh(index).states;
        assert!(states.get(sim.machines[2].id.address()).is_none());
        assert!(sim.mesh(index).indices.len() <= 2);
    }
    assert_eq!(sim.link_count(2), 0);
    let all = sim.peers(|_| true);
    sim.set_peers(0, all.clone());
    sim.set_peers(1, all);
    sim.run_until(seconds(40), |sim| sim.is_connected(&[0, 1, 2]));
}

#[test]
fn an_unknown_key_is_not_answered() {
    let mut sim = Sim::new(2, 21);
    sim.start(0);
    sim.start(1);
    let own_only: Vec<_> = sim.peers(|_| true).into_iter().take(1).collect();
    sim.set_peers(0, own_only);
    sim.capture = Some(Vec::new());
    sim.run(seconds(30));
    let captured = sim.capture.take().unwrap();
    assert!(captured.iter().any(|sent| sent.destination == sim.machines[0].endpoint));
    assert!(captured.iter().all(|sent| sent.source != sim.machines[0].endpoint));
}

#[test]
fn another_cluster_is_not_answered() {
    let mut sim = Sim::new(2, 22);
    sim.start(0);
    let settings = MeshSettings::default();
    let wall = Timestamp::from_millis(1_000_000);
    let stranger = Mesh::new(key(1), cluster(1), settings, [9; 32], sim.now, wall);
    sim.machines[1].mesh = Some(stranger);
    let peers = sim.peers(|_| true);
    sim.set_peers(1, peers);
    sim.run(seconds(20));
    assert_eq!((sim.link_count(0), sim.link_count(1)), (0, 0));
}

/// Every datagram ever sent to a machine comes again, from elsewhere.
fn replay(sim: &mut Sim, captured: &[Sent], to: usize) {
    let endpoint = sim.machines[to].endpoint;
    for sent in captured.iter().filter(|sent| sent.destination == endpoint) {
        sim.post(Sent { source: "203.0.113.5:5".parse().unwrap(), ..sent.clone() });
    }
    sim.run(Duration::from_millis(100));
}

#[test]
fn repeated_packets_disturb_no_link() {
    let mut sim = Sim::new(2, 23);
    sim.capture = Some(Vec::new());
    sim.start(0);
    sim.start(1);
    sim.run(seconds(150));
    let captured = sim.capture.take().unwrap();
    let endpoint = sim.machines[1].endpoint;
    replay(&mut sim, &captured, 0);
    assert_eq!(sim.mesh(0).link_endpoint(sim.machines[1].id), Some(endpoint));
    assert_eq!(sim.count(0, is_down) + sim.count(1, is_down), 0);
    assert!(delivers(&mut sim, 0, 1) && delivers(&mut sim, 1, 0));
    // A machine started anew remembers no timestamps: old handshakes are answered, and lead nowhere.
    sim.start(0);
    replay(&mut sim, &captured, 0);
    sim.run_until(seconds(2), |sim| sim.is_connected(&[0, 1]));
    replay(&mut sim, &captured, 0);
    assert_eq!(sim.mesh(0).link_endpoint(sim.machines[1].id), Some(endpoint));
    assert!(delivers(&mut sim, 0, 1) && delivers(&mut sim, 1, 0));
    sim.run(seconds(10));
    assert_eq!(sim.count(1, is_down), 0);
}

#[test]
fn answers_are_never_longer_than_questions() {
    let mut sim = Sim::new(2, 24);
    sim.capture = Some(Vec::new());
    sim.start(0);
    sim.start(1);
    sim.run(Duration::from_millis(10));
    let captured = sim.capture.take().unwrap();
    let length = |kind: u8| {
        captured.iter().filter(move |sent| sent.datagram[1] == kind).map(|sent| sent.datagram.len())
    };
    assert!(length(2).max().unwrap() < length(1).min().unwrap());
}

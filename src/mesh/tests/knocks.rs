//! Admission by ticket.

use std::collections::BTreeSet;

use super::*;
use crate::mesh::output::KnockId;

const TICKET: usize = 7;

/// A host that invites, and a stranger that knocks.
fn knocking(loss_percent: u32, request: &[u8]) -> Sim {
    let mut sim = Sim::new(2, 30);
    sim.loss_percent = loss_percent;
    for index in 0..2 {
        sim.start(index);
        let only: Vec<_> = sim.peers(|_| true).into_iter().skip(index).take(1).collect();
        sim.set_peers(index, only);
    }
    let invitations = BTreeSet::from([key(TICKET).node_id()]);
    sim.with(0, |mesh| mesh.set_invitations(invitations));
    let (now, host) = (sim.now, sim.machines[0].id);
    let endpoints = vec![sim.machines[0].endpoint];
    sim.with(1, |mesh| mesh.knock(now, &key(TICKET), host, endpoints, request.to_vec()));
    sim
}

fn heard(sim: &Sim) -> Option<(KnockId, Vec<u8>)> {
    sim.machines[0].outputs.iter().rev().find_map(|output| match output {
        Output::Knock { knock, invitation, request, .. } => {
            assert_eq!(*invitation, key(TICKET).node_id());
            Some((*knock, request.to_vec()))
        }
        _ => None,
    })
}

fn answer(sim: &Sim) -> Option<Vec<u8>> {
    sim.machines[1].outputs.iter().find_map(|output| match output {
        Output::KnockAnswered { response } => Some(response.to_vec()),
        _ => None,
    })
}

#[test]
fn request_and_answer_cross_a_lossy_network() {
    let request: Vec<u8> = (0..30_000u32).map(|index| index.to_be_bytes()[3]).collect();
    let response: Vec<u8> = (0..60_000u32).map(|index| (index * 7).to_be_bytes()[3]).collect();
    let mut sim = knocking(20, &request);
    sim.run_until(seconds(20), |sim| heard(sim).is_some());
    let (knock, heard_request) = heard(&sim).unwrap();
    assert_eq!(heard_request, request);
    sim.run(seconds(3));
    let now = sim.now;
    sim.with(0, |mesh| mesh.answer_knock(now, knock, response.clone()));
    sim.run_until(seconds(20), |sim| answer(sim).is_some());
    assert_eq!(answer(&sim), Some(response));
    sim.run(seconds(70));
    assert!(sim.mesh(0).indices.is_empty() && sim.mesh(1).indices.is_empty());
    assert_eq!((sim.link_count(0), sim.link_count(1)), (0, 0));
}

#[test]
fn empty_request_and_answer_cross_too() {
    let mut sim = knocking(0, b"");
    sim.run_until(seconds(1), |sim| heard(sim).is_some());
    let (knock, request) = heard(&sim).unwrap();
    assert!(request.is_empty());
    let now = sim.now;
    sim.with(0, |mesh| mesh.answer_knock(now, knock, Vec::new()));
    sim.run_until(seconds(1), |sim| answer(sim).is_some());
}

#[test]
fn a_withdrawn_ticket_opens_nothing() {
    let mut sim = knocking(0, b"please");
    sim.with(0, |mesh| mesh.set_invitations(BTreeSet::new()));
    sim.run(seconds(30));
    assert_eq!(heard(&sim), None);
    let invitations = BTreeSet::from([key(TICKET).node_id()]);
    sim.with(0, |mesh| mesh.set_invitations(invitations));
    sim.run_until(seconds(40), |sim| heard(sim).is_some());
    sim.with(0, |mesh| mesh.set_invitations(BTreeSet::new()));
    assert!(sim.mesh(0).indices.is_empty());
}

#[test]
fn a_host_that_restarts_hears_the_knock_again() {
    let mut sim = knocking(0, b"please");
    sim.run_until(seconds(1), |sim| heard(sim).is_some());
    sim.start(0);
    let own_only: Vec<_> = sim.peers(|_| true).into_iter().take(1).collect();
    sim.set_peers(0, own_only);
    let invitations = BTreeSet::from([key(TICKET).node_id()]);
    sim.with(0, |mesh| mesh.set_invitations(invitations));
    sim.machines[0].outputs.clear();
    sim.run_until(seconds(10), |sim| heard(sim).is_some());
}

#[test]
fn a_ticket_key_makes_no_link_and_a_member_key_no_knock() {
    let mut sim = Sim::new(8, 31);
    sim.start(0);
    sim.start(TICKET);
    let own_only: Vec<_> = sim.peers(|_| true).into_iter().take(1).collect();
    sim.set_peers(0, own_only);
    let invitations = BTreeSet::from([key(TICKET).node_id()]);
    sim.with(0, |mesh| mesh.set_invitations(invitations));
    sim.run(seconds(10));
    assert_eq!(sim.link_count(0), 0);
    assert_eq!(heard(&sim), None);
}

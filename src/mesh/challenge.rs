//! Proofs of addresses, at both sides: initiations that are not read yet, and cookies for one's
//! own.

use std::net::SocketAddr;

use rand::Rng;
use ring::hmac;

use crate::mesh::cookie;
use crate::mesh::cookie::Admission;
use crate::mesh::core::IndexOwner;
use crate::mesh::core::Mesh;
use crate::mesh::handshake::mac;
use crate::mesh::output::Output;
use crate::mesh::wire;
use crate::mesh::wire::CHALLENGE_LENGTH;
use crate::mesh::wire::MAC_LENGTH;
use crate::mesh::wire::Packet;
use crate::mesh::wire::SEALED_COOKIE_LENGTH;
use crate::mesh::wire::write_challenge;
use crate::model::time::Moment;

/// Cookies taken for one attempt: each makes this machine send one datagram.
const CHALLENGES_MAX: u8 = 4;

/// An initiation with its first mac, and zeros for the proof that nobody has asked for.
pub(super) fn write_initiation(index: u32, noise: &[u8], mac_key: &hmac::Key) -> Vec<u8> {
    let mut datagram = wire::write_initiation(index, noise);
    let mac = mac(mac_key, &datagram);
    datagram.extend_from_slice(&mac);
    datagram.extend_from_slice(&[0; MAC_LENGTH]);
    datagram
}

impl Mesh {
    /// Whether an initiation is worth curve arithmetic; answers with a cookie if that is to be
    /// proved first.
    pub(super) fn admits(&mut self, now: Moment, source: SocketAddr, packet: &Packet<'_>) -> bool {
        let Packet::Initiation { sender, covered, mac: claimed, provable, proof, .. } = *packet
        else {
            return false;
        };
        // Not a secret worth the timing of its comparison: it only keeps scanners out.
        if mac(&self.own_mac_key, covered) != *claimed {
            return false;
        }
        match self.doorkeeper.admit(now, &mut self.random, source, provable, proof) {
            Admission::Read => return true,
            Admission::Drop => return false,
            // An answer is never longer than the question.
            Admission::Challenge(_) if provable.len() + MAC_LENGTH < CHALLENGE_LENGTH => {}
            Admission::Challenge(cookie) => {
                let mut salt = [0u8; 16];
                self.random.fill_bytes(&mut salt);
                let own = self.key.node_id();
                let sealed = cookie::seal(&own, self.cluster, &salt, claimed, cookie);
                if let Some(sealed) = sealed {
                    let datagram = write_challenge(sender, &salt, &sealed);
                    self.outputs.push_back(Output::Transmit { destination: source, datagram });
                }
            }
        }
        false
    }

    /// A responder wants a proof of this machine's address: the attempt's message goes there
    /// again, with the proof.
    pub(super) fn receive_challenge(
        &mut self,
        now: Moment,
        source: SocketAddr,
        index: u32,
        salt: &[u8; 16],
        sealed: &[u8; SEALED_COOKIE_LENGTH],
    ) {
        let (responder, candidates, dial) = match self.indices.get(&index) {
            Some(IndexOwner::Link(peer)) => {
                let Some(link) = self.links.get_mut(peer) else { return };
                (link.id, link.candidates(now), &mut link.dial)
            }
            Some(IndexOwner::Knocking) => {
                let Some(knocking) = &mut self.knocking else { return };
                (knocking.host, knocking.endpoints.clone(), &mut knocking.dial)
            }
            _ => return,
        };
        let attempt = dial.attempt_mut().filter(|attempt| attempt.index == index);
        let Some(attempt) = attempt else { return };
        if attempt.challenges >= CHALLENGES_MAX || !candidates.contains(&source) {
            return;
        }
        let Some((provable, proof)) = attempt.datagram.split_last_chunk_mut::<MAC_LENGTH>() else {
            return;
        };
        let Some(first_mac) = provable.last_chunk::<MAC_LENGTH>() else { return };
        let cookie = cookie::open(&responder, self.cluster, salt, first_mac, sealed);
        let Some(cookie) = cookie else { return };
        *proof = cookie::proof_of(&cookie, provable);
        attempt.challenges += 1;
        let datagram = attempt.datagram.clone();
        self.outputs.push_back(Output::Transmit { destination: source, datagram });
    }
}

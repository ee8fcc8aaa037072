//! Echoes: a question that a member answers, or a member on the way to it at which the question's
//! time to live ends. So a path is measured and its hops are named.
//!
//! Every answer proves its author to the one who asked, by a key that only these two can compute.
//! `docs/mesh.md` describes the message.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use curve25519_dalek::montgomery::MontgomeryPoint;
use rand::Rng;
use ring::hmac;
use sha2::Digest;
use sha2::Sha256;
use zeroize::Zeroize;

use crate::mesh::bucket::Bucket;
use crate::mesh::bucket::Rate;
use crate::mesh::core::Mesh;
use crate::mesh::output::Output;
use crate::mesh::output::SendError;
use crate::mesh::wire::Reader;
use crate::mesh::wire::Routed;
use crate::model::cluster::ClusterId;
use crate::model::identity::NodeId;
use crate::model::identity::SecretKey;
use crate::model::time::Moment;

/// The protocol of routed payloads that are echoes.
pub const PROTOCOL_ECHO: u8 = 4;
/// Hops a question may make when it is meant for its destination alone.
pub const ECHO_TTL_MAX: u8 = 32;
/// Questions answered, all members together: an answer costs two hashes, and with a member that
/// did not ask lately a scalar multiplication.
const ANSWERS: Rate = Rate { burst: 200, per_second: 200 };
/// Questions whose answer is awaited.
const PENDING_MAX: usize = 1_024;
/// An answer that comes later is none.
const PENDING_TIME: Duration = Duration::from_secs(30);
/// Members whose key is kept at hand.
const KEYS_MAX: usize = 64;
const MAC_LENGTH: usize = 16;

const KIND_QUESTION: u8 = 1;
const KIND_ANSWER: u8 = 2;
const KIND_EXPIRED: u8 = 3;

/// Names a question until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EchoToken(u64);

/// What is said in either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Message {
    kind: u8,
    /// Of the question: as it was sent, or in an answer as it came.
    ttl: u8,
    token: EchoToken,
    mac: [u8; MAC_LENGTH],
}

/// Between whom a message is.
#[derive(Debug, Clone, Copy)]
struct Ends {
    asker: Ipv6Addr,
    asked: Ipv6Addr,
    answerer: Ipv6Addr,
}

struct Pending {
    asked: Ipv6Addr,
    ttl: u8,
    sent_at: Moment,
}

/// Questions under way, and what answering costs.
pub(super) struct Echoes {
    keys: BTreeMap<Ipv6Addr, hmac::Key>,
    pending: BTreeMap<EchoToken, Pending>,
    answers: Bucket,
}

impl Echoes {
    pub(super) fn new(now: Moment) -> Self {
        let (keys, pending) = (BTreeMap::new(), BTreeMap::new());
        Self { keys, pending, answers: Bucket::new(ANSWERS, now) }
    }

    fn make_room(&mut self, now: Moment) -> bool {
        self.pending.retain(|_, pending| now.since(pending.sent_at) < PENDING_TIME);
        self.pending.len() < PENDING_MAX
    }
}

impl Message {
    fn sealed(key: &hmac::Key, kind: u8, ttl: u8, token: EchoToken, ends: Ends) -> Self {
        let mut message = Self { kind, ttl, token, mac: [0; MAC_LENGTH] };
        message.mac = message.expected_mac(key, ends);
        message
    }

    fn read(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(payload);
        Some(Self {
            kind: reader.u8()?,
            ttl: reader.u8()?,
            token: EchoToken(reader.u64()?),
            mac: reader.array()?,
        })
    }

    fn write(&self) -> Vec<u8> {
        [&[self.kind, self.ttl][..], &self.token.0.to_be_bytes(), &self.mac].concat()
    }

    fn expected_mac(&self, key: &hmac::Key, ends: Ends) -> [u8; MAC_LENGTH] {
        let mut context = hmac::Context::with_key(key);
        context.update(&[self.kind, self.ttl]);
        context.update(&self.token.0.to_be_bytes());
        for address in [ends.asker, ends.asked, ends.answerer] {
            context.update(&address.octets());
        }
        let tag = context.sign();
        let mut mac = [0; MAC_LENGTH];
        mac.iter_mut().zip(tag.as_ref()).for_each(|(byte, from)| *byte = *from);
        mac
    }

    /// Compares in constant time.
    fn is_authentic(&self, key: &hmac::Key, ends: Ends) -> bool {
        let expected = self.expected_mac(key, ends);
        expected.iter().zip(&self.mac).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
    }
}

/// The key that only `own` and `other` can compute: from the X25519 product of their keys.
fn shared_key(own: &SecretKey, other: &NodeId, cluster: ClusterId) -> hmac::Key {
    let mut shared = MontgomeryPoint(other.to_x25519()).mul_clamped(*own.to_x25519());
    let mut digest = Sha256::new();
    digest.update(b"raptor/1 echo\0");
    digest.update(cluster.as_bytes());
    digest.update(shared.as_bytes());
    shared.zeroize();
    hmac::Key::new(hmac::HMAC_SHA256, &digest.finalize())
}

impl Mesh {
    /// Asks `destination` for an answer; a member that gets the question after `ttl` hops answers
    /// in its place. What comes is an [`Output::Echoed`]. It may be lost, as any datagram.
    ///
    /// # Errors
    /// [`SendError`]: nothing was sent.
    pub fn echo(
        &mut self,
        now: Moment,
        destination: NodeId,
        ttl: u8,
    ) -> Result<EchoToken, SendError> {
        let asked = destination.address();
        if asked == self.own {
            return Err(SendError::ToItself);
        }
        let key = self.echo_key(asked).ok_or(SendError::Unknown(destination))?;
        if !self.echoes.make_room(now) {
            return Err(SendError::QueueFull(destination));
        }
        let token = EchoToken(self.random.next_u64());
        let ends = Ends { asker: self.own, asked, answerer: asked };
        let question = Message::sealed(&key, KIND_QUESTION, ttl, token, ends).write();
        let routed = Routed {
            ttl,
            destination: asked,
            source: self.own,
            protocol: PROTOCOL_ECHO,
            payload: &question,
        };
        if !self.forward(now, &routed, None) {
            return Err(SendError::NoRoute(destination));
        }
        self.echoes.pending.insert(token, Pending { asked, ttl, sent_at: now });
        Ok(token)
    }

    /// The key shared with the member at `address`; none for a stranger.
    fn echo_key(&mut self, address: Ipv6Addr) -> Option<hmac::Key> {
        let id = self.links.get(&address)?.id;
        if let Some(key) = self.echoes.keys.get(&address) {
            return Some(key.clone());
        }
        if self.echoes.keys.len() >= KEYS_MAX {
            self.echoes.keys.clear();
        }
        let key = shared_key(&self.key, &id, self.cluster);
        self.echoes.keys.insert(address, key.clone());
        Some(key)
    }

    /// An echo has come: for this machine, or as far as its time to live goes.
    pub(super) fn receive_echo(&mut self, now: Moment, routed: &Routed<'_>) {
        let Some(message) = Message::read(routed.payload) else { return };
        match message.kind {
            KIND_QUESTION => self.answer_echo(now, routed, message),
            KIND_ANSWER | KIND_EXPIRED if routed.destination == self.own => {
                self.echo_answered(now, routed.source, message);
            }
            _ => {}
        }
    }

    fn answer_echo(&mut self, now: Moment, routed: &Routed<'_>, question: Message) {
        let (source, asked) = (routed.source, routed.destination);
        if !self.links.contains_key(&source) || !self.echoes.answers.take(now) {
            return;
        }
        let Some(key) = self.echo_key(source) else { return };
        let ends = Ends { asker: source, asked, answerer: self.own };
        let kind = if asked == self.own {
            if !question.is_authentic(&key, ends) {
                return;
            }
            KIND_ANSWER
        } else {
            // What it proves, it proves to its destination; who asks is known by the neighbours.
            KIND_EXPIRED
        };
        let answer = Message::sealed(&key, kind, routed.ttl, question.token, ends).write();
        let routed = Routed {
            ttl: ECHO_TTL_MAX,
            destination: source,
            source: self.own,
            protocol: PROTOCOL_ECHO,
            payload: &answer,
        };
        self.forward(now, &routed, None);
    }

    fn echo_answered(&mut self, now: Moment, answerer: Ipv6Addr, answer: Message) {
        let token = answer.token;
        let Some(pending) = self.echoes.pending.get(&token) else { return };
        let (asked, sent_at) = (pending.asked, pending.sent_at);
        let is_end = answerer == asked;
        let Some(passed) = pending.ttl.checked_sub(answer.ttl) else { return };
        if is_end != (answer.kind == KIND_ANSWER) {
            return;
        }
        let Some(key) = self.echo_key(answerer) else { return };
        if !answer.is_authentic(&key, Ends { asker: self.own, asked, answerer }) {
            return;
        }
        let Some(by) = self.links.get(&answerer).map(|link| link.id) else { return };
        self.echoes.pending.remove(&token);
        let (hops, rtt) = (passed.saturating_add(1), now.since(sent_at));
        self.outputs.push_back(Output::Echoed { token, by, is_end, hops, rtt });
    }
}

#[cfg(test)]
mod tests;

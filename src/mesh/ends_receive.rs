//! Handshakes between two ends, the receiving side.
//!
//! The messages come over authenticated links, so a stranger cannot send any; what a member can
//! make this machine compute is bounded.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::Arc;

use crate::mesh::bucket::Bucket;
use crate::mesh::bucket::Rate;
use crate::mesh::core::Mesh;
use crate::mesh::handshake::Accepted;
use crate::mesh::handshake::Purpose;
use crate::mesh::plane::header::InnerProtocol;
use crate::mesh::plane::session::EndSession;
use crate::mesh::plane::session::Names;
use crate::mesh::session_message::SessionMessage;
use crate::model::time::Moment;

/// Initiations looked at altogether: two scalar multiplications each, two more when answered.
const ALTOGETHER: Rate = Rate { burst: 512, per_second: 256 };
/// Those one neighbour hands over, its own and others'.
const FROM_NEIGHBOUR: Rate = Rate { burst: 256, per_second: 128 };
/// Those that one neighbour says to be from one source.
const FROM_SOURCE: Rate = Rate { burst: 8, per_second: 2 };
/// Sources of one neighbour remembered.
const SOURCES_MAX: usize = 1_024;

/// What may still be computed for others.
pub(super) struct Budget {
    altogether: Bucket,
    neighbours: BTreeMap<Ipv6Addr, (Bucket, BTreeMap<Ipv6Addr, Bucket>)>,
}

impl Budget {
    pub(super) fn new(now: Moment) -> Self {
        Self { altogether: Bucket::new(ALTOGETHER, now), neighbours: BTreeMap::new() }
    }

    /// Whether an initiation may be looked at. The narrowest bound goes first, so that one source
    /// takes nothing from the others.
    pub(super) fn take(&mut self, now: Moment, neighbour: Ipv6Addr, source: Ipv6Addr) -> bool {
        let (bucket, sources) = self
            .neighbours
            .entry(neighbour)
            .or_insert_with(|| (Bucket::new(FROM_NEIGHBOUR, now), BTreeMap::new()));
        if !sources.contains_key(&source) && sources.len() >= SOURCES_MAX {
            sources.retain(|_, bucket| !bucket.is_full(now));
            if sources.len() >= SOURCES_MAX {
                return false;
            }
        }
        let of_source = sources.entry(source).or_insert_with(|| Bucket::new(FROM_SOURCE, now));
        of_source.take(now) && bucket.take(now) && self.altogether.take(now)
    }

    /// Forgets a neighbour that is gone.
    pub(super) fn forget(&mut self, neighbour: Ipv6Addr) {
        self.neighbours.remove(&neighbour);
    }
}

impl Mesh {
    /// Takes a message that `neighbour` handed over and that says to be from `source`.
    pub(super) fn receive_session_message(
        &mut self,
        now: Moment,
        neighbour: Ipv6Addr,
        source: Ipv6Addr,
        payload: &[u8],
    ) {
        if !self.links.contains_key(&source) {
            return;
        }
        match SessionMessage::read(payload) {
            Some(SessionMessage::Initiation { sender, noise })
                if self.ends.budget.take(now, neighbour, source) =>
            {
                self.receive_session_initiation(now, (neighbour, source), sender, noise);
            }
            Some(SessionMessage::Response { sender, receiver, noise }) => {
                self.receive_session_response(now, source, sender, receiver, noise);
            }
            _ => {}
        }
    }

    fn receive_session_initiation(
        &mut self,
        now: Moment,
        (neighbour, source): (Ipv6Addr, Ipv6Addr),
        sender: u32,
        noise: &[u8],
    ) {
        let seed = self.seed();
        let Some(handshaker) = &self.ends.handshaker else { return };
        let Some(accepted) = handshaker.accept(noise, seed) else { return };
        let hello = accepted.hello;
        let Some(link) = self.links.get(&source) else { return };
        if hello.purpose != Purpose::Session
            || accepted.remote_static != link.static_key
            || hello.id != *link.id.as_bytes()
        {
            return;
        }
        let end = self.ends.by_address.entry(source).or_default();
        if end.timestamp.is_some_and(|latest| hello.timestamp <= latest) {
            // A copy, or the other side's clock was set back: then it answers a handshake of ours.
            if end.current.is_none() {
                self.want_session(now, source);
            }
            return;
        }
        end.timestamp = Some(hello.timestamp);
        end.via = Some(neighbour);
        self.answer_session(now, source, sender, accepted);
    }

    fn answer_session(&mut self, now: Moment, peer: Ipv6Addr, sender: u32, accepted: Accepted) {
        let boot = accepted.hello.boot;
        let index = self.free_end_index();
        let Some((keys, noise)) = accepted.answer(self.boot, None) else { return };
        let names = Names { peer, local_index: index, remote_index: sender, initiator: false };
        let Some(session) = EndSession::new(keys.suite, &keys, names, now) else { return };
        let session = Arc::new(session);
        let restarted = self.end_started(peer, boot);
        self.ends.indices.insert(index, peer);
        let Some(end) = self.ends.by_address.get_mut(&peer) else { return };
        let before = end.next.replace((Arc::clone(&session), boot));
        end.be_patient(now);
        if restarted {
            // The other side has lost its keys and its timestamp is new: what would be sent under
            // the old keys is lost for certain, so the new ones are used without waiting.
            end.next = None;
            end.install(session, boot, false);
        }
        self.publish_end(peer, before.map(|(session, _)| session.local_index));
        let message = SessionMessage::Response { sender: index, receiver: sender, noise: &noise };
        self.send_session_message(now, peer, &message);
        self.reschedule_end(peer);
    }

    fn receive_session_response(
        &mut self,
        now: Moment,
        peer: Ipv6Addr,
        sender: u32,
        receiver: u32,
        noise: &[u8],
    ) {
        if self.ends.indices.get(&receiver) != Some(&peer) {
            return;
        }
        let Some(end) = self.ends.by_address.get_mut(&peer) else { return };
        let attempt = end.attempt.as_mut().filter(|attempt| attempt.index == receiver);
        let Some(attempt) = attempt else { return };
        let Some((keys, welcome)) = attempt.initiated.finish(noise) else { return };
        let names = Names { peer, local_index: receiver, remote_index: sender, initiator: true };
        let Some(session) = EndSession::new(keys.suite, &keys, names, now) else { return };
        // The index lives on as the session's.
        end.settle();
        self.end_started(peer, welcome.boot);
        let Some(end) = self.ends.by_address.get_mut(&peer) else { return };
        let dropped = end.install(Arc::new(session), welcome.boot, false);
        self.ends.indices.insert(receiver, peer);
        self.publish_end(peer, dropped);
        self.reschedule_end(peer);
        self.confirm_session(now, peer);
    }

    /// Shows the other end that the session works, with what waits for it or with nothing.
    fn confirm_session(&mut self, now: Moment, peer: Ipv6Addr) {
        if !self.waiting.contains_key(&peer)
            && let Some(sender) = self.plane.sender(now, peer)
        {
            self.carry_with(&sender, InnerProtocol::Nothing, &[]);
        }
        self.release_waiting(now);
    }

    /// The other end has used the session that was prepared for it. When both began at once there
    /// are two: both speak under the one that the higher address began.
    pub(super) fn session_used(&mut self, now: Moment, peer: Ipv6Addr, index: u32) {
        let own_is_higher = self.own > peer;
        let crossing = self.settings.link_timeout;
        let Some(end) = self.ends.by_address.get_mut(&peer) else { return };
        let used = end.next.take_if(|(session, _)| session.local_index == index);
        let Some((session, boot)) = used else { return };
        let aside = own_is_higher
            && end.current.as_ref().is_some_and(|current| {
                current.initiator && now.since(current.created_at) < crossing
            });
        let dropped = end.install(session, boot, aside);
        let attempt = end.settle();
        self.publish_end(peer, dropped.into_iter().chain(attempt));
        self.reschedule_end(peer);
        self.release_waiting(now);
    }
}

//! Sessions between two ends: begun when somebody wants to send, replaced before they wear out,
//! forgotten when nobody needs them.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use crate::mesh::bucket::Bucket;
use crate::mesh::bucket::Rate;
use crate::mesh::core::Mesh;
use crate::mesh::handshake::Handshaker;
use crate::mesh::handshake::Initiated;
use crate::mesh::handshake::Purpose;
use crate::mesh::handshake::SESSION_PROLOGUE;
use crate::mesh::plane::header::TTL;
use crate::mesh::plane::session::EndSession;
use crate::mesh::plane::suite::Suites;
use crate::mesh::schedule::Timer;
use crate::mesh::session_message::SessionMessage;
use crate::mesh::wire::Frame;
use crate::mesh::wire::PROTOCOL_SESSION;
use crate::mesh::wire::Routed;
use crate::model::cluster::ClusterId;
use crate::model::identity::SecretKey;
use crate::model::time::Moment;

/// An unanswered handshake is begun anew after this long, then after twice as long, and so on.
const RETRY_MIN: Duration = Duration::from_millis(300);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Nobody has wanted to send for this long: the handshake is given up.
const DEMAND: Duration = Duration::from_secs(5);
/// What was sealed just before it became too old may still be on its way.
const OPEN_GRACE: Duration = Duration::from_secs(10);
/// Sessions are forgotten at multiples of this, many at one waking.
const FORGET_STEP: Duration = Duration::from_secs(10);
/// A packet for an unknown session shows that the other end speaks under lost keys, unless a
/// session this young says that the two have just agreed.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// Handshakes begun because of packets for unknown sessions: their source is only a claim.
const UNKNOWN: Rate = Rate { burst: 64, per_second: 16 };

/// The sessions with all other ends.
pub(super) struct Ends {
    pub(super) handshaker: Option<Handshaker>,
    pub(super) by_address: BTreeMap<Ipv6Addr, End>,
    /// Whose session or attempt an index names.
    pub(super) indices: BTreeMap<u32, Ipv6Addr>,
    pub(super) budget: super::ends_receive::Budget,
    unknown: Bucket,
}

/// The sessions with one other end.
#[derive(Default)]
pub(super) struct End {
    /// Seals what is sent.
    pub(super) current: Option<Arc<EndSession>>,
    /// Opens what was sent before the change of keys.
    pub(super) previous: Option<Arc<EndSession>>,
    /// Answered by us and not yet used by the other side, with the other side's boot number.
    pub(super) next: Option<(Arc<EndSession>, u64)>,
    /// The boot number behind the current session.
    pub(super) boot: Option<u64>,
    /// Highest timestamp of a handshake it began; a copy of an older one is refused.
    pub(super) timestamp: Option<u64>,
    /// The neighbour that handed over its last message: the way back while routes are not known.
    pub(super) via: Option<Ipv6Addr>,
    pub(super) attempt: Option<Attempt>,
    tries: u32,
    retry_at: Moment,
    wanted_until: Moment,
}

/// A handshake that waits for its answer.
pub(super) struct Attempt {
    pub(super) index: u32,
    pub(super) initiated: Initiated,
}

impl Ends {
    pub(super) fn new(key: &SecretKey, cluster: ClusterId, suites: Suites, now: Moment) -> Self {
        Self {
            handshaker: Handshaker::new(key, cluster, SESSION_PROLOGUE, suites),
            by_address: BTreeMap::new(),
            indices: BTreeMap::new(),
            budget: super::ends_receive::Budget::new(now),
            unknown: Bucket::new(UNKNOWN, now),
        }
    }
}

impl End {
    /// Makes `session` the one that seals, or, when `aside`, only listens to it. Returns the index
    /// that is free again.
    pub(super) fn install(
        &mut self,
        session: Arc<EndSession>,
        boot: u64,
        aside: bool,
    ) -> Option<u32> {
        self.boot = Some(boot);
        let dropped = if aside && self.current.is_some() {
            self.previous.replace(session)
        } else {
            let before = self.current.replace(session);
            std::mem::replace(&mut self.previous, before)
        };
        dropped.map(|session| session.local_index)
    }

    /// A handshake has succeeded: the next one may begin whenever it is wanted. Returns the index
    /// of an attempt that is not needed.
    pub(super) fn settle(&mut self) -> Option<u32> {
        self.tries = 0;
        self.retry_at = Moment::START;
        self.attempt.take().map(|attempt| attempt.index)
    }

    /// Leaves the other side some time to use what it was answered.
    pub(super) fn be_patient(&mut self, now: Moment) {
        if self.attempt.is_none() {
            self.retry_at = self.retry_at.max(now + RETRY_MIN);
        }
    }

    /// Drops what is old at `now`, or all when there is none. Returns the free indices.
    fn forget(&mut self, now: Option<Moment>, reject_after: Duration) -> Vec<u32> {
        let keep = reject_after + OPEN_GRACE;
        let old =
            |session: &Arc<EndSession>| now.is_none_or(|now| now.since(session.created_at) >= keep);
        let current = self.current.take_if(|session| old(session));
        let previous = self.previous.take_if(|session| old(session));
        let next = self.next.take_if(|next| old(&next.0)).map(|next| next.0);
        [current, previous, next].into_iter().flatten().map(|session| session.local_index).collect()
    }

    fn sessions(&self) -> impl Iterator<Item = &Arc<EndSession>> {
        let next = self.next.as_ref().map(|next| &next.0);
        [self.current.as_ref(), self.previous.as_ref(), next].into_iter().flatten()
    }

    /// When something is to be done without being asked.
    fn due(&self, reject_after: Duration) -> Option<Moment> {
        let oldest = self.sessions().map(|session| session.created_at).min();
        let step = FORGET_STEP.as_secs().max(1);
        let forget = oldest.map(|created| {
            let seconds = (created + reject_after + OPEN_GRACE).elapsed().as_secs();
            Moment::at(Duration::from_secs((seconds / step + 1) * step))
        });
        let retry = self.attempt.as_ref().map(|_| self.retry_at);
        forget.into_iter().chain(retry).min()
    }
}

impl Mesh {
    /// Somebody wants to send to `peer`, and there is no session or only an old one.
    pub(super) fn want_session(&mut self, now: Moment, peer: Ipv6Addr) {
        if peer == self.own || !self.links.contains_key(&peer) {
            return;
        }
        let end = self.ends.by_address.entry(peer).or_default();
        end.wanted_until = now + DEMAND;
        if now >= end.retry_at {
            self.begin_session(now, peer);
        } else if end.attempt.is_none() {
            let retry_at = end.retry_at;
            self.schedule.set_by(Timer::End(peer), retry_at);
        }
    }

    fn begin_session(&mut self, now: Moment, peer: Ipv6Addr) {
        // Routes tell those who wait when there is one.
        let via = self.ends.by_address.get(&peer).and_then(|end| end.via);
        if !self.routes.contains_key(&peer) && !via.is_some_and(|via| self.live.contains(&via)) {
            return;
        }
        let (index, seed, jitter) = (self.free_end_index(), self.seed(), self.jitter());
        let (timestamp, boot) = (self.clock.next(now), self.boot);
        let (Some(link), Some(handshaker)) = (self.links.get(&peer), &self.ends.handshaker) else {
            return;
        };
        let begun = handshaker.initiate(&link.static_key, Purpose::Session, timestamp, boot, seed);
        let Some((initiated, noise)) = begun else { return };
        let end = self.ends.by_address.entry(peer).or_default();
        let pause = RETRY_MIN.saturating_mul(1 << end.tries.min(16)).min(RETRY_MAX);
        end.tries = end.tries.saturating_add(1);
        end.retry_at = now + pause.mul_f64(0.75 + jitter / 2.0);
        if let Some(before) = end.attempt.replace(Attempt { index, initiated }) {
            self.ends.indices.remove(&before.index);
        }
        self.ends.indices.insert(index, peer);
        self.send_session_message(
            now,
            peer,
            &SessionMessage::Initiation { sender: index, noise: &noise },
        );
        self.reschedule_end(peer);
    }

    pub(super) fn send_session_message(
        &mut self,
        now: Moment,
        peer: Ipv6Addr,
        message: &SessionMessage<'_>,
    ) {
        let payload = message.to_bytes();
        let source = self.own;
        let protocol = PROTOCOL_SESSION;
        let routed = Routed { ttl: TTL, destination: peer, source, protocol, payload: &payload };
        let via = self.ends.by_address.get(&peer).and_then(|end| end.via);
        if !self.forward(now, &routed, None)
            && let Some(via) = via
        {
            self.transmit(via, &Frame::Routed(routed));
        }
    }

    /// A packet came for a session that is not here, it says from `source`: one side was started
    /// anew, or has lost its keys.
    pub(super) fn session_unknown(&mut self, now: Moment, source: Ipv6Addr, neighbour: Ipv6Addr) {
        let current = self.ends.by_address.get(&source).and_then(|end| end.current.as_ref());
        let settled = current.is_none_or(|one| now.since(one.created_at) >= SETTLED_AFTER);
        if settled && self.links.contains_key(&source) && self.ends.unknown.take(now) {
            self.ends.by_address.entry(source).or_default().via = Some(neighbour);
            self.want_session(now, source);
        }
    }

    /// `peer` runs with this boot number: sessions with an earlier life of it are worth nothing.
    /// Returns whether there was one that was spoken under.
    pub(super) fn end_started(&mut self, peer: Ipv6Addr, boot: u64) -> bool {
        let Some(end) = self.ends.by_address.get_mut(&peer) else { return false };
        if end.boot.replace(boot).is_none_or(|before| before == boot) {
            return false;
        }
        let spoke = end.current.is_some();
        let gone = end.forget(None, Duration::ZERO);
        self.publish_end(peer, gone);
        spoke
    }

    /// `peer` may not be spoken to any more.
    pub(super) fn end_evicted(&mut self, peer: Ipv6Addr) {
        let Some(mut end) = self.ends.by_address.remove(&peer) else { return };
        let gone = end.forget(None, Duration::ZERO);
        self.ends.indices.retain(|_, owner| *owner != peer);
        self.plane.set_sessions(peer, None, [], gone);
        self.schedule.set(Timer::End(peer), None);
    }

    /// The upkeep of the sessions with one end.
    pub(super) fn tend_end(&mut self, now: Moment, peer: Ipv6Addr) {
        let reject_after = self.settings.reject_after;
        let Some(end) = self.ends.by_address.get_mut(&peer) else { return };
        let gone = end.forget(Some(now), reject_after);
        if !gone.is_empty() {
            self.publish_end(peer, gone);
        }
        let Some(end) = self.ends.by_address.get_mut(&peer) else { return };
        if now >= end.retry_at && now < end.wanted_until {
            self.begin_session(now, peer);
        }
        // Nobody wants it any more, or no way leads there: who waits is told when one does.
        let Some(end) = self.ends.by_address.get_mut(&peer) else { return };
        if now >= end.retry_at
            && let Some(attempt) = end.attempt.take()
        {
            self.ends.indices.remove(&attempt.index);
        }
        self.reschedule_end(peer);
    }

    pub(super) fn reschedule_end(&mut self, peer: Ipv6Addr) {
        let end = self.ends.by_address.get(&peer);
        let due = end.and_then(|end| end.due(self.settings.reject_after));
        self.schedule.set(Timer::End(peer), due);
    }

    /// Tells the plane which sessions there are; `gone` are the indices that are free again.
    pub(super) fn publish_end(&mut self, peer: Ipv6Addr, gone: impl IntoIterator<Item = u32>) {
        let gone: Vec<u32> = gone.into_iter().collect();
        for index in &gone {
            self.ends.indices.remove(index);
        }
        let Some(end) = self.ends.by_address.get(&peer) else { return };
        self.plane.set_sessions(peer, end.current.clone(), end.sessions().cloned(), gone);
    }

    pub(super) fn free_end_index(&mut self) -> u32 {
        loop {
            let index = self.random.next_u32();
            if !self.ends.indices.contains_key(&index) {
                return index;
            }
        }
    }
}

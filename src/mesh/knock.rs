//! Admission: a stranger with a ticket's key makes a handshake with it, asks once and is
//! answered once. Nothing else can be done with such a key.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rand::Rng;
use ring::hmac;

use crate::mesh::challenge::write_initiation;
use crate::mesh::core::IndexOwner;
use crate::mesh::core::Mesh;
use crate::mesh::core::canonical;
use crate::mesh::dial::Attempt;
use crate::mesh::dial::Dial;
use crate::mesh::dial::Step;
use crate::mesh::dial::in_turn;
use crate::mesh::handshake::Handshaker;
use crate::mesh::handshake::LINK_PROLOGUE;
use crate::mesh::handshake::Purpose;
use crate::mesh::handshake::mac_key;
use crate::mesh::output::KnockId;
use crate::mesh::output::Output;
use crate::mesh::schedule::Timer;
use crate::mesh::session::Session;
use crate::mesh::settings::MeshSettings;
use crate::mesh::transfer::Incoming;
use crate::mesh::transfer::Outgoing;
use crate::mesh::wire::Frame;
use crate::mesh::wire::Probe;
use crate::model::identity::NodeId;
use crate::model::identity::SecretKey;
use crate::model::time::Moment;

/// Strangers spoken to at once.
const GUESTS_MAX: usize = 64;

/// A session of a knock, at either side.
pub(super) struct Visit {
    pub(super) session: Session,
    pub(super) endpoint: SocketAddr,
    pub(super) received_at: Moment,
    outgoing: Option<Outgoing>,
    incoming: Incoming,
}

impl Visit {
    pub(super) fn new(session: Session, endpoint: SocketAddr, now: Moment) -> Self {
        Self { session, endpoint, received_at: now, outgoing: None, incoming: Incoming::default() }
    }

    fn send(&mut self, frame: &Frame<'_>, outputs: &mut Vec<Output>) {
        let destination = self.endpoint;
        let datagram = self.session.seal(frame);
        outputs.extend(datagram.map(|datagram| Output::Transmit { destination, datagram }));
    }

    /// Sends the parts that are due.
    fn push(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        let Some(outgoing) = &mut self.outgoing else { return };
        for frame in outgoing.frames(now) {
            let destination = self.endpoint;
            let datagram = self.session.seal(&frame);
            outputs.extend(datagram.map(|datagram| Output::Transmit { destination, datagram }));
        }
    }

    /// Takes a frame. Returns the other side's bytes once they are complete.
    fn receive(
        &mut self,
        now: Moment,
        frame: &Frame<'_>,
        outputs: &mut Vec<Output>,
    ) -> Option<Vec<u8>> {
        match frame {
            Frame::Ping(probe) => {
                let observed = self.endpoint;
                self.send(&Frame::Pong(Probe { observed, ..*probe }), outputs);
            }
            Frame::KnockChunk { total, offset, bytes } => {
                if let Some(held) = self.incoming.take(*total, *offset, bytes) {
                    self.send(&Frame::KnockHeld(held), outputs);
                }
                return self.incoming.complete();
            }
            Frame::KnockHeld(held) => {
                if let Some(outgoing) = &mut self.outgoing {
                    outgoing.confirm(now, *held);
                }
                self.push(now, outputs);
            }
            _ => {}
        }
        None
    }
}

/// A stranger.
pub(super) struct Guest {
    visit: Visit,
    invitation: NodeId,
    opened_at: Moment,
    /// Whether it has used its session: before that it may be a copy of an old handshake.
    confirmed: bool,
}

impl Guest {
    fn ends_at(&self, settings: &MeshSettings) -> Moment {
        let grace = settings.link_timeout * if self.confirmed { 2 } else { 1 };
        (self.visit.received_at + grace).min(self.opened_at + settings.knock_timeout)
    }
}

/// The strangers spoken to, by index.
#[derive(Default)]
pub(super) struct Guests(BTreeMap<u32, Guest>);

impl Guests {
    /// Drops those whose invitation is gone. Returns their indices.
    pub(super) fn keep_invited(&mut self, invitations: &BTreeMap<[u8; 32], NodeId>) -> Vec<u32> {
        let uninvited = |guest: &Guest| !invitations.values().any(|id| *id == guest.invitation);
        let gone: Vec<u32> =
            self.0.iter().filter(|(_, guest)| uninvited(guest)).map(|(index, _)| *index).collect();
        self.0.retain(|_, guest| !uninvited(guest));
        gone
    }

    /// Makes room for one more. Returns the index given up; `Err` when there is no room.
    fn make_room(&mut self) -> Result<Option<u32>, ()> {
        if self.0.len() < GUESTS_MAX {
            return Ok(None);
        }
        let unconfirmed = self.0.iter().filter(|(_, guest)| !guest.confirmed);
        let oldest = unconfirmed.min_by_key(|(_, guest)| guest.opened_at).map(|(index, _)| *index);
        let oldest = oldest.ok_or(())?;
        self.0.remove(&oldest);
        Ok(Some(oldest))
    }
}

/// The own knock.
pub(super) struct Knocking {
    handshaker: Handshaker,
    pub(super) host: NodeId,
    static_key: [u8; 32],
    mac_key: hmac::Key,
    pub(super) endpoints: Vec<SocketAddr>,
    request: Vec<u8>,
    pub(super) dial: Dial,
    visit: Option<Visit>,
    pinged_at: Moment,
}

impl Mesh {
    /// Asks `host` for admission with a ticket's key, again and again until it answers
    /// ([`Output::KnockAnswered`]) or [`Mesh::stop_knock`] is called. One knock at a time. A
    /// request over 64 KiB is never taken.
    pub fn knock(
        &mut self,
        now: Moment,
        invitation: &SecretKey,
        host: NodeId,
        endpoints: Vec<SocketAddr>,
        request: Vec<u8>,
    ) {
        self.stop_knock();
        let Some(handshaker) =
            Handshaker::new(invitation, self.cluster, LINK_PROLOGUE, self.settings.suites)
        else {
            return;
        };
        self.knocking = Some(Knocking {
            handshaker,
            host,
            static_key: host.to_x25519(),
            mac_key: mac_key(&host, self.cluster),
            endpoints: endpoints.into_iter().map(canonical).collect(),
            request,
            dial: Dial::default(),
            visit: None,
            pinged_at: now,
        });
        self.schedule.set(Timer::Knock, Some(now));
    }

    /// Gives the own knock up.
    pub fn stop_knock(&mut self) {
        self.knocking = None;
        self.schedule.set(Timer::Knock, None);
        self.indices.retain(|_, owner| *owner != IndexOwner::Knocking);
    }

    /// Answers a stranger. An answer over 64 KiB is never taken; one to a stranger that is gone is
    /// dropped: it knocks again.
    pub fn answer_knock(&mut self, now: Moment, knock: KnockId, response: Vec<u8>) {
        let Some(guest) = self.guests.0.get_mut(&knock.0) else { return };
        guest.visit.outgoing = Some(Outgoing::new(response, now));
        self.tend_guests(now);
    }

    /// Admits a stranger to the door: keys are agreed, nothing is believed yet.
    pub(super) fn open_door(
        &mut self,
        now: Moment,
        invitation: NodeId,
        session: Session,
        source: SocketAddr,
    ) -> bool {
        let Ok(given_up) = self.guests.make_room() else { return false };
        if let Some(index) = given_up {
            self.indices.remove(&index);
        }
        let index = session.local_index;
        let visit = Visit::new(session, source, now);
        self.guests.0.insert(index, Guest { visit, invitation, opened_at: now, confirmed: false });
        self.indices.insert(index, IndexOwner::Guest);
        self.schedule.set_by(Timer::Guests, now + self.settings.link_timeout);
        true
    }

    pub(super) fn receive_from_guest(
        &mut self,
        now: Moment,
        source: SocketAddr,
        index: u32,
        counter: u64,
        datagram: &mut [u8],
    ) {
        let Some(guest) = self.guests.0.get_mut(&index) else { return };
        let Some(opened) = guest.visit.session.open(counter, datagram) else { return };
        guest.confirmed = true;
        guest.visit.received_at = now;
        guest.visit.endpoint = source;
        let Some(frame) = Frame::read(opened.frame) else { return };
        let mut outputs = Vec::new();
        let request = guest.visit.receive(now, &frame, &mut outputs);
        let answered = guest.visit.outgoing.as_ref().is_some_and(Outgoing::is_done);
        self.outputs.extend(outputs);
        if let Some(request) = request {
            self.outputs.push_back(Output::Knock {
                knock: KnockId(index),
                invitation: guest.invitation,
                source,
                request: request.into(),
            });
        }
        if answered || frame == Frame::Close {
            self.guests.0.remove(&index);
            self.indices.remove(&index);
        }
    }

    pub(super) fn tend_guests(&mut self, now: Moment) {
        let mut outputs = Vec::new();
        let (settings, indices) = (&self.settings, &mut self.indices);
        self.guests.0.retain(|index, guest| {
            guest.visit.push(now, &mut outputs);
            let stays = now < guest.ends_at(settings);
            if !stays {
                indices.remove(index);
            }
            stays
        });
        self.outputs.extend(outputs);
        let times = self.guests.0.values().flat_map(|guest| {
            let part = guest.visit.outgoing.as_ref().and_then(Outgoing::due);
            [Some(guest.ends_at(&self.settings)), part]
        });
        let next = times.flatten().min();
        self.schedule.set(Timer::Guests, next);
    }

    /// The host has answered the own handshake.
    pub(super) fn knock_connected(&mut self, now: Moment, source: SocketAddr, session: Session) {
        let Some(knocking) = &mut self.knocking else { return };
        let mut visit = Visit::new(session, source, now);
        visit.outgoing = Some(Outgoing::new(knocking.request.clone(), now));
        if let Some(before) = knocking.visit.replace(visit) {
            self.indices.remove(&before.session.local_index);
        }
        if let Some(index) = knocking.dial.stop() {
            self.indices.remove(&index);
        }
        self.tend_knock(now);
    }

    pub(super) fn receive_from_host(
        &mut self,
        now: Moment,
        source: SocketAddr,
        index: u32,
        counter: u64,
        datagram: &mut [u8],
    ) {
        let visit = self.knocking.as_mut().and_then(|knocking| knocking.visit.as_mut());
        let Some(visit) = visit.filter(|visit| visit.session.local_index == index) else { return };
        let Some(opened) = visit.session.open(counter, datagram) else { return };
        visit.received_at = now;
        visit.endpoint = source;
        let Some(frame) = Frame::read(opened.frame) else { return };
        let mut outputs = Vec::new();
        let response = visit.receive(now, &frame, &mut outputs);
        if response.is_some() {
            visit.send(&Frame::Close, &mut outputs);
        }
        self.outputs.extend(outputs);
        if let Some(response) = response {
            self.outputs.push_back(Output::KnockAnswered { response: response.into() });
            self.stop_knock();
        }
    }

    pub(super) fn tend_knock(&mut self, now: Moment) {
        let Some(knocking) = &mut self.knocking else { return };
        let settings = &self.settings;
        let mut outputs = Vec::new();
        if let Some(visit) = &mut knocking.visit {
            if now.since(visit.received_at) >= settings.link_timeout {
                self.indices.remove(&visit.session.local_index);
                knocking.visit = None;
            } else {
                visit.push(now, &mut outputs);
                if now.since(knocking.pinged_at) >= settings.ping_interval {
                    knocking.pinged_at = now;
                    let (token, observed) = (self.random.next_u32(), visit.endpoint);
                    visit.send(&Frame::Ping(Probe { token, wanted: true, observed }), &mut outputs);
                }
            }
        }
        self.outputs.extend(outputs);
        if knocking.visit.is_none() {
            self.dial_host(now);
        }
        let Some(knocking) = &self.knocking else { return };
        let next = match &knocking.visit {
            None => Some(knocking.dial.due()),
            Some(visit) => {
                let part = visit.outgoing.as_ref().and_then(Outgoing::due);
                let silence = visit.received_at + self.settings.link_timeout;
                let ping = knocking.pinged_at + self.settings.ping_interval;
                [part, Some(silence), Some(ping)].into_iter().flatten().min()
            }
        };
        self.schedule.set(Timer::Knock, next);
    }

    fn dial_host(&mut self, now: Moment) {
        let jitter = self.jitter();
        let Some(knocking) = &mut self.knocking else { return };
        match knocking.dial.step(now, &self.settings, jitter) {
            Step::Wait | Step::Failed => return,
            Step::Try(wave) => {
                if let Some(attempt) = knocking.dial.attempt_mut() {
                    let datagram = attempt.datagram.clone();
                    self.transmit_wave(wave, &datagram);
                }
                return;
            }
            Step::Begin => {}
        }
        let (index, seed) = (self.free_index(), self.seed());
        let (timestamp, boot) = (self.clock.next(now), self.boot);
        let Some(knocking) = &mut self.knocking else { return };
        let begun = knocking.handshaker.initiate(
            &knocking.static_key,
            Purpose::Knock,
            timestamp,
            boot,
            seed,
        );
        let Some((initiated, message)) = begun else {
            knocking.dial.postpone(now + self.settings.backoff_max);
            return;
        };
        let datagram = write_initiation(index, &message, &knocking.mac_key);
        let attempt = Attempt::new(index, initiated, datagram.clone());
        let waves = in_turn(knocking.endpoints.clone());
        let (first, before) = knocking.dial.begin(now, attempt, waves, &self.settings);
        if let Some(before) = before {
            self.indices.remove(&before);
        }
        self.indices.insert(index, IndexOwner::Knocking);
        self.transmit_wave(first, &datagram);
    }
}

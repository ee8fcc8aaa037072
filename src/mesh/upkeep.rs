//! What time does to a mesh: links are dialled, pinged, rekeyed, given up; neighbours are chosen.

use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::ops::Bound;
use std::time::Duration;

use rand::Rng;

use crate::mesh::challenge::write_initiation;
use crate::mesh::core::IndexOwner;
use crate::mesh::core::Mesh;
use crate::mesh::dial::Attempt;
use crate::mesh::dial::Step;
use crate::mesh::dial::in_turn;
use crate::mesh::handshake::Purpose;
use crate::mesh::link::Live;
use crate::mesh::metric::SUSPECT_COST_US;
use crate::mesh::output::Output;
use crate::mesh::punch::waves;
use crate::mesh::route;
use crate::mesh::schedule::Timer;
use crate::mesh::settings::MeshSettings;
use crate::mesh::wire::Frame;
use crate::mesh::wire::Probe;

use crate::model::time::Moment;

/// Failed attempts after which a neighbour's place on a ring goes to the next member as well.
const FAILURES_PASSED: u32 = 2;

/// When a link that nobody wants since `since` is closed: those of one machine together, so that
/// it is one piece of news.
fn closes_at(since: Moment, linger: Duration) -> Moment {
    let together = (linger / 3).max(Duration::from_millis(1));
    let over = (since + linger).elapsed().as_nanos() % together.as_nanos();
    let rest = Duration::from_nanos(u64::try_from(over).unwrap_or(0));
    since + linger + together.saturating_sub(rest)
}

impl Mesh {
    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Moment) {
        while let Some(timer) = self.schedule.pop(now) {
            match timer {
                Timer::Link(peer) => self.tend(now, peer),
                Timer::End(peer) => self.tend_end(now, peer),
                Timer::Flood => self.flood(now),
                Timer::Advertise => {
                    let spread = 0.75 + self.jitter() / 2.0;
                    let pause = self.settings.advertise_interval.mul_f64(spread);
                    self.schedule.set(Timer::Advertise, Some(now + pause));
                    self.tell_own_links(now);
                }
                Timer::Explore => self.explore(now),
                Timer::Demand => self.measure_demand(now),
                Timer::Queue => self.release_waiting(now),
                Timer::Knock => self.tend_knock(now),
                Timer::Guests => self.tend_guests(now),
            }
        }
        self.handle_plane_events(now);
    }

    /// Whether the own choice keeps a link to `peer`.
    pub(super) fn keeps(&self, peer: Ipv6Addr) -> bool {
        self.wanted.contains(&peer) || self.wards.contains(&peer) || self.demanded.contains(&peer)
    }

    /// Chooses neighbours anew: on every ring the next living member in either direction that
    /// answers, and the failed ones in between, so that a returned machine is found.
    pub(super) fn choose(&mut self, now: Moment) {
        let links = &self.links;
        let wanted = self.rings_alive.neighbours(self.own, |peer| {
            links
                .get(&peer)
                .is_some_and(|link| link.live.is_some() || link.dial.failures() < FAILURES_PASSED)
        });
        let is_alive = |peer| links.get(&peer).is_some_and(|link| link.alive);
        let wards = self.rings_all.wards(self.own, is_alive);
        let (wanted, wards) = self.pinned_choice().unwrap_or((wanted, wards));
        let before = std::mem::replace(&mut self.wanted, wanted);
        let wards_before = std::mem::replace(&mut self.wards, wards);
        for peer in before
            .symmetric_difference(&self.wanted)
            .chain(wards_before.symmetric_difference(&self.wards))
        {
            self.schedule.set_by(Timer::Link(*peer), now);
        }
    }

    /// The upkeep of one machine.
    fn tend(&mut self, now: Moment, peer: Ipv6Addr) {
        self.tend_live(now, peer);
        self.tend_dial(now, peer);
        self.reschedule(now, peer);
    }

    fn tend_live(&mut self, now: Moment, peer: Ipv6Addr) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        let expired = link.sessions.expire(now, &self.settings);
        if let Some(live) = &mut link.live {
            live.heed_traffic();
        }
        if !expired.is_empty() {
            self.publish_link(peer);
        }
        for index in expired {
            self.indices.remove(&index);
        }
        let Some(link) = self.links.get_mut(&peer) else { return };
        let Some(live) = &mut link.live else { return };
        if live.is_dead(now, &self.settings) || link.sessions.current.is_none() {
            self.take_down(now, peer);
            return;
        }
        if self.is_surplus(peer) {
            self.transmit(peer, &Frame::Close);
            self.take_down(now, peer);
            return;
        }
        let Some(live) = self.links.get_mut(&peer).and_then(|link| link.live.as_mut()) else {
            return;
        };
        if live.ping_due(&self.settings) <= now {
            if live.quality.doubt(now) {
                self.own_links_changed(now, self.settings.alarm_delay);
            }
            self.ping(now, peer);
        }
        self.tend_unwanted(now, peer);
    }

    /// Closes a link that neither side has wanted for a while and that no route needs.
    fn tend_unwanted(&mut self, now: Moment, peer: Ipv6Addr) {
        let keeps = self.keeps(peer);
        let linger = self.settings.linger;
        let live = self.links.get_mut(&peer).and_then(|link| link.live.as_mut());
        let Some(live) = live else { return };
        if keeps || live.wanted_there {
            live.unwanted_since = None;
            return;
        }
        let since = *live.unwanted_since.get_or_insert(now);
        if now < closes_at(since, linger) {
            return;
        }
        live.unwanted_since = Some(now);
        let mut links = self.link_metrics();
        links.remove(&peer);
        let routes = route::compute(self.own, &links, &self.states, &self.routes);
        if routes.contains_key(&peer) {
            self.transmit(peer, &Frame::Close);
            self.take_down(now, peer);
        }
    }

    pub(super) fn ping(&mut self, now: Moment, peer: Ipv6Addr) {
        let token = self.random.next_u32();
        let wanted = self.keeps(peer);
        let live = self.links.get_mut(&peer).and_then(|link| link.live.as_mut());
        let Some(live) = live else { return };
        live.quality.pinged(token, now);
        let observed = live.endpoint;
        self.transmit(peer, &Frame::Ping(Probe { token, wanted, observed }));
    }

    /// Whether a handshake with `peer` is to be made.
    fn is_dialled(&self, now: Moment, peer: Ipv6Addr) -> bool {
        let Some(link) = self.links.get(&peer) else { return false };
        if self.handshaker.is_none() {
            return false;
        }
        let punches = link.punch.is_active(now);
        if link.live.is_some() {
            return punches || link.rekey_at(&self.settings).is_some_and(|time| time <= now);
        }
        let begins = (self.keeps(peer) || link.explored) && self.may_dial(peer);
        (begins || punches) && !link.candidates(now).is_empty()
    }

    fn tend_dial(&mut self, now: Moment, peer: Ipv6Addr) {
        if !self.is_dialled(now, peer) {
            return;
        }
        let jitter = self.jitter();
        let Some(link) = self.links.get_mut(&peer) else { return };
        match link.dial.step(now, &self.settings, jitter) {
            Step::Wait => {}
            Step::Begin => self.dial(now, peer),
            Step::Try(wave) => {
                if let Some(attempt) = link.dial.attempt_mut() {
                    let datagram = attempt.datagram.clone();
                    self.transmit_wave(wave, &datagram);
                }
                self.call(now, peer);
            }
            Step::Failed => {
                link.explored = false;
                if link.punch.is_active(now) {
                    link.dial.postpone(now + self.settings.backoff_min);
                }
                if link.dial.failures() == FAILURES_PASSED {
                    self.choose(now);
                }
                self.call(now, peer);
            }
        }
    }

    fn dial(&mut self, now: Moment, peer: Ipv6Addr) {
        let (index, seed) = (self.free_index(), self.seed());
        let (timestamp, boot) = (self.clock.next(now), self.boot);
        let (Some(link), Some(handshaker)) = (self.links.get_mut(&peer), &self.handshaker) else {
            return;
        };
        let begun = handshaker.initiate(&link.static_key, Purpose::Link, timestamp, boot, seed);
        let Some((initiated, message)) = begun else {
            link.dial.postpone(now + self.settings.backoff_max);
            return;
        };
        let datagram = write_initiation(index, &message, &link.mac_key);
        let attempt = Attempt::new(index, initiated, datagram.clone());
        let candidates = link.candidates(now);
        let punches = link.punch.is_active(now);
        let waves = if punches { waves(candidates) } else { in_turn(candidates) };
        let (first, before) = link.dial.begin(now, attempt, waves, &self.settings);
        if let Some(before) = before {
            self.indices.remove(&before);
        }
        self.indices.insert(index, IndexOwner::Link(peer));
        self.transmit_wave(first, &datagram);
    }

    /// Sends one handshake message to all of these.
    pub(super) fn transmit_wave(&mut self, wave: Vec<SocketAddr>, datagram: &[u8]) {
        for destination in wave {
            let datagram = datagram.to_vec();
            self.outputs.push_back(Output::Transmit { destination, datagram });
        }
    }

    /// Sets the timer of one machine to the first thing it waits for.
    pub(super) fn reschedule(&mut self, now: Moment, peer: Ipv6Addr) {
        let mut next = self.is_dialled(now, peer).then_some(Moment::START);
        let keeps = self.keeps(peer);
        if let Some(link) = self.links.get(&peer) {
            next = next.map(|_| link.dial.due());
            if let Some(live) = &link.live {
                let times = [
                    Some(live.received_at + self.settings.link_timeout),
                    Some(live.ping_due(&self.settings)),
                    link.rekey_at(&self.settings).filter(|time| *time > now),
                    (!keeps && !live.wanted_there)
                        .then_some(live.unwanted_since)
                        .map(|since| since.map_or(now, |at| closes_at(at, self.settings.linger))),
                ];
                next = next.into_iter().chain(times.into_iter().flatten()).min();
            }
        }
        self.schedule.set(Timer::Link(peer), next);
    }

    /// A link has begun to work, or works with a machine that was started anew.
    pub(super) fn bring_up(&mut self, now: Moment, peer: Ipv6Addr, endpoint: SocketAddr) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        let mut live = Live::new(endpoint, now, link.suspicion);
        let state = self.states.get(peer);
        live.was_named = state.is_some_and(|state| state.neighbours.contains_key(&self.own));
        let before = link.live.replace(live);
        link.last_endpoint = Some(endpoint);
        let id = link.id;
        if before.is_none() {
            self.live.insert(peer);
            self.outputs.push_back(Output::LinkUp(id));
        }
        self.exchange_states(now, peer);
        self.choose(now);
        if self.parent == Some(peer) {
            self.tend_all_soon(now);
        }
        let way = self.routes.get(&peer);
        let was_reached = way.is_some_and(|way| way.cost_us < u64::from(SUSPECT_COST_US));
        let MeshSettings { flood_delay, detour_delay, .. } = self.settings;
        self.own_links_changed(now, if was_reached { detour_delay } else { flood_delay });
        self.reschedule(now, peer);
    }

    /// A link stopped working.
    pub(super) fn take_down(&mut self, now: Moment, peer: Ipv6Addr) {
        let Some(link) = self.links.get_mut(&peer) else { return };
        let Some(before) = link.live.take() else { return };
        link.suspicion = before.quality.suspicion();
        for index in link.sessions.clear().into_iter().chain(link.dial.stop()) {
            self.indices.remove(&index);
        }
        self.live.remove(&peer);
        self.outputs.push_back(Output::LinkDown(link.id));
        self.publish_link(peer);
        self.choose(now);
        self.own_links_changed(now, self.settings.alarm_delay);
        self.schedule.set_by(Timer::Link(peer), now);
    }

    /// Routes follow at once, the neighbours hear of it after `delay`.
    fn own_links_changed(&mut self, now: Moment, delay: Duration) {
        self.tell_own_links(now + delay);
        self.refresh_routes(now);
    }

    /// Dials one more of the members out of reach, each in its turn. Living ones first; a machine
    /// without any link tries everybody it knows.
    fn explore(&mut self, now: Moment) {
        let lonely = self.live.is_empty();
        let is_candidate = |peer: &Ipv6Addr| {
            self.links.get(peer).is_some_and(|link| {
                (link.alive || lonely)
                    && link.live.is_none()
                    && !link.dial.is_under_way()
                    && !self.routes.contains_key(peer)
                    && self.may_dial(*peer)
            })
        };
        let after = (Bound::Excluded(self.explored_last), Bound::Unbounded);
        let next = self
            .links
            .range(after)
            .chain(self.links.iter())
            .map(|(peer, _)| *peer)
            .find(is_candidate);
        if let Some(peer) = next {
            self.explored_last = peer;
            if let Some(link) = self.links.get_mut(&peer) {
                link.explored = true;
                // Its turn has come, whatever pause the last failure left.
                link.dial.hurry();
            }
            self.schedule.set_by(Timer::Link(peer), now);
        }
        self.ask_for_missing_states(now);
        self.schedule_explore(now);
    }

    /// Dials all who are out of reach at once, whatever pauses their failures left.
    pub fn dial_missing(&mut self, now: Moment) {
        let missing: Vec<Ipv6Addr> = self
            .links
            .iter()
            .filter(|(peer, link)| link.live.is_none() && !self.routes.contains_key(*peer))
            .filter_map(|(peer, _)| self.may_dial(*peer).then_some(*peer))
            .collect();
        for peer in missing {
            if let Some(link) = self.links.get_mut(&peer) {
                link.explored = true;
                link.dial.hurry();
            }
            self.schedule.set_by(Timer::Link(peer), now);
        }
    }

    /// Keeps exploring while somebody is out of reach.
    pub(super) fn schedule_explore(&mut self, now: Moment) {
        let lonely = self.live.is_empty();
        let missing = self
            .links
            .iter()
            .any(|(peer, link)| (link.alive || lonely) && !self.routes.contains_key(peer));
        if missing {
            self.schedule.set_by(Timer::Explore, now + self.settings.explore_interval);
        } else {
            self.schedule.set(Timer::Explore, None);
        }
    }
}

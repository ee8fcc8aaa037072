//! How link state spreads: what is new is batched, sent to every neighbour that is not known to
//! have it, and sent again until the neighbour confirms it.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use crate::mesh::bucket::Rate;
use crate::mesh::core::Mesh;
use crate::mesh::link_state::Advertisement;
use crate::mesh::link_state::Change;
use crate::mesh::link_state::NEIGHBOURS_MAX;
use crate::mesh::link_state::SEQUENCE_MAX;
use crate::mesh::metric::Metric;
use crate::mesh::output::Output;
use crate::mesh::route;
use crate::mesh::schedule::Timer;
use crate::mesh::wire::FRAME_LENGTH_MAX;
use crate::mesh::wire::Frame;
use crate::mesh::wire::HELD_MAX;
use crate::model::time::Moment;

/// Datagrams of one kind to one neighbour in one batch; the rest follows in the next.
const BURST: usize = 32;
/// Confirmations kept for one neighbour.
const CONFIRMATIONS_MAX: usize = 8_192;
/// How often this machine advertises its links anew, and how often any other may: more, since what
/// was said in time may come in a heap.
pub(super) const OWN_NEWS: Rate = Rate { burst: 8, per_second: 2 };
pub(super) const NEWS: Rate = Rate { burst: 32, per_second: 4 };
/// Signatures checked for one neighbour.
pub(super) const CHECKS: Rate = Rate { burst: 2_048, per_second: 256 };
/// A new neighbour gets this long to say what it holds before it is sent everything else.
const EXCHANGE_DELAY: Duration = Duration::from_millis(200);

impl Mesh {
    /// What the own links are like: the worse of what both ends say, so that both count alike.
    pub(super) fn link_metrics(&self) -> BTreeMap<Ipv6Addr, Metric> {
        let metric = |peer: &Ipv6Addr| {
            let live = self.links.get(peer)?.live.as_ref()?;
            let own = live.quality.metric();
            let theirs = self.states.get(*peer).map(|state| state.neighbours.get(&self.own));
            let metric = match theirs {
                Some(Some(theirs)) => own.worse(*theirs),
                Some(None) if live.was_named => own.suspected(),
                _ => own,
            };
            Some((*peer, metric))
        };
        self.live.iter().filter_map(metric).collect()
    }

    /// Computes the routes anew and tells what follows from it.
    pub(super) fn refresh_routes(&mut self, now: Moment) {
        self.routes_stale = false;
        let links = self.link_metrics();
        let mut routes = route::compute(self.own, &links, &self.states, &self.routes);
        // A member may name a neighbour that this machine does not know yet: no route for it.
        routes.retain(|destination, _| self.links.contains_key(destination));
        let same = routes.len() == self.routes.len()
            && routes
                .iter()
                .zip(&self.routes)
                .all(|((one, new), (other, old))| one == other && new.first_hop == old.first_hop);
        self.routes = routes;
        if !same {
            let hops =
                self.routes.iter().map(|(destination, route)| (*destination, route.first_hop));
            self.plane.set_routes(hops);
            self.outputs.push_back(Output::RoutesChanged);
        }
        if !self.waiting.is_empty() {
            self.release_waiting(now);
        }
        self.schedule_explore(now);
    }

    /// Tells a new neighbour what is held here, and gets ready to send it what it lacks.
    pub(super) fn exchange_states(&mut self, now: Moment, peer: Ipv6Addr) {
        let live = self.links.get_mut(&peer).and_then(|link| link.live.as_mut());
        let Some(live) = live else { return };
        live.confirmations =
            self.states.iter().map(|state| (state.origin, state.sequence)).collect();
        live.pending =
            self.states.iter().map(|state| (state.origin, now + EXCHANGE_DELAY)).collect();
        self.schedule.set_by(Timer::Flood, now + self.settings.flood_delay);
    }

    /// Asks the neighbours for the link state of machines that have just become known.
    pub(super) fn ask_for_states(&mut self, now: Moment, origins: &[Ipv6Addr]) {
        for origin in origins.iter().filter(|origin| self.states.get(**origin).is_none()) {
            for link in self.links.values_mut() {
                if let Some(live) = &mut link.live {
                    live.confirmations.insert(*origin, 0);
                }
            }
        }
        if !origins.is_empty() && !self.live.is_empty() {
            self.schedule.set_by(Timer::Flood, now + self.settings.flood_delay);
        }
    }

    /// Asks again for link state that nobody has sent.
    pub(super) fn ask_for_missing_states(&mut self, now: Moment) {
        let lacks = |peer: &Ipv6Addr| self.states.get(*peer).is_none();
        let living = self.links.iter().filter(|(_, link)| link.alive).map(|(peer, _)| *peer);
        let missing: Vec<_> = living.filter(lacks).take(HELD_MAX).collect();
        self.ask_for_states(now, &missing);
    }

    /// Takes advertisements from a neighbour.
    pub(super) fn receive_states(&mut self, now: Moment, peer: Ipv6Addr, states: &[&[u8]]) {
        let mut change = Change::None;
        for bytes in states {
            let Some((origin, sequence)) = Advertisement::peek(bytes) else { continue };
            self.flooded.received += 1;
            if self.held(origin).is_none_or(|held| held < sequence) {
                // What there is no time for now is not confirmed: it comes again.
                let Some(news) = self.receive_new_state(now, peer, origin, bytes) else { continue };
                change = change.max(news);
            }
            let held = self.held(origin);
            let live = self.links.get_mut(&peer).and_then(|link| link.live.as_mut());
            let Some(live) = live else { return };
            if held.is_some_and(|held| held > sequence) {
                live.pending.entry(origin).or_insert(now);
            } else {
                live.pending.remove(&origin);
            }
            // What cannot be judged here, because its origin is not known here, is confirmed
            // too: it would be sent for ever. Once its origin becomes known it is asked for.
            if live.confirmations.len() < CONFIRMATIONS_MAX {
                live.confirmations.insert(origin, sequence);
            }
        }
        let delay = match change {
            Change::Worse => self.settings.alarm_delay,
            Change::None | Change::Better => self.settings.flood_delay,
        };
        self.schedule.set_by(Timer::Flood, now + delay);
    }

    fn held(&self, origin: Ipv6Addr) -> Option<u64> {
        if origin == self.own { Some(self.own_sequence) } else { self.states.sequence(origin) }
    }

    /// Takes an advertisement that is newer than what is held. None when its origin or the
    /// neighbour has said too much lately: looking at it costs a signature, passing it on costs all.
    fn receive_new_state(
        &mut self,
        now: Moment,
        peer: Ipv6Addr,
        origin: Ipv6Addr,
        bytes: &[u8],
    ) -> Option<Change> {
        let id = match self.links.get(&origin) {
            Some(link) => link.id,
            None if origin == self.own => self.key.node_id(),
            None => return Some(Change::None),
        };
        self.links.get_mut(&peer)?.live.as_mut()?.checks.take(now).then_some(())?;
        let Some(advertisement) = Advertisement::open(bytes, id, self.cluster) else {
            return Some(Change::None);
        };
        let Some(link) = self.links.get_mut(&origin) else {
            // An advertisement of an earlier life of this machine outlives it: the next one is made
            // to count higher.
            self.own_sequence = advertisement.sequence;
            self.tell_own_links(now + self.settings.flood_delay);
            return Some(Change::None);
        };
        link.news.take(now).then_some(())?;
        if let Some(live) = &mut link.live {
            live.was_named |= advertisement.neighbours.contains_key(&self.own);
        }
        self.flooded.new += 1;
        let change = self.states.insert(advertisement);
        self.routes_stale |= change != Change::None;
        self.spread(now, origin, Some(peer));
        Some(change)
    }

    fn spread(&mut self, now: Moment, origin: Ipv6Addr, except: Option<Ipv6Addr>) {
        for peer in self.live.iter().filter(|peer| Some(**peer) != except) {
            if let Some(live) = self.links.get_mut(peer).and_then(|link| link.live.as_mut()) {
                live.pending.insert(origin, now);
            }
        }
    }

    /// Takes what a neighbour says it holds: what it has needs no sending, what it lacks does.
    pub(super) fn receive_held(&mut self, now: Moment, peer: Ipv6Addr, held: &[(Ipv6Addr, u64)]) {
        for (origin, sequence) in held {
            let Some(ours) = self.states.sequence(*origin) else { continue };
            let live = self.links.get_mut(&peer).and_then(|link| link.live.as_mut());
            let Some(live) = live else { return };
            if *sequence >= ours {
                live.pending.remove(origin);
            } else {
                live.pending.entry(*origin).or_insert(now);
                self.schedule.set_by(Timer::Flood, now + self.settings.flood_delay);
            }
        }
    }

    /// Sends what waits to be sent to the neighbours.
    pub(super) fn flood(&mut self, now: Moment) {
        let mut next = self.refresh_stale_routes(now);
        if let Some(due) = self.own_due {
            if due <= now && self.own_news.take(now) {
                self.advertise(now);
            } else {
                let soon = now + Duration::from_secs(1) / OWN_NEWS.per_second;
                let later = if due <= now { soon } else { due };
                next = next.into_iter().chain([later]).min();
            }
        }
        for peer in self.live.clone() {
            let confirmed_all = self.send_confirmations(peer);
            let due = self.send_states(now, peer);
            let soon = (!confirmed_all).then(|| now + self.settings.flood_delay);
            next = next.into_iter().chain(due).chain(soon).min();
        }
        if let Some(next) = next {
            self.schedule.set_by(Timer::Flood, next.max(now + self.settings.flood_delay));
        }
    }

    /// Computes the routes anew when others' links have changed, less often while they keep
    /// changing. Returns when it is due if it has to wait.
    fn refresh_stale_routes(&mut self, now: Moment) -> Option<Moment> {
        if !self.routes_stale {
            return None;
        }
        if now < self.routes_due {
            return Some(self.routes_due);
        }
        let (least, most) = (self.settings.flood_delay, self.settings.route_pause_max);
        let calm = now.since(self.routes_due) >= most;
        self.routes_pause = if calm { least } else { (self.routes_pause * 2).clamp(least, most) };
        self.routes_due = now + self.routes_pause;
        self.refresh_routes(now);
        None
    }

    fn advertise(&mut self, now: Moment) {
        self.own_due = None;
        self.flooded.own += 1;
        self.own_sequence = self.own_sequence.saturating_add(1).min(SEQUENCE_MAX);
        let mut neighbours: Vec<(usize, Ipv6Addr, Metric)> = Vec::new();
        for peer in &self.live {
            let live = self.links.get(peer).and_then(|link| link.live.as_ref());
            let degree = self.states.get(*peer).map_or(0, |state| state.neighbours.len());
            neighbours.extend(live.map(|live| (degree, *peer, live.quality.metric())));
        }
        // More links than an advertisement holds: those with few other links need this one most.
        neighbours.sort_unstable_by_key(|(degree, peer, _)| (*degree, *peer));
        let neighbours = neighbours
            .into_iter()
            .take(NEIGHBOURS_MAX)
            .map(|(_, peer, link)| (peer, link))
            .collect();
        let (cluster, sequence) = (self.cluster, self.own_sequence);
        self.states.insert(Advertisement::sign(&self.key, cluster, sequence, &neighbours));
        self.spread(now, self.own, None);
    }

    fn send_confirmations(&mut self, peer: Ipv6Addr) -> bool {
        for _ in 0..BURST {
            let live = self.links.get_mut(&peer).and_then(|link| link.live.as_mut());
            let Some(live) = live else { return true };
            let mut held = Vec::new();
            while held.len() < HELD_MAX
                && let Some(entry) = live.confirmations.pop_first()
            {
                held.push(entry);
            }
            if held.is_empty() {
                return true;
            }
            self.transmit(peer, &Frame::Held(held));
        }
        false
    }

    /// Sends the advertisements that are due. Returns when the next one is.
    fn send_states(&mut self, now: Moment, peer: Ipv6Addr) -> Option<Moment> {
        let link = self.links.get_mut(&peer)?;
        let live = link.live.as_mut()?;
        live.pending.retain(|origin, _| self.states.get(*origin).is_some());
        let mut frames: Vec<Vec<&[u8]>> = Vec::new();
        let mut room = 0;
        for (origin, due) in live.pending.iter_mut().filter(|(_, due)| **due <= now) {
            let Some(state) = self.states.get(*origin) else { continue };
            if room < state.bytes.len() + 2 {
                if frames.len() == BURST {
                    break;
                }
                frames.push(Vec::new());
                room = FRAME_LENGTH_MAX - 1;
            }
            room = room.saturating_sub(state.bytes.len() + 2);
            frames.last_mut()?.push(&state.bytes);
            *due = now + self.settings.flood_retry;
        }
        let next = live.pending.values().min().copied();
        for states in frames {
            self.flooded.sent += states.len() as u64;
            self.flooded.bytes_sent += states.iter().map(|state| state.len() as u64).sum::<u64>();
            if let Some((destination, datagram)) = link.seal(&Frame::States(states)) {
                self.outputs.push_back(Output::Transmit { destination, datagram });
            }
        }
        next
    }
}

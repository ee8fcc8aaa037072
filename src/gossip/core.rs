//! Membership and facts of one agent, without sockets or clocks.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::time::Duration;

use rand::RngExt;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::gossip::facts::FactsStore;
use crate::gossip::facts::Parcel;
use crate::gossip::fingerprint::Prints;
use crate::gossip::life::Life;
use crate::gossip::packet::Packet;
use crate::gossip::packet::SwimPacket;
use crate::gossip::roster::Roster;
use crate::gossip::rumour::Rumour;
use crate::gossip::rumour::Rumours;
use crate::gossip::settings::GossipSettings;
use crate::gossip::settings::transmissions;
use crate::gossip::swim::Swim;
use crate::gossip::timers::Event;
use crate::gossip::timers::Timers;
use crate::model::facts::Facts;
use crate::model::facts::SignedFacts;
use crate::model::identity::NodeId;
use crate::model::member::Status;
use crate::model::time::Moment;
use crate::model::time::Timestamp;

/// Members greeted at once when some are not seen.
const GREETINGS: usize = 3;
/// First, and longest, time between greetings; the last while nobody at all is seen.
const REACH_INTERVAL_MIN: Duration = Duration::from_millis(250);
const REACH_INTERVAL_MAX: Duration = Duration::from_secs(5);
const REACH_INTERVAL_ALONE: Duration = Duration::from_secs(1);
/// Times that a suspected member is told again.
const NOTICE_REPEATS: u8 = 2;
/// Members that hear a goodbye from the one who leaves.
const GOODBYES: usize = 16;

/// What the agent must do, or may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send `packet` to a member through the mesh; it may get lost.
    Send {
        /// The member.
        to: NodeId,
        /// At most 1,300 bytes.
        packet: Vec<u8>,
    },
    /// Open a stream to a member and hold an exchange: send [`Gossip::exchange_request`], hand the
    /// answer to [`Gossip::handle_exchange_response`], send what that returns, and so on until it
    /// returns nothing.
    WantExchange {
        /// The member.
        with: NodeId,
    },
    /// A member is seen differently.
    StatusChanged {
        /// The member.
        node: NodeId,
        /// How it is seen.
        status: Status,
    },
    /// A member's facts are new here.
    FactsChanged {
        /// The member.
        node: NodeId,
    },
    /// Somebody holds later facts of ours than we do (this machine's clock went back): ours must be
    /// signed again with a version above this one, or nobody will take them.
    FactsOutdated {
        /// That version.
        version: u64,
    },
}

/// One agent's view of who is there.
///
/// Feed it packets, exchanges and time; after every call, drain [`Gossip::poll_output`] and arm a
/// timer for [`Gossip::poll_timeout`]. Packets that wait should be handed in before the timeout is.
pub struct Gossip {
    pub(super) me: NodeId,
    pub(super) address: Ipv6Addr,
    pub(super) settings: GossipSettings,
    pub(super) swim: Swim,
    pub(super) roster: Roster,
    pub(super) facts: FactsStore,
    pub(super) prints: Prints,
    pub(super) rumours: Rumours,
    pub(super) timers: Timers,
    pub(super) outputs: VecDeque<Output>,
    pub(super) exchange_interval: Duration,
    pub(super) partner: Option<NodeId>,
    pub(super) has_left: bool,
    random: SmallRng,
    reach_interval: Duration,
    was_connected: bool,
}

impl Gossip {
    /// An agent that has met nobody. `started_at` tells this life from earlier ones of the same
    /// key; `seed` should differ between agents.
    #[must_use]
    pub fn new(me: NodeId, started_at: Timestamp, settings: GossipSettings, seed: u64) -> Self {
        let settings = settings.clamped();
        let address = me.address();
        let life = Life { address, generation: started_at.as_millis() };
        let mut random = SmallRng::seed_from_u64(seed);
        let swim = Swim::new(life, settings.foca(1), SmallRng::seed_from_u64(random.random()));
        Self {
            me,
            address,
            swim,
            roster: Roster::default(),
            facts: FactsStore::default(),
            prints: Prints::default(),
            rumours: Rumours::default(),
            timers: Timers::default(),
            outputs: VecDeque::new(),
            exchange_interval: settings.exchange_interval,
            partner: None,
            has_left: false,
            random,
            reach_interval: REACH_INTERVAL_MIN,
            was_connected: false,
            settings,
        }
    }

    /// Makes exactly these the members that are spoken to and believed; this member itself may be
    /// among them or not. Who is new is greeted, who is gone is forgotten.
    pub fn set_members(&mut self, now: Moment, members: &BTreeSet<NodeId>) {
        let mut others = members.clone();
        others.remove(&self.me);
        let change = self.roster.set(now, &others);
        for address in &change.added {
            self.prints.touch(*address);
        }
        for address in change.removed {
            self.prints.touch(address);
            self.swim.forget(address);
            self.facts.remove(address);
            self.rumours.forget(address);
        }
        self.swim.configure(self.settings.foca(self.roster.len() + 1));
        if !change.added.is_empty() && !self.has_left {
            self.reach_interval = REACH_INTERVAL_MIN;
            self.timers.replace(now, Event::ReachOut);
        }
        self.settle(now);
    }

    /// Greets a member that was just found reachable, without waiting for the next turn.
    pub fn greet(&mut self, now: Moment, node: NodeId) {
        let Some((address, status)) = self.roster.address(node).zip(self.status(node)) else {
            return;
        };
        if !self.has_left && !matches!(status, Status::Alive | Status::Suspect) {
            self.swim.announce(address);
            self.settle(now);
        }
    }

    /// Replaces this member's own facts and tells the others; older ones than those held, or
    /// another's, are ignored.
    pub fn set_own_facts(&mut self, now: Moment, signed: &SignedFacts) {
        let Some(parcel) = Parcel::pack(signed) else { return };
        if parcel.address == self.address && self.facts.accept(&parcel) {
            self.spread(now, &Rumour::Facts(parcel));
        }
    }

    /// How a member is seen; none when the document does not name it.
    #[must_use]
    pub fn status(&self, node: NodeId) -> Option<Status> {
        if node == self.me {
            return Some(if self.has_left { Status::Left } else { Status::Alive });
        }
        let address = self.roster.address(node)?;
        self.roster.get(address).map(|entry| entry.status)
    }

    /// How every other member is seen, and since when.
    #[must_use]
    pub fn statuses(&self) -> BTreeMap<NodeId, (Status, Moment)> {
        self.roster.iter().map(|(_, entry)| (entry.node, (entry.status, entry.since))).collect()
    }

    /// A member's latest facts.
    #[must_use]
    pub fn facts(&self, node: NodeId) -> Option<&Facts> {
        let address = if node == self.me { self.address } else { self.roster.address(node)? };
        self.facts.get(address)
    }

    /// Says goodbye and falls silent; the packets of the goodbye remain to be sent.
    pub fn leave(&mut self, now: Moment) {
        if self.has_left {
            return;
        }
        self.settle(now);
        let life = self.swim.me();
        let goodbye = Rumour::Left { address: life.address, generation: life.generation };
        self.rumours = Rumours::default();
        self.rumours.add(&goodbye, u8::MAX);
        self.tell(GOODBYES);
        self.has_left = true;
        self.timers.clear();
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Gossip::handle_timeout`] is to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Moment> {
        self.timers.next_due(self.swim.has_news())
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.timers.notice_pause(now);
        while let Some(event) = self.timers.pop_due(now) {
            match event {
                Event::Swim(timer) => self.swim.handle_timer(timer),
                Event::Rumours => self.pass_on(now),
                Event::ReachOut => self.reach_out(now),
                Event::Exchange => self.begin_exchange(now),
                Event::Notice { life, incarnation, repeats } => {
                    self.give_notice(now, life, incarnation, repeats);
                }
            }
            self.settle(now);
        }
    }

    fn pass_on(&mut self, now: Moment) {
        self.tell(self.settings.gossip_fanout);
        if !self.rumours.is_empty() {
            self.timers.insert(now + self.settings.gossip_interval, Event::Rumours);
        }
    }

    fn tell(&mut self, count: usize) {
        for address in self.draw(count, &[Status::Alive, Status::Suspect]) {
            let Some(packet) = self.rumours.next_packet() else { return };
            self.send(address, packet);
        }
    }

    fn reach_out(&mut self, now: Moment) {
        let unseen = self.draw(GREETINGS, &[Status::Booting, Status::Failed, Status::Left]);
        if unseen.is_empty() {
            return;
        }
        for address in unseen {
            self.swim.announce(address);
        }
        let longest =
            if self.swim.is_connected() { REACH_INTERVAL_MAX } else { REACH_INTERVAL_ALONE };
        self.reach_interval = (self.reach_interval * 2).min(longest);
        self.timers.insert(now + self.reach_interval, Event::ReachOut);
    }

    fn begin_exchange(&mut self, now: Moment) {
        let drawn = self.draw(1, &[Status::Alive]).pop();
        let drawn = drawn.and_then(|address| self.roster.get(address)).map(|entry| entry.node);
        if let Some(with) = self.partner.take().or(drawn) {
            self.outputs.push_back(Output::WantExchange { with });
        }
        let jitter = self.random.random_range(0.8..1.2);
        self.timers.replace(now + self.exchange_interval.mul_f64(jitter), Event::Exchange);
    }

    fn give_notice(&mut self, now: Moment, life: Life, incarnation: u16, repeats: u8) {
        if self.swim.suspicion(life.address) == Some((life, incarnation)) {
            self.send(life.address, Packet::frame_suspected(life.generation, incarnation));
            if repeats > 0 {
                let due = now + self.settings.suspicion / u32::from(NOTICE_REPEATS + 1);
                self.timers.insert(due, Event::Notice { life, incarnation, repeats: repeats - 1 });
            }
        }
    }

    /// Passes news on at once, and then at every interval.
    pub(super) fn spread(&mut self, now: Moment, rumour: &Rumour) {
        self.rumours.add(rumour, transmissions(self.roster.len() + 1).get());
        if !self.timers.contains(&Event::Rumours) {
            self.timers.insert(now, Event::Rumours);
        }
    }

    /// Up to `count` random members of those that are seen as one of `wanted`.
    fn draw(&mut self, count: usize, wanted: &[Status]) -> Vec<Ipv6Addr> {
        let total = wanted.iter().map(|status| self.roster.seen_as(*status).len()).sum();
        let places = rand::seq::index::sample(&mut self.random, total, count.min(total));
        let seen = || wanted.iter().flat_map(|status| self.roster.seen_as(*status));
        places.iter().filter_map(|place| seen().nth(place).copied()).collect()
    }

    /// Queues a packet for the member at `address`, if the document names one.
    pub(super) fn send(&mut self, address: Ipv6Addr, packet: Vec<u8>) {
        if let Some(entry) = self.roster.get(address) {
            self.outputs.push_back(Output::Send { to: entry.node, packet });
        }
    }

    /// Carries out what foca asked for and reports what it found.
    pub(super) fn settle(&mut self, now: Moment) {
        for address in self.swim.refresh() {
            self.report(now, address);
        }
        let effects = self.swim.take_effects();
        for (timer, after) in effects.timers {
            self.timers.insert(now + after, Event::Swim(timer));
        }
        let is_anybody_suspected = !self.roster.seen_as(Status::Suspect).is_empty();
        for (address, body) in effects.sends {
            // Who is suspected hears it from whoever probes it (Lifeguard's buddy system, section
            // IV-C). An answer alone refutes nothing, and news of a suspicion may get lost:
            // one that its subject never hears of would stand for ever.
            if is_anybody_suspected
                && let Some((life, incarnation)) = self.swim.suspicion(address)
                && SwimPacket::is_probe(&body)
            {
                self.send(address, Packet::frame_suspected(life.generation, incarnation));
            }
            self.send(address, Packet::frame_swim(&body));
        }
        for (life, incarnation) in effects.suspected {
            self.give_notice(now, life, incarnation, NOTICE_REPEATS);
        }
        let is_connected = self.swim.is_connected();
        if is_connected && !self.was_connected {
            self.timers.replace(now, Event::Exchange);
        }
        self.was_connected = is_connected;
    }

    /// Tells how the member at `address` is seen, if that changed.
    pub(super) fn report(&mut self, now: Moment, address: Ipv6Addr) {
        self.prints.touch(address);
        let Some(member) = self.swim.get(address) else { return };
        if let Some((node, status)) = self.roster.see(now, member) {
            self.outputs.push_back(Output::StatusChanged { node, status });
            let is_gone = matches!(status, Status::Failed | Status::Left);
            if is_gone && !self.timers.contains(&Event::ReachOut) {
                self.timers.insert(now + REACH_INTERVAL_MAX, Event::ReachOut);
            }
        }
    }
}

//! Packets from other members.

use std::net::Ipv6Addr;

use foca::Incarnation;
use foca::Member;
use foca::State;

use crate::gossip::core::Gossip;
use crate::gossip::core::Output;
use crate::gossip::facts::Parcel;
use crate::gossip::life::GENERATION_MAX;
use crate::gossip::life::Life;
use crate::gossip::packet::Packet;
use crate::gossip::packet::SwimPacket;
use crate::gossip::rumour::Rumour;
use crate::gossip::timers::Event;
use crate::model::identity::NodeId;
use crate::model::time::Moment;

impl Gossip {
    /// Takes a packet that the mesh delivered; `source` is who the mesh proved to have sent it.
    /// What the document does not name, and what says nothing, is dropped.
    pub fn handle_packet(&mut self, now: Moment, source: NodeId, packet: &[u8]) {
        let Some(address) = self.roster.address(source) else { return };
        if self.has_left {
            return;
        }
        self.timers.notice_pause(now);
        match Packet::decode(packet) {
            Some(Packet::Swim(packet)) => self.handle_swim(address, packet),
            Some(Packet::Rumours(rumours)) => {
                for rumour in rumours {
                    self.handle_rumour(now, source, rumour);
                }
            }
            Some(Packet::Suspected { generation, incarnation }) => {
                self.handle_suspicion(address, generation, incarnation);
            }
            Some(Packet::Superseded { generation }) if generation > self.swim.me().generation => {
                self.live_past(generation);
            }
            Some(Packet::Superseded { .. }) | None => {}
        }
        self.settle(now);
    }

    fn handle_swim(&mut self, source: Ipv6Addr, mut packet: SwimPacket) {
        let sender = packet.header.src;
        let known_third = packet
            .third_party()
            .is_none_or(|third| third == self.address || self.roster.contains(third));
        if sender.address != source || !known_third {
            return;
        }
        let latest = self.swim.get(source).map(|member| member.id().generation);
        if let Some(generation) = latest.filter(|latest| *latest > sender.generation) {
            self.send(source, Packet::frame_superseded(generation));
            return;
        }
        if let Some(updates) = packet.updates.take() {
            packet.updates = Some(self.believable(updates));
        }
        self.swim.receive(&packet);
    }

    /// Leaves out updates that say nothing new, and those about members that the document does not
    /// name or about other lives of this member. A later life of its own than the present one is outlived.
    pub(super) fn believable(&mut self, mut updates: Vec<Member<Life>>) -> Vec<Member<Life>> {
        let mine = self.swim.me().generation;
        let own = updates.iter().filter(|update| update.id().address == self.address);
        let latest = own.map(|update| update.id().generation).max();
        if let Some(generation) = latest.filter(|generation| *generation > mine) {
            self.live_past(generation);
        }
        let me = self.swim.me();
        updates.retain(|update| {
            let is_own = *update.id() == me;
            is_own || self.swim.is_news(update) && self.roster.contains(update.id().address)
        });
        updates
    }

    /// Goes on as a life later than `generation`, unless this one already is.
    pub(super) fn live_past(&mut self, generation: u64) {
        let is_past = generation < self.swim.me().generation;
        if !is_past && generation < GENERATION_MAX && !self.has_left {
            self.swim.renew_past(generation);
        }
    }

    /// The sender's probe failed: refutes to all, and speaks to the sender directly.
    fn handle_suspicion(&mut self, source: Ipv6Addr, generation: u64, incarnation: Incarnation) {
        let me = self.swim.me();
        if me.generation == generation {
            self.swim.apply(vec![Member::new(me, incarnation, State::Suspect)], true);
        }
        self.swim.announce(source);
    }

    fn handle_rumour(&mut self, now: Moment, source: NodeId, rumour: Rumour) {
        match rumour {
            Rumour::Left { address, generation } => {
                let life = Life { address, generation };
                if address == self.address {
                    self.live_past(generation);
                } else if life.is_sound() && self.handle_goodbye(now, life) {
                    self.spread(now, &rumour);
                }
            }
            Rumour::Facts(parcel) => {
                if self.keep_facts(&parcel) {
                    self.spread(now, &Rumour::Facts(parcel));
                }
            }
            Rumour::FactsHeld { address, version } => {
                if self.roster.contains(address) && version > self.facts.version(address) {
                    self.partner = Some(source);
                    let soon = now + self.settings.gossip_interval;
                    self.timers.replace(soon, Event::Exchange);
                }
            }
        }
    }

    /// Notes that a member left; whether that was news.
    pub(super) fn handle_goodbye(&mut self, now: Moment, life: Life) -> bool {
        let is_news = self.roster.say_goodbye(life);
        if is_news {
            self.swim.apply(vec![Member::down(life)], false);
            for address in self.swim.refresh() {
                self.report(now, address);
            }
            // It may have been taken for dead before its goodbye came.
            self.report(now, life.address);
        }
        is_news
    }

    /// Keeps another member's facts if they are new and sound.
    pub(super) fn keep_facts(&mut self, parcel: &Parcel) -> bool {
        let Some(entry) = self.roster.get(parcel.address) else { return false };
        let node = entry.node;
        let is_kept = self.facts.accept(parcel);
        if is_kept {
            self.prints.touch(parcel.address);
            self.outputs.push_back(Output::FactsChanged { node });
        }
        is_kept
    }
}

//! Foca, and a table of what it knows that can be looked up.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::Duration;

use foca::Config;
use foca::Foca;
use foca::Incarnation;
use foca::Member;
use foca::NoCustomBroadcast;
use foca::Notification;
use foca::Runtime;
use foca::State;
use foca::Timer;
use rand::rngs::SmallRng;

use crate::gossip::codec::Padded;
use crate::gossip::directory::Directory;
use crate::gossip::life::Life;
use crate::gossip::packet::SwimPacket;

/// What foca asked for during one call.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Packets of foca's by the address they go to.
    pub(super) sends: Vec<(Ipv6Addr, Vec<u8>)>,
    /// Timers to be handed back after that long.
    pub(super) timers: Vec<(Timer<Life>, Duration)>,
    /// Members that did not answer our own probe.
    pub(super) suspected: Vec<(Life, Incarnation)>,
    touched: BTreeSet<Ipv6Addr>,
    is_connected: bool,
    is_renewed: bool,
}

impl Runtime<Life> for Effects {
    fn notify(&mut self, notification: Notification<'_, Life>) {
        match notification {
            Notification::MemberUp(life)
            | Notification::MemberDown(life)
            | Notification::Rename(_, life) => {
                self.touched.insert(life.address);
            }
            Notification::Active => self.is_connected = true,
            Notification::Idle | Notification::Defunct => self.is_connected = false,
            Notification::Rejoin(_) => self.is_renewed = true,
        }
    }

    fn send_to(&mut self, to: Life, data: &[u8]) {
        self.sends.push((to.address, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Life>, after: Duration) {
        if let Timer::ChangeSuspectToDown { member_id, incarnation, .. } = &event {
            self.touched.insert(member_id.address);
            self.suspected.push((*member_id, *incarnation));
        }
        self.timers.push((event, after));
    }
}

/// Foca with its effects collected. Its errors mean that a packet was bad or a timer outlived its
/// cause; foca goes on after either, and so does this.
pub(super) struct Swim {
    foca: Foca<Life, Padded, SmallRng, NoCustomBroadcast>,
    effects: Effects,
    table: Directory<Ipv6Addr, Member<Life>>,
}

impl Swim {
    pub(super) fn new(me: Life, config: Config, random: SmallRng) -> Self {
        Self {
            foca: Foca::new(me, config, random, Padded),
            effects: Effects::default(),
            table: Directory::default(),
        }
    }

    /// This member's present life.
    pub(super) fn me(&self) -> Life {
        *self.foca.identity()
    }

    /// Whether anybody is known to live.
    pub(super) fn is_connected(&self) -> bool {
        self.effects.is_connected
    }

    /// Whether anything waits to be passed on.
    pub(super) fn has_news(&self) -> bool {
        self.foca.updates_backlog() > 0
    }

    /// What is known of the member at `address`.
    pub(super) fn get(&self, address: Ipv6Addr) -> Option<&Member<Life>> {
        self.table.get(address)
    }

    /// Whether foca would take anything from `update`: this knows without a look through all members,
    /// and most of what is heard has been heard before. (The order of section 4.2 of SWIM's paper.)
    pub(super) fn is_news(&self, update: &Member<Life>) -> bool {
        let Some(known) = self.get(update.id().address) else { return true };
        let (later, earlier) = (update.incarnation(), known.incarnation());
        match update.id().generation.cmp(&known.id().generation) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal => match (known.state(), update.state()) {
                (State::Down, _) => false,
                (_, State::Down) => true,
                (State::Alive, State::Suspect) => later >= earlier,
                (State::Alive | State::Suspect, _) => later > earlier,
            },
        }
    }

    /// The life and incarnation in which the member at `address` is suspected, if it is.
    pub(super) fn suspicion(&self, address: Ipv6Addr) -> Option<(Life, Incarnation)> {
        let suspected = self.get(address).filter(|member| member.state() == State::Suspect)?;
        Some((*suspected.id(), suspected.incarnation()))
    }

    pub(super) fn configure(&mut self, config: Config) {
        let _unchanged_on_error = self.foca.set_config(config);
    }

    pub(super) fn receive(&mut self, packet: &SwimPacket) {
        let Some(bytes) = packet.encode() else { return };
        let header = &packet.header;
        let sender = Member::new(header.src, header.src_incarnation, State::Alive);
        for update in packet.updates.iter().flatten().chain([&sender]) {
            if self.table.get(update.id().address) != Some(update) {
                self.effects.touched.insert(update.id().address);
            }
        }
        let _bad_packet = self.foca.handle_data(&bytes, &mut self.effects);
        self.reconnect();
    }

    pub(super) fn handle_timer(&mut self, timer: Timer<Life>) {
        if let Timer::ChangeSuspectToDown { member_id, .. } = &timer {
            self.effects.touched.insert(member_id.address);
        }
        let _outlived = self.foca.handle_timer(timer, &mut self.effects);
        self.reconnect();
    }

    /// Asks the member at `address` who is there, whichever life it is in.
    pub(super) fn announce(&mut self, address: Ipv6Addr) {
        let generation = self.table.get(address).map_or(0, |member| member.id().generation);
        let _cannot_encode = self.foca.announce(Life { address, generation }, &mut self.effects);
    }

    /// Takes over what another member knows.
    pub(super) fn apply(&mut self, updates: Vec<Member<Life>>, pass_on: bool) {
        self.effects.touched.extend(updates.iter().map(|update| update.id().address));
        let _cannot_encode = self.foca.apply_many(updates.into_iter(), pass_on, &mut self.effects);
        self.reconnect();
    }

    /// Goes on as a life later than `generation`.
    pub(super) fn renew_past(&mut self, generation: u64) {
        let life = Life { generation: generation.saturating_add(1), ..self.me() };
        let _same_life = self.foca.change_identity(life, &mut self.effects);
        self.effects.is_renewed = true;
        self.reconnect();
    }

    /// Forgets a member as if it had never been seen. Foca lets go only of those who are down.
    pub(super) fn forget(&mut self, address: Ipv6Addr) {
        let Some(life) = self.table.remove(address).map(|member| *member.id()) else { return };
        self.apply(vec![Member::down(life)], false);
        let _not_down = self.foca.handle_timer(Timer::RemoveDown(life), &mut self.effects);
    }

    /// A renewed foca deems itself alone until it hears something; those it knows are still there.
    fn reconnect(&mut self) {
        if std::mem::take(&mut self.effects.is_renewed) {
            self.effects.is_connected = false;
            let _nothing_to_apply =
                self.foca.apply_many(std::iter::empty(), false, &mut self.effects);
        }
    }

    /// Brings the table up to date; returns whose entry changed.
    pub(super) fn refresh(&mut self) -> Vec<Ipv6Addr> {
        if self.effects.touched.is_empty() {
            return Vec::new();
        }
        let touched = std::mem::take(&mut self.effects.touched);
        let mut changed = Vec::new();
        for member in self.foca.iter_membership_state() {
            let address = member.id().address;
            if touched.contains(&address) && self.table.get(address) != Some(member) {
                self.table.insert(address, member.clone());
                changed.push(address);
            }
        }
        changed
    }

    /// The effects since the last call.
    pub(super) fn take_effects(&mut self) -> Effects {
        let is_connected = self.effects.is_connected;
        let touched = std::mem::take(&mut self.effects.touched);
        std::mem::replace(
            &mut self.effects,
            Effects { touched, is_connected, ..Effects::default() },
        )
    }
}

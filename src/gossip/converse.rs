//! Both sides of an exchange.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use foca::State;

use crate::gossip::core::Gossip;
use crate::gossip::core::Output;
use crate::gossip::error::GossipError;
use crate::gossip::exchange::Entry;
use crate::gossip::exchange::FACTS_BUDGET;
use crate::gossip::exchange::Known;
use crate::gossip::exchange::Request;
use crate::gossip::exchange::Response;
use crate::gossip::exchange::decode;
use crate::gossip::exchange::encode;
use crate::gossip::facts::FactsStore;
use crate::gossip::facts::Parcel;
use crate::gossip::fingerprint::fingerprint;
use crate::gossip::fingerprint::print;
use crate::gossip::roster::Roster;
use crate::gossip::rumour::Rumour;
use crate::gossip::swim::Swim;
use crate::model::identity::NodeId;
use crate::model::time::Moment;

/// News from an exchange is passed on only when it is little: much of it means that this member
/// was away, and the others know it already.
const PASSED_ON_MAX: usize = 16;

impl Gossip {
    /// The first message of an exchange.
    #[must_use]
    pub fn exchange_request(&mut self) -> Vec<u8> {
        encode(&Request::Compare { fingerprint: self.fingerprint() })
    }

    /// Answers either message of an exchange that `source` began.
    ///
    /// # Errors
    /// [`GossipError`] for a stranger and for what cannot be read; nothing is taken over then.
    pub fn handle_exchange_request(
        &mut self,
        now: Moment,
        source: NodeId,
        request: &[u8],
    ) -> Result<Vec<u8>, GossipError> {
        self.roster.address(source).ok_or(GossipError::NotAMember(source))?;
        self.timers.notice_pause(now);
        let response = match decode(source, request)? {
            Request::Compare { fingerprint: theirs } => {
                if theirs == self.fingerprint() {
                    Response::Same
                } else {
                    self.exchange_interval = self.settings.exchange_interval;
                    Response::Digest(self.digest())
                }
            }
            Request::Reconcile { entries, facts, wanted } => {
                self.absorb(now, &entries);
                self.absorb_facts(now, &facts);
                Response::Facts(self.parcels(wanted.into_iter()))
            }
        };
        self.settle(now);
        Ok(encode(&response))
    }

    /// Takes the answer to a message of an exchange with `source`; returns the next message, if
    /// one is needed.
    ///
    /// # Errors
    /// [`GossipError`] for a stranger and for what cannot be read; nothing is taken over then.
    pub fn handle_exchange_response(
        &mut self,
        now: Moment,
        source: NodeId,
        response: &[u8],
    ) -> Result<Option<Vec<u8>>, GossipError> {
        self.roster.address(source).ok_or(GossipError::NotAMember(source))?;
        self.timers.notice_pause(now);
        let next = match decode(source, response)? {
            Response::Same => {
                let longest = self.settings.exchange_interval_max;
                self.exchange_interval = (self.exchange_interval * 2).min(longest);
                None
            }
            Response::Digest(theirs) => {
                self.exchange_interval = self.settings.exchange_interval;
                let request = self.reconcile(&theirs);
                self.absorb(now, &theirs);
                Some(encode(&request))
            }
            Response::Facts(facts) => {
                self.absorb_facts(now, &facts);
                None
            }
        };
        self.settle(now);
        Ok(next)
    }

    /// The fingerprint of all that this member knows.
    fn fingerprint(&mut self) -> [u8; 16] {
        let others =
            self.prints.sum(|address| known(&self.roster, &self.swim, &self.facts, address));
        let all = others.wrapping_add(print(&self.own_entry())).to_le_bytes();
        debug_assert_eq!(all, fingerprint(&self.digest()), "a change was not followed");
        all
    }

    /// What this member says of itself.
    fn own_entry(&self) -> Entry {
        let me = self.swim.me();
        let own = Known {
            generation: me.generation,
            incarnation: 0,
            state: State::Alive,
            has_left: self.has_left,
        };
        Entry { address: self.address, known: Some(own), facts: self.facts.version(self.address) }
    }

    /// All that this member knows, by address.
    fn digest(&self) -> Vec<Entry> {
        let others = self
            .roster
            .iter()
            .filter_map(|(address, _)| known(&self.roster, &self.swim, &self.facts, address));
        let mut digest: Vec<Entry> = others.chain([self.own_entry()]).collect();
        digest.sort_by_key(|entry| entry.address);
        digest
    }

    /// What the owner of the digest `theirs` lacks, and what is lacking here.
    fn reconcile(&self, theirs: &[Entry]) -> Request {
        let by_address: BTreeMap<Ipv6Addr, &Entry> =
            theirs.iter().map(|entry| (entry.address, entry)).collect();
        let mut entries = Vec::new();
        let mut pushed = Vec::new();
        for mine in self.digest() {
            let their = by_address.get(&mine.address).copied();
            if mine.is_news_to(their) {
                entries.push(mine);
            }
            if mine.facts > their.map_or(0, |their| their.facts) {
                pushed.push(mine.address);
            }
        }
        let wanted = theirs
            .iter()
            .filter(|their| self.roster.contains(their.address))
            .filter(|their| their.facts > self.facts.version(their.address))
            .map(|their| their.address)
            .collect();
        Request::Reconcile { entries, facts: self.parcels(pushed.into_iter()), wanted }
    }

    /// Takes over what another member knows of lives.
    fn absorb(&mut self, now: Moment, entries: &[Entry]) {
        let mut updates = Vec::new();
        for entry in entries {
            if entry.address == self.address {
                self.absorb_own(entry);
                continue;
            }
            let Some(member) = entry.member().filter(|member| member.id().is_sound()) else {
                continue;
            };
            if entry.known.is_some_and(|known| known.has_left) {
                self.handle_goodbye(now, *member.id());
            }
            if self.swim.get(entry.address) != Some(&member) {
                updates.push(member);
            }
        }
        let updates = self.believable(updates);
        let pass_on = updates.len() <= PASSED_ON_MAX;
        self.swim.apply(updates, pass_on);
    }

    /// Somebody else's idea of this member: refuted where it is wrong.
    fn absorb_own(&mut self, entry: &Entry) {
        let held = self.facts.version(self.address);
        if held > 0 && entry.facts > held {
            self.outputs.push_back(Output::FactsOutdated { version: entry.facts });
        }
        let Some(known) = entry.known else { return };
        let me = self.swim.me();
        match known.state {
            State::Down => self.live_past(known.generation),
            State::Suspect if known.generation == me.generation => {
                self.swim.apply(entry.member().into_iter().collect(), true);
            }
            _ if known.generation > me.generation => self.live_past(known.generation),
            State::Suspect | State::Alive => {}
        }
    }

    /// Keeps the facts that are new, and passes them on when they are few.
    fn absorb_facts(&mut self, now: Moment, facts: &[Parcel]) {
        let pass_on = facts.len() <= PASSED_ON_MAX;
        for parcel in facts {
            if self.keep_facts(parcel) && pass_on {
                self.spread(now, &Rumour::Facts(parcel.clone()));
            }
        }
    }

    /// The facts of these members, as many as one message holds.
    fn parcels(&self, addresses: impl Iterator<Item = Ipv6Addr>) -> Vec<Parcel> {
        let mut room = FACTS_BUDGET;
        addresses
            .filter_map(|address| self.facts.parcel(address))
            .take_while(|parcel| {
                let fits = parcel.blob.len() <= room;
                room = room.saturating_sub(parcel.blob.len());
                fits
            })
            .collect()
    }
}

/// What is known of another member; none of one that the document does not name.
fn known(roster: &Roster, swim: &Swim, facts: &FactsStore, address: Ipv6Addr) -> Option<Entry> {
    let known = swim.get(address).map(|member| Known {
        generation: member.id().generation,
        incarnation: member.incarnation(),
        state: member.state(),
        has_left: member.state() == State::Down && roster.has_left(*member.id()),
    });
    let is_named = roster.contains(address);
    is_named.then(|| Entry { address, known, facts: facts.version(address) })
}

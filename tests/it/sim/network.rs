//! Packets and streams between the simulated agents.

use rand::RngExt;
use raptor::config::document::Applied;
use raptor::config::document::blob::Blob;
use raptor::config::document::versions::Versions;
use raptor::gossip::core::Output;

use crate::sim::world::Event;
use crate::sim::world::World;

/// What is sent.
#[derive(Debug, Clone)]
pub enum Mail {
    /// May get lost.
    Packet(Vec<u8>),
    Request(Vec<u8>),
    Response(Vec<u8>),
    Blobs(Vec<Blob>),
    /// What the sender has; the answer is what it lacks.
    Versions(Versions, bool),
}

impl World {
    pub fn post(&mut self, from: usize, to: usize, mail: Mail) {
        let is_lost = matches!(mail, Mail::Packet(_)) && self.random.random_bool(self.weather.loss);
        if !is_lost && self.reaches(from, to) {
            let delay = self.random.random_range(1..=self.weather.delay_ms);
            self.plan(delay, Event::Deliver { to, from, mail });
        }
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        self.machines[from].part == self.machines[to].part
            && !self.weather.one_way.contains(&(from, to))
    }

    pub fn deliver(&mut self, to: usize, from: usize, mail: Mail) {
        if !self.reaches(from, to) {
            return;
        }
        let (now, source) = (self.now, self.machines[from].id());
        let Some(agent) = &mut self.machines[to].agent else { return };
        match mail {
            Mail::Packet(packet) => agent.gossip.handle_packet(now, source, &packet),
            Mail::Request(request) => {
                if let Ok(response) = agent.gossip.handle_exchange_request(now, source, &request) {
                    self.post(to, from, Mail::Response(response));
                }
            }
            Mail::Response(response) => {
                let next = agent.gossip.handle_exchange_response(now, source, &response);
                if let Ok(Some(next)) = next {
                    self.post(to, from, Mail::Request(next));
                }
            }
            Mail::Blobs(blobs) => return self.receive(to, from, blobs),
            Mail::Versions(theirs, is_answer) => {
                let missing = agent.document.missing(&theirs, usize::MAX);
                let own = agent.document.versions();
                if !missing.is_empty() {
                    self.post(to, from, Mail::Blobs(missing));
                }
                if !is_answer && !own.covers(&theirs) {
                    self.post(to, from, Mail::Versions(own, true));
                }
                return;
            }
        }
        self.flush(to);
    }

    /// Blobs are taken from members only, and are on the disk before anything follows from them.
    fn receive(&mut self, to: usize, from: usize, blobs: Vec<Blob>) {
        let (me, source) = (self.machines[to].id(), self.machines[from].id());
        let machine = &mut self.machines[to];
        let Some(agent) = &mut machine.agent else { return };
        let members = &agent.records().members;
        if machine.disk_full || members.contains_key(&me) && !members.contains_key(&source) {
            return;
        }
        let mut news = false;
        for blob in blobs {
            if let Ok(Applied::Applied { blobs, .. }) = agent.document.apply(blob) {
                machine.disk.extend(blobs);
                news = true;
            }
        }
        if news {
            self.changed(to);
        }
    }

    pub fn sync(&mut self, who: usize) {
        let machine = &mut self.machines[who];
        let run = machine.run;
        let Some(agent) = &mut machine.agent else { return };
        let versions = agent.document.versions();
        let known: Vec<_> = agent.records().members.keys().copied().collect();
        let others: Vec<usize> =
            known.iter().filter_map(|node| self.index.get(node).copied()).collect();
        let others: Vec<usize> = others.into_iter().filter(|other| *other != who).collect();
        if !others.is_empty() {
            let to = others[self.random.random_range(0..others.len())];
            self.post(who, to, Mail::Versions(versions, false));
        }
        self.plan(4_000, Event::Sync(who, run));
    }

    pub fn time_out(&mut self, who: usize) {
        let now = self.now;
        let Some(agent) = &mut self.machines[who].agent else { return };
        agent.armed = None;
        if agent.gossip.poll_timeout().is_some_and(|due| due <= now) {
            agent.gossip.handle_timeout(now);
        }
        self.flush(who);
    }

    /// Carries out what membership wants.
    pub fn flush(&mut self, who: usize) {
        let now = self.now;
        let machine = &mut self.machines[who];
        let run = machine.run;
        let Some(agent) = &mut machine.agent else { return };
        let (mut mails, mut is_news) = (Vec::new(), false);
        while let Some(output) = agent.gossip.poll_output() {
            match output {
                Output::Send { to, packet } => mails.push((to, Mail::Packet(packet))),
                Output::WantExchange { with } => {
                    mails.push((with, Mail::Request(agent.gossip.exchange_request())));
                }
                Output::StatusChanged { .. } => is_news = true,
                Output::FactsChanged { .. } | Output::FactsOutdated { .. } => {}
            }
        }
        let due = agent.gossip.poll_timeout().map(|due| due.max(now));
        if let Some(due) = due.filter(|due| agent.armed.is_none_or(|armed| *due < armed)) {
            agent.armed = Some(due);
            let after = u64::try_from(due.since(now).as_nanos().div_ceil(1_000_000)).unwrap();
            self.plan(after, Event::Gossip(who, run));
        }
        for (to, mail) in mails {
            if let Some(to) = self.index.get(&to).copied() {
                self.post(who, to, mail);
            }
        }
        if is_news {
            self.round_soon(who, 20);
        }
    }
}

//! Making a machine, once, and giving it back for certain, however the provider behaves.

use std::collections::BTreeMap;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::compute::cloud::Cloud;
use crate::compute::cloud::End;
use crate::compute::cloud::LOCKS;
use crate::compute::cloud::error::CloudCause;
use crate::compute::cloud::machine_of;
use crate::compute::cloud::marks;
use crate::compute::cloud::marks::Mark;
use crate::compute::cloud::marks::Marks;
use crate::compute::cloud::provider::Order;
use crate::compute::cloud::provider::Server;
use crate::compute::cloud::provider::State;
use crate::compute::cloud::user_data;
use crate::compute::error::Cause;
use crate::model::machine::IntentId;
use crate::model::machine::Machine;
use crate::model::machine::MachineSpec;
use crate::model::ssh_key::SshKey;

/// How often a machine is asked for when the provider fails and none shows.
const ASKS_MAX: u32 = 3;

impl Cloud {
    fn unsettled(&self) -> MutexGuard<'_, BTreeMap<IntentId, Instant>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn condemned(&self) -> MutexGuard<'_, BTreeMap<String, End>> {
        self.condemned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks once for a machine's end; whether that is certain. One that is not known yet may still
    /// appear: only when it stays unknown it is gone.
    async fn delete(&self, id: &str) -> Result<bool, CloudCause> {
        let first = *self.condemned().entry(id.to_owned()).or_insert(End::Asked(Instant::now()));
        let was_known = self.provider.delete(id).await?;
        let stayed_unknown = match first {
            End::Asked(since) => since.elapsed() >= self.pace.settle,
            End::Certain => true,
        };
        let is_certain = was_known || stayed_unknown;
        if is_certain {
            self.condemned().insert(id.to_owned(), End::Certain);
        }
        Ok(is_certain)
    }

    /// Gives a machine back for certain.
    async fn end(&self, id: &str) -> Result<(), CloudCause> {
        while !self.delete(id).await? {
            tokio::time::sleep(self.pace.poll).await;
        }
        Ok(())
    }

    /// Those that nobody has begun to give back. One whose end is not certain is ended first: it
    /// could go away under whoever takes it up.
    async fn spared(&self, found: Vec<Server>) -> Result<Vec<Server>, CloudCause> {
        let mut spared = Vec::new();
        for server in found {
            let end = self.condemned().get(&server.id).copied();
            match end {
                None => spared.push(server),
                Some(End::Certain) => {}
                Some(End::Asked(_)) => self.end(&server.id).await?,
            }
        }
        Ok(spared)
    }

    pub(super) fn is_condemned(&self, server: &Server) -> bool {
        self.condemned().get(&server.id) == Some(&End::Certain)
    }

    /// The machines of a wish, the oldest first. Where one was asked for a moment ago, it is given
    /// the time to show.
    pub(super) async fn of_intent(&self, intent: IntentId) -> Result<Vec<Server>, CloudCause> {
        loop {
            let found = self.marked(Mark::Intent(intent)).await?;
            let since = self.unsettled().get(&intent).copied();
            let waits = since.is_some_and(|since| since.elapsed() < self.pace.settle);
            if !found.is_empty() || !waits {
                return Ok(found);
            }
            tokio::time::sleep(self.pace.poll).await;
        }
    }

    /// What bears a mark and is not gone, the oldest first.
    pub(super) async fn marked(&self, mark: Mark) -> Result<Vec<Server>, CloudCause> {
        let mut found = self.provider.marked(mark).await?;
        // Whether the provider's filter does what it promises is not left to the provider.
        found.retain(|server| server.marks.bear(mark) && server.state != State::Gone);
        found.sort_by(Server::by_age);
        Ok(found)
    }

    pub(super) async fn make(&self, spec: &MachineSpec) -> Result<Machine, (&'static str, Cause)> {
        let _one_at_a_time = self.lock_of(spec.intent).lock().await;
        let looked = self.of_intent(spec.intent).await;
        let found = match looked {
            Ok(found) => self.spared(found).await,
            Err(cause) => Err(cause),
        };
        let found = found.map_err(|cause| ("look for it", Cause::from(cause)))?;
        let (id, is_new) = match found.first() {
            Some(server) => (server.id.clone(), false),
            None => (self.ask(spec).await?, true),
        };
        let made = self.until_it_runs(spec, &id).await;
        let settled = match made {
            Ok(()) => self.one_stays(spec).await,
            Err(cause) => Err(cause),
        };
        match settled {
            Ok(server) => {
                self.unsettled().remove(&spec.intent);
                Ok(machine_of(&server))
            }
            Err(cause) => {
                // One that was there before is another call's, and may be in use.
                if is_new {
                    self.give_up(spec, &id).await;
                }
                Err(("make it", cause))
            }
        }
    }

    /// Asks for a machine until there is one: its id.
    async fn ask(&self, spec: &MachineSpec) -> Result<String, (&'static str, Cause)> {
        let step = "ask for it";
        let order = order(spec).map_err(|cause| (step, cause))?;
        let mut last = None;
        for _ in 0..ASKS_MAX {
            // Before the request: it may be cut off at any point of it.
            self.unsettled().insert(spec.intent, Instant::now());
            let cause = match self.provider.create(&order).await {
                Ok(id) => return Ok(id),
                Err(cause) => cause,
            };
            if !cause.is_uncertain() && !matches!(cause, CloudCause::Taken { .. }) {
                self.unsettled().remove(&spec.intent);
                return Err((step, cause.into()));
            }
            tracing::debug!(intent = %spec.intent, %cause, "looking whether it was made");
            self.unsettled().insert(spec.intent, Instant::now());
            let looked = self.of_intent(spec.intent).await;
            let found = looked.map_err(|cause| (step, Cause::from(cause)))?;
            if let Some(server) = found.iter().find(|server| !self.is_condemned(server)) {
                return Ok(server.id.clone());
            }
            last = Some(cause);
        }
        let cause = last.unwrap_or(CloudCause::Lost { what: "does not show" });
        Err((step, cause.into()))
    }

    /// Waits until a machine runs and has an address.
    async fn until_it_runs(&self, spec: &MachineSpec, id: &str) -> Result<(), Cause> {
        let start = Instant::now();
        let mut was_seen = false;
        loop {
            match self.provider.server(id).await? {
                Some(server) if server.marks.cluster != spec.cluster => {
                    return Err(Cause::NameTaken { holder: format!("server {id}") });
                }
                Some(server) => match server.state {
                    State::Running if !server.addresses.is_empty() => return Ok(()),
                    State::Gone => {
                        return Err(CloudCause::Lost { what: "went away while it was made" }.into());
                    }
                    _ => was_seen = true,
                },
                // Just after a create, "not found" means "not yet".
                None if !was_seen && start.elapsed() < self.pace.settle => {}
                None => {
                    return Err(CloudCause::Lost { what: "went away while it was made" }.into());
                }
            }
            if start.elapsed() >= self.pace.ready {
                let what = format!("server {id} until it ran");
                return Err(Cause::TimedOut { what, after: self.pace.ready });
            }
            tokio::time::sleep(self.pace.poll).await;
        }
    }

    /// Of several machines of one wish the oldest stays; it is given.
    async fn one_stays(&self, spec: &MachineSpec) -> Result<Server, Cause> {
        let start = Instant::now();
        let mut found = loop {
            let found = self.marked(Mark::Intent(spec.intent)).await?;
            let found = self.spared(found).await?;
            if !found.is_empty() {
                break found;
            }
            if start.elapsed() >= self.pace.settle {
                return Err(
                    CloudCause::Lost { what: "does not show in the provider's list" }.into()
                );
            }
            tokio::time::sleep(self.pace.poll).await;
        };
        found.retain(|server| server.marks.cluster == spec.cluster);
        let mut found = found.into_iter();
        let Some(oldest) = found.next() else {
            return Err(Cause::NameTaken { holder: format!("wish {}", spec.intent) });
        };
        for surplus in found {
            tracing::warn!(intent = %spec.intent, id = surplus.id, "a second machine is given back");
            self.end(&surplus.id).await?;
        }
        if oldest.state == State::Running && !oldest.addresses.is_empty() {
            return Ok(oldest);
        }
        // Another one, older than the one that was waited for.
        self.until_it_runs(spec, &oldest.id).await?;
        let server = self.provider.server(&oldest.id).await?;
        server.ok_or_else(|| CloudCause::Lost { what: "went away while it was made" }.into())
    }

    /// Takes back what could not be finished; what is left is found by its mark.
    async fn give_up(&self, spec: &MachineSpec, id: &str) {
        let is_ours = |server: &Server| {
            server.marks.intent == spec.intent && server.marks.cluster == spec.cluster
        };
        match self.provider.server(id).await {
            Ok(Some(server)) if !is_ours(&server) => return,
            // Its id is the answer to our own request.
            _ => {}
        }
        if let Err(cause) = self.end(id).await {
            tracing::warn!(intent = %spec.intent, id, %cause, "not given back");
        }
    }

    pub(super) async fn remove(&self, machine: &Machine) -> Result<(), Cause> {
        let _one_at_a_time = self.lock_of(machine.intent).lock().await;
        let is_ours = |server: &Server| {
            let marks = &server.marks;
            marks.intent == machine.intent && marks.cluster == machine.cluster
        };
        let start = Instant::now();
        let mut asked_at: Option<Instant> = None;
        loop {
            let mut left = self.of_intent(machine.intent).await?;
            if !left.iter().any(|server| server.id == machine.id) {
                // A list may lag behind.
                left.extend(self.provider.server(&machine.id).await?);
            }
            left.retain(|server| is_ours(server) && server.state != State::Gone);
            if left.is_empty() {
                self.unsettled().remove(&machine.intent);
                return Ok(());
            }
            let is_due = asked_at.is_none_or(|asked| asked.elapsed() >= self.pace.settle);
            for server in &left {
                if is_due || !self.is_condemned(server) {
                    asked_at = Some(Instant::now());
                    self.delete(&server.id).await?;
                    self.provider.forget(server).await?;
                }
            }
            if start.elapsed() >= self.pace.ready {
                let what = format!("server {} until it was gone", machine.id);
                return Err(Cause::TimedOut { what, after: self.pace.ready });
            }
            tokio::time::sleep(self.pace.poll).await;
        }
    }

    fn lock_of(&self, intent: IntentId) -> &tokio::sync::Mutex<()> {
        let sum: usize = intent.to_string().bytes().map(usize::from).sum();
        &self.locks[sum % LOCKS]
    }
}

fn order(spec: &MachineSpec) -> Result<Order<'_>, Cause> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice()).map_err(|_| Cause::Request {
        what: "the machine's host key",
        why: "cannot be made: this computer has no randomness",
    })?;
    let key = SshKey::from_seed(&seed);
    let marks = Marks {
        intent: spec.intent,
        cluster: spec.cluster,
        name: spec.name.clone(),
        host_key: Some(key.public),
    };
    let name = marks::server_name(&spec.name, spec.intent);
    Ok(Order { spec, name, marks, user_data: user_data::cloud_config(spec, &key)? })
}

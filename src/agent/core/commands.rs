//! Answers to what the API and other members ask.

use std::time::Duration;

use serde_json::json;

use crate::agent::BUILD;
use crate::agent::PROTOCOL;
use crate::agent::api::AgentStatus;
use crate::agent::api::DocumentChange;
use crate::agent::api::LinkStatus;
use crate::agent::api::LogLine;
use crate::agent::api::NewTicket;
use crate::agent::api::SshInfo;
use crate::agent::api::TICKET_USES_MAX;
use crate::agent::api::TicketRequest;
use crate::agent::api::TicketRow;
use crate::agent::api::WriteRequest;
use crate::agent::clock;
use crate::agent::clock::wall_clock;
use crate::agent::core::Core;
use crate::agent::core::Stopping;
use crate::agent::core::introduction::PEERS_MAX;
use crate::agent::core::not_synced;
use crate::agent::error::AgentError;
use crate::agent::error::chain;
use crate::agent::handle::Command;
use crate::agent::handle::Reply;
use crate::agent::ticket::Ticket;
use crate::agent::view;
use crate::config::change::Change;
use crate::config::document::log::LogEntry;
use crate::config::document::views::TicketRecord;
use crate::config::path::Path;
use crate::model::identity::NodeId;
use crate::model::identity::SecretKey;
use crate::model::machine::Access;
use crate::model::member::Member;
use crate::model::time::Moment;
use crate::model::time::Timestamp;

/// Longest life of an invitation: a week.
const TICKET_TTL_MS_MAX: u64 = 7 * 24 * 3600 * 1000;

/// How long the record of an invitation that ended is kept, for whoever looks for it.
const TICKET_KEPT: Duration = Duration::from_secs(24 * 3600);

/// How long a machine may find nobody before that counts as a problem.
const ALONE_AFTER: Duration = Duration::from_secs(30);

impl Core {
    /// Does what is asked, and answers at once or once the disk has it.
    pub fn handle_command(&mut self, command: Command) {
        match command {
            Command::Status(reply) => answer(reply, Ok(self.status())),
            Command::Members(reply) => answer(reply, self.synced_members()),
            Command::Admit(request, reply) => self.admit(&request, Vec::new(), PEERS_MAX, reply),
            Command::Introduce(bootstrap, reply) => self.introduce(&bootstrap, reply),
            Command::Evict(word, reply) => self.evict(&word, reply),
            Command::Rejoin(reply) => {
                self.rejoin();
                answer(reply, Ok(()));
            }
            Command::Document(reply) => answer(reply, Ok(self.parts.document.value())),
            Command::Write(request, reply) => self.handle_write(&request, reply),
            Command::Fleet(reply) => answer(reply, Ok(self.fleet_inputs())),
            Command::Drives(drives, reply) => {
                self.set_drives(drives);
                answer(reply, Ok(()));
            }
            Command::Log(limit, reply) => answer(reply, Ok(self.log(limit))),
            Command::Tickets(reply) => answer(reply, Ok(self.tickets())),
            Command::CreateTicket(request, reply) => self.create_ticket(&request, reply),
            Command::RevokeTicket(id, reply) => self.revoke_ticket(&id, reply),
            Command::SshInfo(word, reply) => answer(reply, self.ssh_info(&word)),
            Command::Find(word, reply) => answer(reply, self.find(&word)),
            Command::Mesh(reply) => answer(reply, Ok(self.mesh_view())),
            Command::Metrics(reply) => answer(reply, Ok(self.metrics())),
            Command::Echo(request, reply) => self.echo(&request, reply),
            Command::Stop { leave, reply } => {
                answer(reply, Ok(()));
                self.part(Stopping::Asked, leave);
            }
            from_peer => self.handle_peer_command(from_peer),
        }
        self.settle();
    }

    fn handle_peer_command(&mut self, command: Command) {
        let now = self.now();
        let invalid = |error: &dyn std::error::Error| AgentError::Invalid(chain(error));
        match command {
            Command::Exchange { source, request, reply } => {
                let outcome = self.parts.gossip.handle_exchange_request(now, source, &request);
                answer(reply, outcome.map_err(|error| invalid(&error)));
            }
            Command::ExchangeAnswer { source, answer: bytes, reply } => {
                let outcome = self.parts.gossip.handle_exchange_response(now, source, &bytes);
                answer(reply, outcome.map_err(|error| invalid(&error)));
            }
            Command::Versions(reply) => answer(reply, Ok(self.parts.document.versions())),
            Command::Missing { theirs, reply } => answer(reply, Ok(self.missing(&theirs))),
            Command::Apply { source, blobs, reply } => {
                let count = blobs.len();
                let done = move |_: &mut Self, outcome: Result<(), AgentError>| {
                    answer(reply, outcome.map(|()| count));
                };
                self.apply(source, blobs, Box::new(done));
            }
            _ => {}
        }
    }

    fn status(&self) -> AgentStatus {
        let genesis = &self.parts.genesis;
        let mut problems = self.parts.problems.clone();
        if !self.is_ready() {
            problems.push(not_synced().to_string());
        }
        problems.extend(self.disk_problem.iter().map(|why| format!("not on disk: {why}")));
        problems.extend(self.facts_problem.clone());
        problems.extend(self.parts.interface.problem());
        problems.extend(self.parts.tending.backups.borrow().problems());
        problems.extend(self.parts.names.problem.clone());
        problems.extend(self.whereabouts.mapping_problem.clone());
        let reach_of = |node| self.parts.gossip.facts(node).map(|facts| facts.reach);
        let (members, pin) = (&self.roster().members, &self.parts.pin);
        problems.extend(pin.problem(members, self.me(), |node| reach_of(node).unwrap_or_default()));
        match self.loneliness() {
            Some(lonely) => problems.push(lonely),
            None => problems.extend(self.members().iter().filter_map(view::trouble)),
        }
        let links = self
            .parts
            .mesh
            .report()
            .links
            .into_iter()
            .map(|link| LinkStatus {
                name: self.parts.gossip.facts(link.peer).map(|facts| facts.name.clone()),
                node: link.peer,
                endpoint: link.endpoint,
                rtt_ms: link.rtt_ms,
            })
            .collect();
        AgentStatus {
            node: self.me(),
            name: self.own_name(),
            cluster: genesis.name.clone(),
            cluster_id: genesis.cluster_id(),
            genesis: genesis.clone(),
            build: BUILD.to_owned(),
            protocol: PROTOCOL,
            pid: std::process::id(),
            started_at: self.started_at,
            endpoints: self.endpoints(),
            document_updates: u64::try_from(self.parts.document.blobs().len()).unwrap_or(u64::MAX),
            interface: self.parts.interface.summary(),
            names: self.parts.names.summary.clone(),
            links,
            problems,
        }
    }

    /// That nobody answers, once there was time enough to. A machine that was put out
    /// while it was away is met with silence, and can only guess.
    fn loneliness(&self) -> Option<String> {
        let others = self.roster().members.len().saturating_sub(1);
        let is_early = self.now() < Moment::at(ALONE_AFTER);
        if others == 0 || is_early || !self.living().is_empty() {
            return None;
        }
        Some(format!(
            "none of the {others} other members answers: they or the network are down, or they \
             have put this machine out (`raptor members` on one of them tells)"
        ))
    }

    fn synced_members(&self) -> Result<Vec<Member>, AgentError> {
        if self.is_ready() { Ok(self.members()) } else { Err(not_synced()) }
    }

    pub(super) fn find(&self, word: &str) -> Result<Member, AgentError> {
        view::find(&self.synced_members()?, word).cloned()
    }

    fn rejoin(&mut self) {
        let now = self.now();
        self.parts.mesh.dial_missing(now);
        let members: Vec<_> = self.roster().members.keys().copied().collect();
        let me = self.me();
        for node in members.into_iter().filter(|node| *node != me) {
            self.exchange_with(node);
            self.sync_with(node);
        }
    }

    fn handle_write(&mut self, request: &WriteRequest, reply: Reply<()>) {
        let changes: Result<Vec<Change>, _> = request.changes.iter().map(change).collect();
        match changes {
            Ok(changes) => {
                let done = move |_: &mut Self, outcome| answer(reply, outcome);
                self.write(&request.note, &changes, Box::new(done));
            }
            Err(error) => answer(reply, Err(error)),
        }
    }

    fn log(&self, limit: usize) -> Vec<LogLine> {
        let roster = self.roster();
        let admission =
            |node: NodeId| roster.members.get(&node).or_else(|| roster.evicted.get(&node));
        let entries = self.parts.document.log(limit);
        let line = |entry: LogEntry| LogLine {
            time: entry.time,
            name: admission(entry.author).map(|admission| admission.name.clone()),
            author: entry.author,
            note: entry.note,
            paths: entry.paths,
        };
        entries.into_iter().map(line).collect()
    }

    fn tickets(&self) -> Vec<TicketRow> {
        let row = |(id, ticket): (String, TicketRecord)| TicketRow {
            id,
            created_by: ticket.created_by,
            created_at: ticket.created_at,
            expires_at: ticket.expires_at,
            uses_left: ticket.uses_left,
            rest: ticket.rest,
        };
        let now = wall_clock();
        let tickets = self.roster().tickets.clone().into_iter();
        tickets.filter(|(_, ticket)| view::ticket_fault(ticket, now).is_none()).map(row).collect()
    }

    fn create_ticket(&mut self, request: &TicketRequest, reply: Reply<NewTicket>) {
        if !(1..=TICKET_TTL_MS_MAX).contains(&request.ttl_ms) {
            let reason = "a ticket holds for at most 7 days".to_owned();
            return answer(reply, Err(AgentError::Invalid(reason)));
        }
        if !(1..=TICKET_USES_MAX).contains(&request.uses) {
            let reason = format!("a ticket lets in 1 to {TICKET_USES_MAX} machines");
            return answer(reply, Err(AgentError::Invalid(reason)));
        }
        let mut refused = None;
        let key = SecretKey::generate(|seed| match clock::random() {
            Ok(random) => *seed = random,
            // A fixed seed ends the search; the ticket is not made.
            Err(error) => {
                refused = Some(error.to_string());
                *seed = *self.parts.key.to_seed();
            }
        });
        if let Some(reason) = refused {
            return answer(reply, Err(AgentError::Unavailable(reason)));
        }
        let now = wall_clock();
        let ticket = Ticket {
            genesis: self.parts.genesis.clone(),
            host: self.me(),
            endpoints: self.endpoints(),
            expires_at: now.after(Duration::from_millis(request.ttl_ms)),
            key,
        };
        let id = ticket.id().short();
        let record = json!({
            "key": ticket.id(),
            "created_by": self.me(),
            "created_at": now,
            "expires_at": ticket.expires_at,
            "uses_left": request.uses,
        });
        let made = NewTicket {
            id: id.clone(),
            ticket: ticket.to_text(&self.parts.key),
            expires_at: ticket.expires_at,
        };
        let path = Path::root().join("tickets").join(id.clone());
        let done = move |_: &mut Self, outcome: Result<(), AgentError>| {
            answer(reply, outcome.map(|()| made));
        };
        let mut changes = self.ended_tickets(now);
        changes.push(Change::Set { path, value: record });
        self.write(&format!("create ticket {id}"), &changes, Box::new(done));
    }

    /// Takes out the records of invitations that ended long ago.
    fn ended_tickets(&self, now: Timestamp) -> Vec<Change> {
        let is_over = |ticket: &TicketRecord| ticket.expires_at.after(TICKET_KEPT) < now;
        let over = self.roster().tickets.iter().filter(|(_, ticket)| is_over(ticket));
        let path = |id: &String| Path::root().join("tickets").join(id.clone());
        over.map(|(id, _)| Change::Unset { path: path(id) }).collect()
    }

    fn revoke_ticket(&mut self, id: &str, reply: Reply<()>) {
        let now = wall_clock();
        let fault = match self.roster().tickets.get(id) {
            None => Some(format!("there is no ticket {id:?}")),
            Some(ticket) => view::ticket_fault(ticket, now),
        };
        if let Some(reason) = fault {
            return answer(reply, Err(AgentError::NotFound(reason)));
        }
        let path = Path::root().join("tickets").join(id).join(view::REVOKED_AT);
        let change = Change::Set { path, value: json!(now) };
        let done = move |_: &mut Self, outcome| answer(reply, outcome);
        self.write(&format!("revoke ticket {id}"), &[change], Box::new(done));
    }

    fn ssh_info(&self, word: &str) -> Result<SshInfo, AgentError> {
        let member = self.find(word)?;
        let facts = self.parts.gossip.facts(member.id);
        // A machine with keys known beforehand is one that a back-end made.
        let machines = self.parts.document.machines();
        let made = machines.into_iter().find_map(|(intent, record)| match record.access {
            Some(Access::Ssh { host_keys, .. })
                if record.node == Some(member.id) && !host_keys.is_empty() =>
            {
                Some((intent, host_keys))
            }
            _ => None,
        });
        let (intent, host_keys) = made.unzip();
        Ok(SshInfo {
            intent,
            host_keys: host_keys.unwrap_or_default(),
            node: member.id,
            name: member.name,
            port: facts.and_then(|facts| facts.ssh_port),
            user: facts.and_then(|facts| facts.ssh_user.clone()).filter(|user| is_login(user)),
            hosts: member.endpoints.iter().map(std::net::SocketAddr::ip).collect(),
            labels: member.labels,
        })
    }
}

/// Whether a member's word is a login and nothing else: `ssh` gets it as an argument.
fn is_login(word: &str) -> bool {
    let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=32).contains(&word.len()) && !word.starts_with('-') && word.bytes().all(is_sound)
}

/// Hands over an answer; a caller that stopped waiting for it misses nothing.
fn answer<T>(reply: Reply<T>, outcome: Result<T, AgentError>) {
    let _ = reply.send(outcome);
}

fn change(change: &DocumentChange) -> Result<Change, AgentError> {
    let parse = |path: &str| {
        path.parse::<Path>().map_err(|error| AgentError::Invalid(format!("{path:?}: {error}")))
    };
    Ok(match change {
        DocumentChange::Set { path, value } => {
            Change::Set { path: parse(path)?, value: value.clone() }
        }
        DocumentChange::Unset { path } => Change::Unset { path: parse(path)? },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_no_login() {
        assert!(is_login("root") && is_login("ec2-user") && is_login("a.b_c"));
        for word in ["", "-oProxyCommand=x", "a b", "a@b", "a\nb", &"x".repeat(33)] {
            assert!(!is_login(word), "{word:?}");
        }
    }
}

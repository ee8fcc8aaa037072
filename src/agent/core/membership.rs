//! Who belongs: the document's members told to mesh, gossip and streams; admission and eviction.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use crate::agent::PROTOCOL;
use crate::agent::admission::Knock;
use crate::agent::admission::KnockAnswer;
use crate::agent::api::AdmitRequest;
use crate::agent::api::Bootstrap;
use crate::agent::clock::wall_clock;
use crate::agent::core::Core;
use crate::agent::core::Inbox;
use crate::agent::core::Stopping;
use crate::agent::core::introduction::KNOCK_PEERS_MAX;
use crate::agent::handle::Reply;
use crate::agent::view;
use crate::agent::view::Admitted;
use crate::agent::view::Observed;
use crate::config::change::Change;
use crate::config::document::views::TicketRecord;
use crate::config::path::Path;
use crate::mesh::output::KnockId;
use crate::mesh::output::Peer;
use crate::model::facts::Facts;
use crate::model::facts::SignedFacts;
use crate::model::identity::NodeId;
use crate::model::member::Member;
use crate::model::member::Role;
use crate::model::member::Status;
use crate::model::name::Name;

/// How long a member that was put out is still spoken to, so that it can learn of it.
const FAREWELL: Duration = Duration::from_secs(2);

/// Addresses at which a member is looked for: it says itself what they are.
const PEER_ENDPOINTS_MAX: usize = 24;

impl Core {
    /// Tells mesh, gossip and streams who the members are, and what they say of themselves.
    pub(super) fn refresh_members(&mut self) {
        let now = self.now();
        let me = self.me();
        let roster = self.roster();
        if roster.evicted.contains_key(&me) {
            // What the neighbours are being handed goes first: it may be this very news.
            return self.part(Stopping::Evicted, false);
        }
        let admissions = &roster.members;
        let mut roles: BTreeMap<NodeId, Role> =
            admissions.iter().map(|(node, admission)| (*node, admission.role)).collect();
        let mut peers: BTreeMap<NodeId, Vec<SocketAddr>> = admissions
            .iter()
            .map(|(node, admission)| (*node, admission.endpoints.clone()))
            .collect();
        let is_out = |node: &&NodeId| roster.evicted.contains_key(*node);
        let evicted: BTreeSet<NodeId> = self.introduced.keys().filter(is_out).copied().collect();
        let invitations = self.invitations();
        if !admissions.contains_key(&me) {
            // The document has not come yet, or not as far as our own admission: whoever
            // introduced us is known besides.
            for peer in &self.parts.file.peers {
                roles.entry(peer.id).or_insert(Role::Full);
                peers.entry(peer.id).or_default();
            }
            roles.insert(me, Role::Full);
        }
        self.introduced.retain(|node, until| *until > now && !evicted.contains(node));
        for (node, until) in &self.introduced {
            roles.entry(*node).or_insert(Role::Full);
            peers.entry(*node).or_default();
            self.refresh_at = Some(self.refresh_at.map_or(*until, |due| due.min(*until)));
        }
        // After a restart no facts are known yet: where they were at first is the way back.
        for peer in &self.parts.file.peers {
            if let Some(known) = peers.get_mut(&peer.id) {
                known.extend(&peer.endpoints);
            }
        }
        self.farewells.retain(|_, until| *until > now);
        for (node, until) in &self.farewells {
            roles.entry(*node).or_insert(Role::Worker);
            peers.entry(*node).or_default();
            self.refresh_at = Some(self.refresh_at.map_or(*until, |due| due.min(*until)));
        }
        self.publish_facts();
        self.remember_members();
        self.parts.gossip.set_members(now, &roles.keys().copied().collect());
        peers.remove(&me);
        self.publish_names();
        let peers = peers.into_iter().map(|(id, told)| self.peer(id, &told)).collect();
        self.parts.mesh.set_parent(now, self.parent());
        self.parts.mesh.set_peers(now, peers);
        self.parts.mesh.set_invitations(invitations);
        self.parts.directory.replace(roles);
        self.parts.streams.drop_untrusted();
        self.refresh_interface();
        self.refresh_secrets();
        self.refresh_backups();
        self.settle();
    }

    /// The keys that may knock here. Only the member that made a ticket answers for it, as no other
    /// can know how often it was used. One that is used up may still knock: to be told so, or to
    /// be told again that it was let in.
    fn invitations(&self) -> BTreeSet<NodeId> {
        let (me, wall) = (self.me(), wall_clock());
        let tickets = self.roster().tickets.values();
        tickets
            .filter(|ticket| ticket.created_by == me && ticket.expires_at >= wall)
            .map(|ticket| ticket.key)
            .collect()
    }

    /// A member as the mesh should know it: its own word on where it is first, then the document's.
    fn peer(&self, id: NodeId, told: &[SocketAddr]) -> Peer {
        let facts = self.parts.gossip.facts(id);
        let mut endpoints = facts.map(|facts| facts.endpoints.clone()).unwrap_or_default();
        let remembered = self.parts.remembered.get(&id);
        for endpoint in told.iter().chain(remembered.into_iter().flatten()) {
            if !endpoints.contains(endpoint) {
                endpoints.push(*endpoint);
            }
        }
        endpoints.truncate(PEER_ENDPOINTS_MAX);
        let gone = matches!(self.parts.gossip.status(id), Some(Status::Failed | Status::Left));
        let reach = facts.map(|facts| facts.reach).unwrap_or_default();
        Peer { id, endpoints, alive: !gone, reach }
    }

    /// The one member that this machine links to, when it is a `tree` one. It is not itself.
    pub(super) fn parent(&self) -> Option<NodeId> {
        let me = self.me();
        self.parts.pin.parent_among(&self.roster().members).filter(|parent| *parent != me)
    }

    /// Says of this machine what holds, when it differs from what was said last.
    fn publish_facts(&mut self) {
        let me = self.me();
        let last = self.parts.gossip.facts(me);
        let file = &self.parts.file;
        let description = &file.description;
        let mut facts = Facts {
            node: me,
            version: self.facts_version,
            name: self.own_name(),
            build: crate::agent::BUILD.to_owned(),
            protocol: PROTOCOL,
            compute_type: description.compute_type.clone(),
            server_type: description.server_type.clone(),
            labels: description.labels.clone(),
            endpoints: self.endpoints(),
            nat: self.whereabouts.kind,
            reach: self.parts.pin.reach,
            parent: self.parent(),
            ssh_port: description.ssh_port,
            ssh_user: description.ssh_user.clone(),
            os: self.os.clone(),
            arch: std::env::consts::ARCH.to_owned(),
            joined_at: file.joined_at.unwrap_or(self.started_at),
            started_at: self.started_at,
            rest: self.fleet_facts(),
        };
        if last == Some(&facts) && !self.facts_outdated {
            return;
        }
        self.facts_version = wall_clock().as_millis().max(self.facts_version.saturating_add(1));
        facts.version = self.facts_version;
        self.facts_outdated = false;
        match SignedFacts::sign(&facts, &self.parts.key) {
            Ok(signed) => {
                self.facts_problem = None;
                let now = self.now();
                self.parts.gossip.set_own_facts(now, &signed);
            }
            Err(error) => self.facts_problem = Some(error.to_string()),
        }
    }

    /// Members that answer, besides this one.
    pub(super) fn living(&self) -> Vec<NodeId> {
        let me = self.me();
        self.parts
            .gossip
            .statuses()
            .into_iter()
            .filter(|(node, (status, _))| *node != me && *status == Status::Alive)
            .map(|(node, _)| node)
            .collect()
    }

    /// Everybody, as `raptor members` shows them, by name.
    pub(super) fn members(&self) -> Vec<Member> {
        let admissions = &self.roster().members;
        let names: BTreeMap<NodeId, Name> =
            admissions.iter().map(|(node, admission)| (*node, admission.name.clone())).collect();
        let report = self.parts.mesh.report();
        let me = self.me();
        let mut members: Vec<Member> = admissions
            .iter()
            .map(|(node, admission)| {
                let route = report.route(*node);
                let observed = Observed {
                    status: if *node == me {
                        Some(Status::Alive)
                    } else {
                        self.parts.gossip.status(*node)
                    },
                    facts: self.parts.gossip.facts(*node),
                    via: route.map(|route| route.first_hop).filter(|hop| hop != node),
                    rtt_ms: route.map(|route| route.rtt_ms),
                };
                let admitted = Admitted {
                    name: admission.name.clone(),
                    endpoints: admission.endpoints.clone(),
                    added_at: admission.added_at,
                };
                view::member(*node, &self.parts.genesis.name, &admitted, &observed, &names)
            })
            .collect();
        members.sort_by(|left, right| left.name.cmp(&right.name));
        members
    }

    /// Takes a key into the cluster, and names up to `peers_max` members to it. Again for the same
    /// key: the same answer.
    pub(super) fn admit(
        &mut self,
        request: &AdmitRequest,
        extra: Vec<Change>,
        peers_max: usize,
        reply: Reply<Bootstrap>,
    ) {
        if let Some(withdrawn) = request.intent.and_then(|intent| self.withdrawn(intent)) {
            let _ = reply.send(Err(withdrawn));
            return;
        }
        let admissions = &self.roster().members;
        let name = match admissions.get(&request.node) {
            Some(known) => known.name.clone(),
            None => view::free_name(&request.name, &|name| {
                admissions.values().any(|admission| admission.name == *name)
            }),
        };
        let mut changes = extra;
        let mut set = |path: Path, value: Value| changes.push(Change::Set { path, value });
        if admissions.contains_key(&request.node) {
            set(member_path(request.node).join("endpoints"), json!(request.endpoints));
        } else {
            let mut admission = json!({
                "name": name,
                "role": request.role,
                "added_at": wall_clock(),
                "added_by": self.me(),
                "endpoints": request.endpoints,
            });
            if let Some(intent) = request.intent {
                admission["intent"] = json!(intent);
            }
            set(member_path(request.node), admission);
        }
        if let Some(intent) = request.intent {
            let machine = Path::root().join("machines").join(intent.to_string());
            set(machine.join("node"), json!(request.node));
        }
        let bootstrap = self.bootstrap(name.clone(), peers_max);
        let note = format!("admit {name}");
        self.write(
            &note,
            &changes,
            Box::new(move |_, outcome| {
                let _ = reply.send(outcome.map(|()| bootstrap));
            }),
        );
    }

    /// Puts a member out: its key leaves the document, and it is told.
    pub(super) fn evict(&mut self, word: &str, reply: Reply<Member>) {
        let members = self.members();
        let member = match view::find(&members, word) {
            Ok(member) => member.clone(),
            Err(error) => {
                let _ = reply.send(Err(error));
                return;
            }
        };
        // For a moment longer it is spoken to, so that it hears the news from the document itself.
        if member.id != self.me() {
            self.farewells.insert(member.id, self.now() + FAREWELL);
        }
        let changes =
            [Change::Set { path: member_path(member.id).join("evicted"), value: json!(true) }];
        let note = format!("evict {}", member.name);
        self.write(
            &note,
            &changes,
            Box::new(move |core, outcome| {
                // Best effort: one that cannot be told is refused from now on anyway.
                if outcome.is_ok() && member.id != core.me() {
                    core.sync_with(member.id);
                }
                let _ = reply.send(outcome.map(|()| member));
            }),
        );
    }

    /// Somebody knocks with a ticket's key.
    pub(super) fn handle_knock(&mut self, knock: KnockId, invitation: NodeId, request: &[u8]) {
        let asked = Knock::read(request, &self.parts.genesis.cluster_id(), invitation);
        let me = self.me();
        let made_here = |ticket: &TicketRecord| ticket.key == invitation && ticket.created_by == me;
        let ticket = self.roster().tickets.iter().find(|(_, ticket)| made_here(ticket));
        let ticket = ticket.map(|(id, ticket)| (id.clone(), ticket.clone()));
        let (asked, (id, ticket)) = match (asked, ticket) {
            (Ok(asked), Some(found)) => (asked, found),
            (Err(error), _) => return self.refuse_knock(knock, &error.to_string()),
            (_, None) => return self.refuse_knock(knock, "the ticket was withdrawn"),
        };
        let known = self.roster().members.contains_key(&asked.node);
        if let Some(why) = view::ticket_fault(&ticket, wall_clock()).filter(|_| !known) {
            return self.refuse_knock(knock, &why);
        }
        let path = Path::root().join("tickets").join(id).join("uses_left");
        let used = Change::Set { path, value: json!(ticket.uses_left.saturating_sub(1)) };
        let extra = if known { Vec::new() } else { vec![used] };
        let admit = AdmitRequest {
            node: asked.node,
            name: asked.name,
            role: Role::Full,
            endpoints: asked.endpoints,
            intent: None,
        };
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.admit(&admit, extra, KNOCK_PEERS_MAX, reply);
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            let answer = match answer.await {
                Ok(Ok(bootstrap)) => KnockAnswer::Admitted(bootstrap),
                Ok(Err(error)) => KnockAnswer::Refused(error.to_string()),
                Err(_) => return,
            };
            let _ = inbox.send(Inbox::KnockDecided(knock, answer)).await;
        });
    }

    fn refuse_knock(&mut self, knock: KnockId, why: &str) {
        self.answer_knock(knock, &KnockAnswer::Refused(why.to_owned()));
    }

    /// Answers a knock.
    pub(super) fn answer_knock(&mut self, knock: KnockId, answer: &KnockAnswer) {
        let now = self.now();
        self.parts.mesh.answer_knock(now, knock, answer.write());
        self.flush_mesh();
    }
}

fn member_path(node: NodeId) -> Path {
    Path::root().join("members").join(node.to_string())
}

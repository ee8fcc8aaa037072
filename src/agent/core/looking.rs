//! Looking at the mesh: its links and routes, questions to members, numbers for a monitor.

use std::collections::BTreeMap;

use crate::agent::BUILD;
use crate::agent::PROTOCOL;
use crate::agent::api::EchoAnswer;
use crate::agent::api::EchoReport;
use crate::agent::api::EchoRequest;
use crate::agent::clock::wall_clock;
use crate::agent::core::Core;
use crate::agent::error::AgentError;
use crate::agent::handle::Reply;
use crate::agent::machine;
use crate::agent::mesh_view::Clocks;
use crate::agent::mesh_view::Known;
use crate::agent::mesh_view::MeshView;
use crate::agent::mesh_view::Sources;
use crate::agent::metrics::Family;
use crate::agent::metrics::Kind;
use crate::agent::metrics::count;
use crate::agent::names::zone::Zone;
use crate::mesh::echo::ECHO_TTL_MAX;
use crate::mesh::echo::EchoToken;
use crate::mesh::output::SendError;
use crate::model::identity::NodeId;
use crate::model::member::Status;

/// Questions of callers that wait for their answers.
const QUESTIONS_MAX: usize = 256;

impl Core {
    /// The mesh as this machine sees it.
    pub(super) fn mesh_view(&self) -> MeshView {
        let members = self.known_members();
        MeshView::new(&Sources {
            report: &self.parts.mesh.report(),
            members: &members,
            endpoints: &self.endpoints(),
            reach: self.parts.pin.reach,
            parent: self.parent(),
            clocks: Clocks { now: self.now(), wall: wall_clock() },
        })
    }

    fn known_members(&self) -> BTreeMap<NodeId, Known> {
        let me = self.me();
        let known = |(node, admission): (&NodeId, &crate::config::document::views::Admission)| {
            let status =
                if *node == me { Some(Status::Alive) } else { self.parts.gossip.status(*node) };
            let facts = self.parts.gossip.facts(*node);
            let known = Known {
                name: admission.name.clone(),
                status: status.unwrap_or(Status::Booting),
                nat: facts.map(|facts| facts.nat).unwrap_or_default(),
                reach: facts.map(|facts| facts.reach).unwrap_or_default(),
            };
            (*node, known)
        };
        self.roster().members.iter().map(known).collect()
    }

    /// Tells the names' answers who the members are.
    pub(super) fn publish_names(&self) {
        let mut zone = Zone::new(self.parts.genesis.name.clone());
        for (node, admission) in &self.roster().members {
            let facts = self.parts.gossip.facts(*node);
            let told = facts.map_or(&admission.endpoints, |facts| &facts.endpoints);
            let at = if self.parts.is_external {
                told.iter().map(|endpoint| endpoint.ip().to_canonical()).collect()
            } else {
                vec![node.address().into()]
            };
            zone.add(&admission.name, node.address(), at);
        }
        self.parts.names.zone.replace(zone);
    }

    /// Asks a member for an echo; the answer goes to `reply` when it comes, which may be never.
    pub(super) fn echo(&mut self, request: &EchoRequest, reply: Reply<EchoReport>) {
        let found = self.find(&request.node);
        let member = match found {
            Ok(member) => member,
            Err(error) => return drop(reply.send(Err(error))),
        };
        let ttl = request.ttl.unwrap_or(ECHO_TTL_MAX).clamp(1, ECHO_TTL_MAX);
        self.questions.retain(|_, waiting| !waiting.is_closed());
        if self.questions.len() >= QUESTIONS_MAX {
            let reason = "too many questions wait for their answers".to_owned();
            return drop(reply.send(Err(AgentError::Unavailable(reason))));
        }
        let now = self.now();
        let refused = match self.parts.mesh.echo(now, member.id, ttl) {
            Ok(token) => {
                self.questions.insert(token, reply);
                return;
            }
            Err(SendError::ToItself) => {
                let answer = self.echo_answer(member.id, true, 0, std::time::Duration::ZERO);
                EchoReport { answer: Some(answer), error: None }
            }
            Err(SendError::NoRoute(_)) => {
                let error = Some(format!("no path leads to {}", member.name));
                EchoReport { answer: None, error }
            }
            Err(error) => EchoReport { answer: None, error: Some(error.to_string()) },
        };
        let _ = reply.send(Ok(refused));
    }

    /// An answer has come.
    pub(super) fn echoed(
        &mut self,
        token: EchoToken,
        by: NodeId,
        is_end: bool,
        hops: u8,
        rtt: std::time::Duration,
    ) {
        if let Some(reply) = self.questions.remove(&token) {
            let answer = self.echo_answer(by, is_end, hops, rtt);
            // A caller that stopped waiting misses nothing.
            let _ = reply.send(Ok(EchoReport { answer: Some(answer), error: None }));
        }
    }

    fn echo_answer(
        &self,
        by: NodeId,
        is_end: bool,
        hops: u8,
        rtt: std::time::Duration,
    ) -> EchoAnswer {
        let admission = self.roster().members.get(&by);
        EchoAnswer {
            node: admission.map(|admission| admission.name.clone()),
            address: by.address(),
            is_end,
            hops,
            rtt_ms: rtt.as_secs_f64() * 1_000.0,
        }
    }

    /// The numbers a monitor asks for.
    pub(super) fn metrics(&self) -> Vec<Family> {
        let members = self.known_members();
        let mut families = vec![
            Family::new("raptor_build_info", Kind::Gauge, "The build that runs; always 1.").with(
                &[
                    ("version", BUILD),
                    ("protocol", &PROTOCOL.to_string()),
                    ("node", self.own_name().as_str()),
                    ("cluster", self.parts.genesis.name.as_str()),
                ],
                1.0,
            ),
            Family::new(
                "raptor_document_updates",
                Kind::Gauge,
                "Signed updates that the document holds.",
            )
            .with(&[], count(self.parts.document.blobs().len() as u64)),
        ];
        let mut statuses = Family::new("raptor_members", Kind::Gauge, "Members by status.");
        for status in Status::ALL {
            let of = members.values().filter(|known| known.status == status).count();
            statuses = statuses.with(&[("status", &status.to_string())], count(of as u64));
        }
        families.push(statuses);
        families.extend(self.mesh_metrics(&members));
        families.extend(self.socket_metrics());
        families.extend(machine::process_metrics());
        families
    }

    fn mesh_metrics(&self, members: &BTreeMap<NodeId, Known>) -> Vec<Family> {
        use Kind::{Counter, Gauge};
        let report = self.parts.mesh.report();
        let reached = report.routes.iter().filter(|route| members.contains_key(&route.destination));
        let routes = count(reached.count() as u64);
        let others = count(members.len().saturating_sub(1) as u64);
        let mut rtt =
            Family::new("raptor_link_rtt_seconds", Gauge, "Smoothed round-trip time of a link.");
        let mut loss = Family::new(
            "raptor_link_loss_ratio",
            Gauge,
            "Part of what the neighbour sends that is lost, 0 to 1.",
        );
        let mut sent =
            Family::new("raptor_link_sent_bytes_total", Counter, "Bytes sent on a link.");
        let mut received =
            Family::new("raptor_link_received_bytes_total", Counter, "Bytes received on a link.");
        let mut out =
            Family::new("raptor_link_sent_packets_total", Counter, "Datagrams sent on a link.");
        let mut into = Family::new(
            "raptor_link_received_packets_total",
            Counter,
            "Datagrams received on a link.",
        );
        for link in &report.links {
            let Some(known) = members.get(&link.peer) else { continue };
            let labels = [("peer", known.name.as_str())];
            if let Some(rtt_ms) = link.rtt_ms {
                rtt = rtt.with(&labels, rtt_ms / 1_000.0);
            }
            if let Some(ratio) = link.loss {
                loss = loss.with(&labels, ratio);
            }
            sent = sent.with(&labels, count(link.bytes_sent));
            received = received.with(&labels, count(link.bytes_received));
            out = out.with(&labels, count(link.packets_sent));
            into = into.with(&labels, count(link.packets_received));
        }
        let links = count(report.links.len() as u64);
        let flood = report.flood;
        let states = |what: &str, value: u64, help: &str| {
            let name = format!("raptor_link_states_{what}_total");
            Family::new(&name, Counter, help).with(&[], count(value))
        };
        vec![
            Family::new("raptor_links", Gauge, "Links that work.").with(&[], links),
            Family::new("raptor_reachable_members", Gauge, "Other members that a path leads to.")
                .with(&[], routes),
            Family::new("raptor_unreachable_members", Gauge, "Other members that none leads to.")
                .with(&[], others - routes),
            rtt,
            loss,
            sent,
            received,
            out,
            into,
            states("signed", flood.own, "Lists of its links that this member made."),
            states("signed_for_costs", flood.own_costs, "Those made because costs had changed."),
            states("new", flood.new, "Other members' lists that were new here."),
            states("received", flood.received, "Lists received on links, known ones included."),
            states("sent", flood.sent, "Lists sent on links."),
        ]
    }

    fn socket_metrics(&self) -> Vec<Family> {
        let counters = self.parts.socket.counters();
        let family = |what: &str, value: u64, help: &str| {
            let name = format!("raptor_socket_{what}_datagrams_total");
            Family::new(&name, Kind::Counter, help).with(&[], count(value))
        };
        vec![
            family("received", counters.received, "Datagrams received."),
            family("sent", counters.sent, "Datagrams handed to the kernel."),
            family("dropped", counters.dropped, "Datagrams dropped: too many waited."),
            family("refused", counters.refused, "Datagrams that the kernel refused."),
        ]
    }
}

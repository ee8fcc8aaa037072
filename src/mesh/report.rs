//! What a mesh says about itself.

use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::mesh::core::Mesh;
use crate::mesh::metric::HOP_COST_US;
use crate::mesh::metric::Metric;
use crate::mesh::nat::NatReport;
use crate::mesh::plane::suite::Suite;
use crate::mesh::route;
use crate::mesh::route::Route;
use crate::model::identity::NodeId;
use crate::model::time::Moment;

/// Links and routes of one machine.
#[derive(Debug, Clone, PartialEq)]
pub struct MeshReport {
    /// Whose.
    pub node: NodeId,
    /// Links that work, by neighbour.
    pub links: Vec<LinkReport>,
    /// Members that can be reached, by destination.
    pub routes: Vec<RouteReport>,
    /// What stands between it and the neighbours.
    pub nat: NatReport,
    /// Sessions with other ends, by end.
    pub sessions: Vec<SessionReport>,
    /// What was passed on about links.
    pub flood: FloodReport,
}

/// Advertisements of links, counted since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct FloodReport {
    /// Signed by this machine.
    pub own: u64,
    /// Those of them that were made because costs had changed.
    pub own_costs: u64,
    /// Sent to neighbours, own and others'.
    pub sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Received from neighbours.
    pub received: u64,
    /// Those of them that were new and genuine.
    pub new: u64,
}

impl MeshReport {
    /// The route to `destination`.
    #[must_use]
    pub fn route(&self, destination: NodeId) -> Option<&RouteReport> {
        let place = self.routes.binary_search_by_key(&destination, |route| route.destination);
        place.ok().and_then(|place| self.routes.get(place))
    }
}

/// A link that works.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkReport {
    /// The neighbour.
    pub peer: NodeId,
    /// Where it is spoken to.
    pub endpoint: SocketAddr,
    /// Smoothed round-trip time in milliseconds; none before the first pong.
    pub rtt_ms: Option<f64>,
    /// Mean deviation of the round-trip time in milliseconds.
    pub deviation_ms: Option<f64>,
    /// Of what the neighbour sends, the part that is lost: 0.0 to 1.0; none before enough came.
    pub loss: Option<f64>,
    /// What routes count for the link.
    pub cost: CostReport,
    /// Since when it is thought to be dead: no ping is answered.
    pub suspect_since: Option<Moment>,
    /// Since when it works.
    pub since: Moment,
    /// Whether this machine's own choice keeps it.
    pub wanted: bool,
    /// Bytes of datagrams sent.
    pub bytes_sent: u64,
    /// Bytes of datagrams received.
    pub bytes_received: u64,
    /// Datagrams sent.
    pub packets_sent: u64,
    /// Datagrams received.
    pub packets_received: u64,
}

/// What routes count for a link, in milliseconds: as the worse of its two ends advertises it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CostReport {
    /// All of it.
    pub total_ms: f64,
    /// The advertised round-trip time.
    pub rtt_ms: f64,
    /// The price of lost packets; 10,000 for a link thought to be dead.
    pub loss_ms: f64,
    /// The price of a hop, the same for every link.
    pub hop_ms: f64,
    /// Whether one of the ends thinks the link dead, or the neighbour names no such link.
    pub is_suspect: bool,
}

impl CostReport {
    fn new(metric: Metric) -> Self {
        Self {
            total_ms: millis(metric.cost_us().into()),
            rtt_ms: millis(metric.rtt_us().into()),
            loss_ms: millis(metric.loss_cost_us().into()),
            hop_ms: millis(HOP_COST_US.into()),
            is_suspect: metric.is_suspect(),
        }
    }
}

/// A session that seals what goes to another member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionReport {
    /// The member.
    pub peer: NodeId,
    /// The cipher agreed on.
    pub suite: Suite,
    /// Since when.
    pub since: Moment,
}

/// The way to one member.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteReport {
    /// The member.
    pub destination: NodeId,
    /// The neighbour packets to it go to first; the member itself when the link is direct.
    pub first_hop: NodeId,
    /// Links on the way.
    pub hops: u32,
    /// Sum of the links' advertised costs in milliseconds; see [`CostReport`].
    pub cost_ms: f64,
    /// Sum of their advertised round-trip times in milliseconds.
    pub rtt_ms: f64,
}

/// One of the ways to a member: what a route was chosen from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlternativeReport {
    /// The way, if it were the one taken.
    #[serde(flatten)]
    pub route: RouteReport,
    /// The members on it as the links stand, the destination included.
    pub path: Vec<NodeId>,
    /// Whether packets take it.
    pub is_chosen: bool,
    /// Whether its first hop is nearer to the destination than this machine: only then may packets
    /// take it, else they could come back.
    pub is_nearer: bool,
}

impl Mesh {
    /// The links and routes of this machine.
    #[must_use]
    pub fn report(&self) -> MeshReport {
        let metrics = self.link_metrics();
        let links = metrics.iter().filter_map(|(peer, metric)| {
            let link = self.links.get(peer)?;
            let live = link.live.as_ref()?;
            let carried = live.traffic.counts();
            Some(LinkReport {
                peer: link.id,
                endpoint: live.endpoint,
                rtt_ms: live.quality.rtt_us().map(|rtt| millis(rtt.into())),
                deviation_ms: live.quality.deviation_us().map(|rtt| millis(rtt.into())),
                loss: live.quality.loss(),
                cost: CostReport::new(*metric),
                suspect_since: live.quality.suspect_since(),
                since: live.since,
                wanted: self.keeps(*peer),
                bytes_sent: live.bytes_sent + carried.bytes_sent,
                bytes_received: live.bytes_received + carried.bytes_received,
                packets_sent: live.packets_sent + carried.packets_sent,
                packets_received: live.packets_received + carried.packets_received,
            })
        });
        let mut routes: Vec<RouteReport> = self
            .routes
            .iter()
            .filter_map(|(destination, route)| self.report_route(*destination, route))
            .collect();
        routes.sort_unstable_by_key(|route| route.destination);
        let sessions = self.ends.by_address.iter().filter_map(|(address, end)| {
            let current = end.current.as_ref()?;
            let (suite, since) = (current.suite, current.created_at);
            Some(SessionReport { peer: self.links.get(address)?.id, suite, since })
        });
        let (links, sessions, nat) = (links.collect(), sessions.collect(), self.nat());
        MeshReport { node: self.key.node_id(), links, routes, sessions, flood: self.flooded, nat }
    }

    /// The ways to `destination` over each link, best first: why the route is what it is.
    #[must_use]
    pub fn alternatives(&self, destination: NodeId) -> Vec<AlternativeReport> {
        let address = destination.address();
        let chosen = self.routes.get(&address).map(|route| route.first_hop);
        let links = self.link_metrics();
        route::alternatives(self.own, &links, &self.states, address)
            .into_iter()
            .filter_map(|way| {
                let name = |member: &Ipv6Addr| match member {
                    own if *own == self.own => Some(self.key.node_id()),
                    member => self.links.get(member).map(|link| link.id),
                };
                Some(AlternativeReport {
                    route: self.report_route(address, &way.route)?,
                    path: way.path.iter().filter_map(name).collect(),
                    is_chosen: chosen == Some(way.route.first_hop),
                    is_nearer: way.is_nearer,
                })
            })
            .collect()
    }

    fn report_route(&self, destination: Ipv6Addr, route: &Route) -> Option<RouteReport> {
        Some(RouteReport {
            destination: self.links.get(&destination)?.id,
            first_hop: self.links.get(&route.first_hop)?.id,
            hops: route.hops,
            cost_ms: millis(route.cost_us),
            rtt_ms: millis(route.rtt_us),
        })
    }
}

fn millis(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64() * 1_000.0
}

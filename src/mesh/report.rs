//! What a mesh says about itself.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::mesh::core::Mesh;
use crate::mesh::route::HOP_COST_US;
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
}

impl MeshReport {
    /// The route to `destination`.
    #[must_use]
    pub fn route(&self, destination: NodeId) -> Option<&RouteReport> {
        self.routes.iter().find(|route| route.destination == destination)
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

/// The way to one member.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteReport {
    /// The member.
    pub destination: NodeId,
    /// The neighbour packets to it go to first; the member itself when the link is direct.
    pub first_hop: NodeId,
    /// Links on the way.
    pub hops: u32,
    /// Sum of the links' advertised costs in milliseconds: round-trip times, and 1 ms a hop.
    pub cost_ms: f64,
    /// That sum without the price of the hops: about the path's round-trip time in milliseconds.
    pub rtt_ms: f64,
}

impl Mesh {
    /// The links and routes of this machine.
    #[must_use]
    pub fn report(&self) -> MeshReport {
        let links = self.live.iter().filter_map(|peer| {
            let link = self.links.get(peer)?;
            let live = link.live.as_ref()?;
            let carried = live.traffic.counts();
            Some(LinkReport {
                peer: link.id,
                endpoint: live.endpoint,
                rtt_ms: live.rtt_us.map(|rtt| f64::from(rtt) / 1_000.0),
                since: live.since,
                wanted: self.keeps(*peer),
                bytes_sent: live.bytes_sent + carried.bytes_sent,
                bytes_received: live.bytes_received + carried.bytes_received,
                packets_sent: live.packets_sent + carried.packets_sent,
                packets_received: live.packets_received + carried.packets_received,
            })
        });
        let routes = self.routes.iter().filter_map(|(destination, route)| {
            let price = u64::from(HOP_COST_US) * u64::from(route.hops);
            let rtt = Duration::from_micros(route.cost_us.saturating_sub(price));
            Some(RouteReport {
                destination: self.links.get(destination)?.id,
                first_hop: self.links.get(&route.first_hop)?.id,
                hops: route.hops,
                cost_ms: Duration::from_micros(route.cost_us).as_secs_f64() * 1_000.0,
                rtt_ms: rtt.as_secs_f64() * 1_000.0,
            })
        });
        MeshReport { node: self.key.node_id(), links: links.collect(), routes: routes.collect() }
    }
}

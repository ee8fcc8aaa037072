//! The mesh as a member sees it: links, routes, and why a route is what it is. Pure.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

use serde::Deserialize;
use serde::Serialize;

use crate::mesh::report::CostReport;
use crate::mesh::report::LinkReport;
use crate::mesh::report::MeshReport;
use crate::mesh::report::RouteReport;
use crate::model::identity::NodeId;
use crate::model::member::Status;
use crate::model::name::Name;
use crate::model::nat::NatKind;
use crate::model::reach::Reach;
use crate::model::time::Moment;
use crate::model::time::Timestamp;

/// `GET /v1/mesh`: the keys are a contract (`raptor mesh -o json`). What is not measured is null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeshView {
    /// Whose view.
    pub node: Name,
    /// Its key.
    pub id: NodeId,
    /// Its mesh address.
    pub address: Ipv6Addr,
    /// UDP addresses at which others may reach it.
    pub endpoints: Vec<SocketAddr>,
    /// What stands between it and the others: the kind of address translation.
    pub nat: Option<String>,
    /// Which links it has.
    #[serde(default)]
    pub reach: Reach,
    /// The one member that it links to, when it is a `tree` one.
    #[serde(default)]
    pub parent: Option<Name>,
    /// Links that work, by neighbour's name.
    pub links: Vec<LinkView>,
    /// The way to every other member, by name.
    pub routes: Vec<RouteView>,
}

/// A link that works.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkView {
    /// The neighbour.
    pub node: Name,
    /// Its key.
    pub id: NodeId,
    /// Where it is spoken to.
    pub endpoint: SocketAddr,
    /// Smoothed round-trip time in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Of what the neighbour sends, the part that is lost: 0.0 to 1.0.
    pub loss: Option<f64>,
    /// Mean deviation of the round-trip time in milliseconds.
    pub rtt_deviation_ms: Option<f64>,
    /// What routes count for the link in milliseconds: round-trip time, loss, and a price a link.
    pub cost_ms: f64,
    /// Whether one of its ends thinks it dead: routes avoid it.
    pub suspect: bool,
    /// Whether this machine's own choice of neighbours keeps it.
    pub wanted: bool,
    /// Since when it works.
    pub since: Timestamp,
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteView {
    /// The member.
    pub node: Name,
    /// Its key.
    pub id: NodeId,
    /// Its mesh address.
    pub address: Ipv6Addr,
    /// How membership sees it.
    pub status: Status,
    /// What stands between it and the others: the kind of address translation.
    #[serde(default)]
    pub nat: NatKind,
    /// Which links it has.
    #[serde(default)]
    pub reach: Reach,
    /// The neighbour packets go to first; none when that is the member itself, or nobody.
    pub via: Option<Name>,
    /// Links on the way; none when there is no way.
    pub hops: Option<u32>,
    /// What the way counts in milliseconds: round-trip times and a price for each link.
    pub cost_ms: Option<f64>,
    /// Round-trip time as the links on the way tell it, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Why the way is what it is, in a sentence.
    pub reason: String,
}

/// What is known of a member besides the mesh.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Its name.
    pub name: Name,
    /// How membership sees it.
    pub status: Status,
    /// What it says of the routers before it.
    pub nat: NatKind,
    /// What it says of its links.
    pub reach: Reach,
}

/// The time of the view: the same moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    /// Of the mesh.
    pub now: Moment,
    /// Of the world.
    pub wall: Timestamp,
}

/// What a view is made of.
pub struct Sources<'a> {
    /// The mesh's own word.
    pub report: &'a MeshReport,
    /// The members.
    pub members: &'a BTreeMap<NodeId, Known>,
    /// UDP addresses at which others may reach this machine.
    pub endpoints: &'a [SocketAddr],
    /// Which links it has.
    pub reach: Reach,
    /// The one member that it links to.
    pub parent: Option<NodeId>,
    /// When.
    pub clocks: Clocks,
}

impl MeshView {
    /// The view of the machine that `sources` are of.
    #[must_use]
    pub fn new(sources: &Sources<'_>) -> Self {
        let Sources { report, members, endpoints, reach, parent, clocks } = *sources;
        let mut links: Vec<LinkView> =
            report.links.iter().map(|link| link_view(link, members, clocks)).collect();
        links.sort_by(|one, other| one.node.cmp(&other.node));
        let others = members.iter().filter(|(id, _)| **id != report.node);
        let mut routes: Vec<RouteView> =
            others.map(|(id, known)| route_view(*id, known, report, members)).collect();
        routes.sort_by(|one, other| one.node.cmp(&other.node));
        Self {
            node: name(report.node, members),
            id: report.node,
            address: report.node.address(),
            endpoints: endpoints.to_vec(),
            nat: Some(report.nat.kind.to_string()),
            reach,
            parent: parent.map(|parent| name(parent, members)),
            links,
            routes,
        }
    }
}

/// A member's name; one that was put out a moment ago has none left.
fn name(id: NodeId, members: &BTreeMap<NodeId, Known>) -> Name {
    members.get(&id).map_or_else(|| Name::from_hostname(&id.short()), |known| known.name.clone())
}

fn link_view(link: &LinkReport, members: &BTreeMap<NodeId, Known>, clocks: Clocks) -> LinkView {
    let age = clocks.now.since(link.since);
    let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    LinkView {
        node: name(link.peer, members),
        id: link.peer,
        endpoint: link.endpoint,
        rtt_ms: link.rtt_ms,
        loss: link.loss,
        rtt_deviation_ms: link.deviation_ms,
        cost_ms: link.cost.total_ms,
        suspect: link.cost.is_suspect,
        wanted: link.wanted,
        since: Timestamp::from_millis(clocks.wall.as_millis().saturating_sub(age_ms)),
        bytes_sent: link.bytes_sent,
        bytes_received: link.bytes_received,
        packets_sent: link.packets_sent,
        packets_received: link.packets_received,
    }
}

fn route_view(
    id: NodeId,
    known: &Known,
    report: &MeshReport,
    members: &BTreeMap<NodeId, Known>,
) -> RouteView {
    let route = report.route(id);
    let link = report.links.iter().find(|link| link.peer == id);
    RouteView {
        node: known.name.clone(),
        id,
        address: id.address(),
        status: known.status,
        nat: known.nat,
        reach: known.reach,
        via: route
            .filter(|route| route.first_hop != id)
            .map(|route| name(route.first_hop, members)),
        hops: route.map(|route| route.hops),
        cost_ms: route.map(|route| route.cost_ms),
        rtt_ms: route.map(|route| route.rtt_ms),
        reason: reason(route, link, known, members),
    }
}

fn reason(
    route: Option<&RouteReport>,
    link: Option<&LinkReport>,
    known: &Known,
    members: &BTreeMap<NodeId, Known>,
) -> String {
    let Some(route) = route else {
        return match known.status {
            Status::Alive | Status::Suspect => "no path: no link leads to it".to_owned(),
            Status::Failed => "no path: it failed".to_owned(),
            Status::Left => "no path: it left".to_owned(),
            Status::Booting => "no path: it has not been seen yet".to_owned(),
        };
    };
    if route.first_hop == route.destination {
        return "its own link".to_owned();
    }
    let via = name(route.first_hop, members);
    let Some(link) = link else {
        let why = match known.reach {
            Reach::Full => "no link of its own",
            Reach::Linked => "linked: nobody dials it",
            Reach::Tree => "tree: it links to its parent alone",
        };
        return format!("{why}; {via} is the nearest way");
    };
    if link.cost.is_suspect {
        return format!("through {via}: its own link is thought to be dead");
    }
    let CostReport { total_ms, loss_ms, .. } = link.cost;
    let (cost, loss) = (route.cost_ms, if loss_ms > 0.0 { ", loss included" } else { "" });
    format!("nearer through {via} ({cost:.1} ms) than over its own link ({total_ms:.1} ms{loss})")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::mesh::nat::NatReport;
    use crate::mesh::report::FloodReport;
    use crate::model::identity::testing::key;

    fn id(index: u64) -> NodeId {
        key(index).node_id()
    }

    fn link(peer: u64, rtt_ms: f64, loss_ms: f64, is_suspect: bool) -> LinkReport {
        let total_ms = rtt_ms + loss_ms + 1.0;
        LinkReport {
            peer: id(peer),
            endpoint: "192.0.2.1:4863".parse().unwrap(),
            rtt_ms: Some(rtt_ms),
            deviation_ms: None,
            loss: None,
            cost: CostReport { total_ms, rtt_ms, loss_ms, hop_ms: 1.0, is_suspect },
            suspect_since: None,
            since: Moment::at(Duration::from_secs(7)),
            wanted: true,
            bytes_sent: 1,
            bytes_received: 2,
            packets_sent: 3,
            packets_received: 4,
        }
    }

    fn route(destination: u64, first_hop: u64, hops: u32) -> RouteReport {
        RouteReport {
            destination: id(destination),
            first_hop: id(first_hop),
            hops,
            cost_ms: 5.0,
            rtt_ms: 3.0,
        }
    }

    #[test]
    fn every_member_has_a_way_or_a_reason_why_not() {
        let links = vec![
            link(1, 0.5, 0.0, false),
            link(2, 40.0, 0.0, false),
            link(5, 0.5, 9.0, false),
            link(6, 0.5, 0.0, true),
        ];
        let to = [(1, 1, 1), (2, 1, 2), (3, 1, 2), (5, 1, 2), (6, 1, 2), (7, 1, 2), (8, 1, 3)];
        let mut routes = to.map(|(to, hop, hops)| route(to, hop, hops)).to_vec();
        routes.sort_by_key(|route| route.destination);
        let (nat, flood) = (NatReport::default(), FloodReport::default());
        let report = MeshReport { node: id(0), links, routes, nat, sessions: Vec::new(), flood };
        let mut status = [Status::Alive; 9];
        status[4] = Status::Failed;
        let mut reach = [Reach::Full; 9];
        (reach[7], reach[8]) = (Reach::Linked, Reach::Tree);
        let members = status.into_iter().zip(reach).zip(0..).map(|((status, reach), index)| {
            let name = format!("m{index}").parse().unwrap();
            (id(index), Known { name, status, nat: NatKind::Easy, reach })
        });
        let clocks = Clocks {
            now: Moment::at(Duration::from_secs(10)),
            wall: Timestamp::from_millis(1_000_000),
        };
        let view = MeshView::new(&Sources {
            report: &report,
            members: &members.collect(),
            endpoints: &[],
            reach: Reach::Tree,
            parent: Some(id(1)),
            clocks,
        });
        assert_eq!(view.node.as_str(), "m0");
        assert_eq!(view.parent.as_ref().map(Name::as_str), Some("m1"));
        assert!(view.links.iter().all(|link| link.since == Timestamp::from_millis(997_000)));
        let told: Vec<(&str, Option<&str>, Option<u32>, &str)> = view
            .routes
            .iter()
            .map(|route| {
                let via = route.via.as_ref().map(Name::as_str);
                (route.node.as_str(), via, route.hops, route.reason.as_str())
            })
            .collect();
        assert_eq!(
            told,
            [
                ("m1", None, Some(1), "its own link"),
                (
                    "m2",
                    Some("m1"),
                    Some(2),
                    "nearer through m1 (5.0 ms) than over its own link (41.0 ms)"
                ),
                ("m3", Some("m1"), Some(2), "no link of its own; m1 is the nearest way"),
                ("m4", None, None, "no path: it failed"),
                (
                    "m5",
                    Some("m1"),
                    Some(2),
                    "nearer through m1 (5.0 ms) than over its own link (10.5 ms, loss included)"
                ),
                ("m6", Some("m1"), Some(2), "through m1: its own link is thought to be dead"),
                ("m7", Some("m1"), Some(2), "linked: nobody dials it; m1 is the nearest way"),
                (
                    "m8",
                    Some("m1"),
                    Some(3),
                    "tree: it links to its parent alone; m1 is the nearest way"
                ),
            ]
        );
    }
}

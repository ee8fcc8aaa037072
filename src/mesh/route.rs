//! Shortest paths over the advertised links, with a first hop that does not flap.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use crate::mesh::graph::Graph;
use crate::mesh::graph::Path;
use crate::mesh::link_state::LinkStates;
use crate::mesh::metric::Metric;

/// What a path must be better by than the one in use, in microseconds and as a part of its cost.
const GAIN_US: u64 = 2_000;
const GAIN_PART: u64 = 8;

/// The way to one destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The neighbour to hand packets to.
    pub first_hop: Ipv6Addr,
    /// Links on the way.
    pub hops: u32,
    /// Sum of the links' costs in microseconds.
    pub cost_us: u64,
    /// Sum of the links' round-trip times in microseconds.
    pub rtt_us: u64,
}

/// Routes by destination.
pub type Routes = BTreeMap<Ipv6Addr, Route>;

/// Computes the routes of `own`. Its `links` count as they are; a link between two others counts
/// when both advertise it, as the worse of the two. A destination keeps the first hop it
/// has in `before` unless the best path is better by over an eighth and 2 ms, as long as
/// that hop is itself strictly nearer to the destination than `own`: so no two members that
/// see the same links hand a packet back and forth.
#[must_use]
pub fn compute(
    own: Ipv6Addr,
    links: &BTreeMap<Ipv6Addr, Metric>,
    states: &LinkStates,
    before: &Routes,
) -> Routes {
    let graph = Graph::new(own, links, states);
    let Some(start) = graph.place(own) else { return Routes::new() };
    let best = graph.paths(start, u64::MAX);
    let from_hops = paths_from_kept_hops(&graph, &best, links, before);
    let found = graph.names().iter().zip(&best).enumerate().filter(|(place, _)| *place != start);
    let route = |(place, (destination, path)): (usize, (&Ipv6Addr, &Option<Path>))| {
        let path = (*path)?;
        let kept = before.get(destination).and_then(|old| {
            let rest = from_hops.get(&old.first_hop)?[place]?;
            through(old.first_hop, *links.get(&old.first_hop)?, rest)
                .filter(|kept| rest.cost_us < path.cost_us && is_close(kept.cost_us, path.cost_us))
        });
        let first_hop = graph.name(path.first);
        let Path { cost_us, rtt_us, hops, .. } = path;
        Some((*destination, kept.unwrap_or(Route { first_hop, hops, cost_us, rtt_us })))
    };
    found.filter_map(route).collect()
}

/// Whether a path of this cost is kept although there is one of the cost `best_us`.
fn is_close(cost_us: u64, best_us: u64) -> bool {
    cost_us <= best_us + (best_us / GAIN_PART).max(GAIN_US)
}

fn through(first_hop: Ipv6Addr, link: Metric, rest: Path) -> Option<Route> {
    Some(Route {
        first_hop,
        hops: rest.hops + 1,
        cost_us: rest.cost_us.checked_add(u64::from(link.cost_us()))?,
        rtt_us: rest.rtt_us + u64::from(link.rtt_us()),
    })
}

/// The paths from each first hop in use that is not the best one for some destination, as far as
/// those destinations.
fn paths_from_kept_hops(
    graph: &Graph,
    best: &[Option<Path>],
    links: &BTreeMap<Ipv6Addr, Metric>,
    before: &Routes,
) -> BTreeMap<Ipv6Addr, Vec<Option<Path>>> {
    let mut limits: BTreeMap<Ipv6Addr, u64> = BTreeMap::new();
    for (destination, path) in graph.names().iter().zip(best) {
        let (Some(path), Some(old)) = (path, before.get(destination)) else { continue };
        let hop = old.first_hop;
        if hop != graph.name(path.first) && links.contains_key(&hop) {
            let limit = limits.entry(hop).or_default();
            *limit = path.cost_us.max(*limit);
        }
    }
    limits
        .into_iter()
        .filter_map(|(hop, limit_us)| Some((hop, graph.paths(graph.place(hop)?, limit_us))))
        .collect()
}

/// A way that a packet could take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternative {
    /// The way if its first hop were chosen.
    pub route: Route,
    /// Whether its first hop is nearer to the destination: only then can it be chosen.
    pub is_nearer: bool,
    /// The members on the way as the links stand, the destination included.
    pub path: Vec<Ipv6Addr>,
}

/// The ways from `own` to `destination` over each of its `links`, best first.
#[must_use]
pub fn alternatives(
    own: Ipv6Addr,
    links: &BTreeMap<Ipv6Addr, Metric>,
    states: &LinkStates,
    destination: Ipv6Addr,
) -> Vec<Alternative> {
    let graph = Graph::new(own, links, states);
    let (Some(start), Some(end)) = (graph.place(own), graph.place(destination)) else {
        return Vec::new();
    };
    // A link costs the same both ways: one search from the end serves all first hops.
    let paths = graph.paths(end, u64::MAX);
    let mut found: Vec<Alternative> = links
        .iter()
        .filter_map(|(hop, link)| {
            let mut place = graph.place(*hop)?;
            let rest = paths[place]?;
            let route = through(*hop, *link, rest)?;
            let is_nearer = paths[start].is_some_and(|best| rest.cost_us < best.cost_us);
            let mut path = vec![*hop];
            while place != end {
                place = paths[place]?.last;
                path.push(graph.name(place));
            }
            Some(Alternative { route, is_nearer, path })
        })
        .collect();
    found.sort_by_key(|way| (way.route.cost_us, way.route.hops, way.route.first_hop));
    found
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;

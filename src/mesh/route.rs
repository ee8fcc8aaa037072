//! Shortest paths over the advertised links, with a first hop that does not flap.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BinaryHeap;
use std::net::Ipv6Addr;

use crate::mesh::link_state::LinkStates;

/// What every hop costs besides its round-trip time, in microseconds: of two paths equally
/// fast the one with fewer hops wins, and noise of a few hundred microseconds turns nothing.
pub const HOP_COST_US: u32 = 1_000;

/// The way to one destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The neighbour to hand packets to.
    pub first_hop: Ipv6Addr,
    /// Links on the way.
    pub hops: u32,
    /// Sum of the links' costs in microseconds.
    pub cost_us: u64,
}

/// Routes by destination.
pub type Routes = BTreeMap<Ipv6Addr, Route>;

/// The cost of a link with this round-trip time.
#[must_use]
pub fn link_cost_us(rtt_us: u32) -> u32 {
    rtt_us.saturating_add(HOP_COST_US)
}

/// Computes the routes of `own`. Its `links` count as they are; a link between two others counts
/// when both advertise it, at the higher of the two costs. A destination keeps the first hop it
/// has in `before` unless the best path is better by over an eighth and 2 ms, as long as
/// that hop is itself strictly nearer to the destination than `own`: so no two members that
/// see the same links hand a packet back and forth.
#[must_use]
pub fn compute(
    own: Ipv6Addr,
    links: &BTreeMap<Ipv6Addr, u32>,
    states: &LinkStates,
    before: &Routes,
) -> Routes {
    let graph = Graph::new(own, links, states);
    let best = graph.paths(own);
    let mut from_hop: BTreeMap<Ipv6Addr, Vec<Option<Path>>> = BTreeMap::new();
    let mut routes = Routes::new();
    for (&destination, &index) in &graph.indices {
        let Some(path) = best[index].filter(|_| destination != own) else { continue };
        let mut route = Route {
            first_hop: graph.names[path.first_hop],
            hops: path.hops,
            cost_us: path.cost_us,
        };
        let kept = before.get(&destination).map(|old| old.first_hop);
        if let Some((hop, link)) =
            kept.filter(|hop| *hop != route.first_hop).and_then(|hop| links.get_key_value(&hop))
        {
            let paths = from_hop.entry(*hop).or_insert_with(|| graph.paths(*hop));
            if let Some(rest) = paths[index] {
                let cost_us = rest.cost_us + u64::from(*link);
                let bound = path.cost_us + (path.cost_us / 8).max(2_000);
                if rest.cost_us < path.cost_us && cost_us <= bound {
                    route = Route { first_hop: *hop, hops: rest.hops + 1, cost_us };
                }
            }
        }
        routes.insert(destination, route);
    }
    routes
}

#[derive(Debug, Clone, Copy)]
struct Path {
    cost_us: u64,
    hops: u32,
    first_hop: usize,
}

/// The links as dense lists: a thousand members cost well under a millisecond a run.
struct Graph {
    indices: BTreeMap<Ipv6Addr, usize>,
    names: Vec<Ipv6Addr>,
    edges: Vec<Vec<(usize, u32)>>,
}

impl Graph {
    fn new(own: Ipv6Addr, links: &BTreeMap<Ipv6Addr, u32>, states: &LinkStates) -> Self {
        let mut graph = Self { indices: BTreeMap::new(), names: Vec::new(), edges: Vec::new() };
        let start = graph.index(own);
        for (peer, cost) in links {
            let end = graph.index(*peer);
            graph.edges[start].push((end, *cost));
            graph.edges[end].push((start, *cost));
        }
        for state in states.iter().filter(|state| state.origin != own) {
            for (peer, cost) in &state.neighbours {
                // Each pair once, when its lower end is visited.
                if *peer <= state.origin || *peer == own {
                    continue;
                }
                let other_cost =
                    states.get(*peer).and_then(|other| other.neighbours.get(&state.origin));
                if let Some(other_cost) = other_cost {
                    let cost = *cost.max(other_cost);
                    let (one, other) = (graph.index(state.origin), graph.index(*peer));
                    graph.edges[one].push((other, cost));
                    graph.edges[other].push((one, cost));
                }
            }
        }
        graph
    }

    fn index(&mut self, name: Ipv6Addr) -> usize {
        *self.indices.entry(name).or_insert_with(|| {
            self.names.push(name);
            self.edges.push(Vec::new());
            self.names.len() - 1
        })
    }

    /// Dijkstra from `start`; ties go to fewer hops, then to the lower first hop's address.
    fn paths(&self, start: Ipv6Addr) -> Vec<Option<Path>> {
        let mut paths: Vec<Option<Path>> = vec![None; self.names.len()];
        let Some(&start) = self.indices.get(&start) else { return paths };
        let mut queue = BinaryHeap::from([Reverse((0u64, 0u32, Ipv6Addr::UNSPECIFIED, start))]);
        while let Some(Reverse((cost_us, hops, first_name, node))) = queue.pop() {
            if paths[node].is_some() {
                continue;
            }
            let first_hop = self.indices.get(&first_name).copied().unwrap_or(start);
            paths[node] = Some(Path { cost_us, hops, first_hop });
            for &(next, cost) in &self.edges[node] {
                if paths[next].is_none() {
                    let first = if node == start { self.names[next] } else { first_name };
                    queue.push(Reverse((cost_us + u64::from(cost.max(1)), hops + 1, first, next)));
                }
            }
        }
        paths
    }
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;

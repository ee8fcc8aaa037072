//! The advertised links as dense lists, and shortest paths over them. Members go by their place in
//! the order of addresses: a thousand of them cost well under a millisecond.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BinaryHeap;
use std::net::Ipv6Addr;

use crate::mesh::link_state::LinkStates;
use crate::mesh::metric::Metric;

/// The best path from the start of a search to one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// Sum of the links' costs in microseconds.
    pub cost_us: u64,
    /// Sum of their round-trip times in microseconds.
    pub rtt_us: u64,
    /// Links on the way.
    pub hops: u32,
    /// The first member after the start; the start itself on the path to it.
    pub first: usize,
    /// The last member before the end; the start itself on the path to it.
    pub last: usize,
}

/// Members and the links that count between them.
pub struct Graph {
    names: Vec<Ipv6Addr>,
    /// Where each member's links begin in `links`; one entry more than there are members.
    starts: Vec<usize>,
    links: Vec<(usize, Metric)>,
}

impl Graph {
    /// The graph as `own` sees it: its `links` count as they are; a link between two others when
    /// both advertise it, and then as the worse of the two.
    #[must_use]
    pub fn new(own: Ipv6Addr, links: &BTreeMap<Ipv6Addr, Metric>, states: &LinkStates) -> Self {
        let mut names: Vec<Ipv6Addr> = states.iter().map(|state| state.origin).collect();
        names.extend(links.keys().filter(|peer| states.get(**peer).is_none()));
        if states.get(own).is_none() {
            names.push(own);
        }
        names.sort_unstable();
        let mut graph = Self { names, starts: Vec::new(), links: Vec::new() };
        let mut pairs = Vec::new();
        if let Some(start) = graph.place(own) {
            pairs.extend(
                links.iter().filter_map(|(peer, link)| Some((start, graph.place(*peer)?, *link))),
            );
        }
        for state in states.iter().filter(|state| state.origin != own) {
            let Some(one) = graph.place(state.origin) else { continue };
            // Each pair once, from its lower end.
            for (peer, link) in state.neighbours.range(state.origin..) {
                let theirs = states.get(*peer).and_then(|peer| peer.neighbours.get(&state.origin));
                if let Some(theirs) = theirs
                    && *peer != own
                    && *peer != state.origin
                    && let Some(other) = graph.place(*peer)
                {
                    pairs.push((one, other, link.worse(*theirs)));
                }
            }
        }
        graph.connect(&pairs);
        graph
    }

    /// Lays the pairs out by member, both ways.
    fn connect(&mut self, pairs: &[(usize, usize, Metric)]) {
        let mut starts = vec![0; self.names.len() + 1];
        for (one, other, _) in pairs {
            starts[one + 1] += 1;
            starts[other + 1] += 1;
        }
        for place in 1..starts.len() {
            starts[place] += starts[place - 1];
        }
        let mut next = starts.clone();
        self.links = vec![(0, Metric::from_bits(0)); pairs.len() * 2];
        for &(one, other, link) in pairs {
            for (from, to) in [(one, other), (other, one)] {
                self.links[next[from]] = (to, link);
                next[from] += 1;
            }
        }
        self.starts = starts;
    }

    /// The place of a member.
    #[must_use]
    pub fn place(&self, name: Ipv6Addr) -> Option<usize> {
        self.names.binary_search(&name).ok()
    }

    /// The member at a place.
    #[must_use]
    pub fn name(&self, place: usize) -> Ipv6Addr {
        self.names[place]
    }

    /// All members, by place.
    #[must_use]
    pub fn names(&self) -> &[Ipv6Addr] {
        &self.names
    }

    /// Dijkstra from `start` over paths that cost less than `limit_us`; ties go to fewer hops, then
    /// to the lower first member.
    #[must_use]
    pub fn paths(&self, start: usize, limit_us: u64) -> Vec<Option<Path>> {
        let mut paths: Vec<Option<Path>> = vec![None; self.names.len()];
        let mut done = vec![false; self.names.len()];
        let rank = |path: &Path| (path.cost_us, path.hops, path.first);
        let origin = Path { cost_us: 0, rtt_us: 0, hops: 0, first: start, last: start };
        paths[start] = Some(origin);
        let mut queue = BinaryHeap::from([Reverse((rank(&origin), start))]);
        while let Some(Reverse((_, place))) = queue.pop() {
            let Some(path) = paths[place] else { continue };
            if std::mem::replace(&mut done[place], true) {
                continue;
            }
            for &(next, link) in &self.links[self.starts[place]..self.starts[place + 1]] {
                let longer = Path {
                    cost_us: path.cost_us + u64::from(link.cost_us()),
                    rtt_us: path.rtt_us + u64::from(link.rtt_us()),
                    hops: path.hops + 1,
                    first: if place == start { next } else { path.first },
                    last: place,
                };
                let better = paths[next].is_none_or(|known| rank(&longer) < rank(&known));
                if better && !done[next] && longer.cost_us < limit_us {
                    paths[next] = Some(longer);
                    queue.push(Reverse((rank(&longer), next)));
                }
            }
        }
        paths
    }
}

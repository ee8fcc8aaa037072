//! Routes against brute force.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;
use crate::mesh::link_state::Advertisement;
use crate::mesh::metric::HOP_COST_US;

type Links = BTreeMap<(u8, u8), u32>;

fn name(member: u8) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(member) + 1)
}

fn states(members: u8, links: &Links) -> LinkStates {
    let mut states = LinkStates::default();
    for member in 0..members {
        states.insert(Advertisement {
            origin: name(member),
            sequence: 1,
            neighbours: neighbours(member, links),
            bytes: Vec::new(),
        });
    }
    states
}

fn metric(cost_us: u32) -> Metric {
    Metric::new(cost_us - HOP_COST_US, 0)
}

fn neighbours(member: u8, links: &Links) -> BTreeMap<Ipv6Addr, Metric> {
    links
        .iter()
        .filter_map(|(&(a, b), &cost)| match member {
            one if one == a => Some((name(b), metric(cost))),
            one if one == b => Some((name(a), metric(cost))),
            _ => None,
        })
        .collect()
}

/// Floyd and Warshall.
fn distances(members: u8, links: &Links) -> Vec<Vec<Option<u64>>> {
    let count = usize::from(members);
    let mut table = vec![vec![None; count]; count];
    for (index, row) in table.iter_mut().enumerate() {
        row[index] = Some(0);
    }
    for (&(a, b), &cost) in links {
        let (a, b) = (usize::from(a), usize::from(b));
        table[a][b] = Some(u64::from(cost));
        table[b][a] = Some(u64::from(cost));
    }
    for middle in 0..count {
        for from in 0..count {
            for to in 0..count {
                if let (Some(one), Some(two)) = (table[from][middle], table[middle][to])
                    && table[from][to].is_none_or(|known| one + two < known)
                {
                    table[from][to] = Some(one + two);
                }
            }
        }
    }
    table
}

fn network() -> impl Strategy<Value = (u8, Links)> {
    (2u8..9).prop_flat_map(|members| {
        let pair = (0..members, 0..members)
            .prop_filter_map("two ends", |(a, b)| (a != b).then_some((a.min(b), a.max(b))));
        (
            Just(members),
            prop::collection::btree_map(pair, (100u32..2_000).prop_map(|cost| cost * 10), 0..20),
        )
    })
}

proptest! {
    #[test]
    fn costs_are_the_least_there_are((members, links) in network()) {
        let states = states(members, &links);
        let table = distances(members, &links);
        for own in 0..members {
            let routes = compute(name(own), &neighbours(own, &links), &states, &Routes::new());
            for other in (0..members).filter(|other| *other != own) {
                let found = routes.get(&name(other)).map(|route| route.cost_us);
                prop_assert_eq!(found, table[usize::from(own)][usize::from(other)]);
            }
        }
    }

    /// Whatever the routes were before, members that see the same links form no loop.
    #[test]
    fn kept_first_hops_form_no_loop((members, links) in network(), (_, past) in network()) {
        let states_past = states(members, &past);
        let states = states(members, &links);
        let tables: Vec<Routes> = (0..members)
            .map(|own| {
                let past: Links = past.iter().filter(|((a, b), _)| *a < members && *b < members)
                    .map(|(pair, cost)| (*pair, *cost)).collect();
                let before =
                    compute(name(own), &neighbours(own, &past), &states_past, &Routes::new());
                compute(name(own), &neighbours(own, &links), &states, &before)
            })
            .collect();
        for from in 0..members {
            for to in (0..members).filter(|to| *to != from) {
                let mut place = from;
                let mut hops = 0;
                while place != to {
                    let Some(route) = tables[usize::from(place)].get(&name(to)) else { break };
                    place = u8::try_from(u128::from(route.first_hop) - 1).unwrap();
                    hops += 1;
                    prop_assert!(hops <= members, "loop from {} to {}", from, to);
                }
                let reachable = tables[usize::from(from)].contains_key(&name(to));
                prop_assert_eq!(place == to, reachable);
            }
        }
    }
}

#[test]
fn a_slightly_better_path_changes_nothing_and_a_much_better_one_does() {
    let links =
        |via_two| Links::from([((0, 1), 2000), ((1, 3), 2000), ((0, 2), 2000), ((2, 3), via_two)]);
    let routes = |links: &Links, before: &Routes| {
        compute(name(0), &neighbours(0, links), &states(4, links), before)
    };
    let first = routes(&links(3000), &Routes::new());
    assert_eq!(first[&name(3)].first_hop, name(1));
    let slightly = routes(&links(1500), &first);
    assert_eq!(slightly[&name(3)].first_hop, name(1));
    let much = routes(
        &Links::from([((0, 1), 2000), ((1, 3), 9000), ((0, 2), 2000), ((2, 3), 1500)]),
        &first,
    );
    assert_eq!(much[&name(3)].first_hop, name(2));
}

#[test]
fn a_link_that_only_one_end_claims_is_none() {
    let mut states = LinkStates::default();
    let claim = BTreeMap::from([(name(2), metric(HOP_COST_US))]);
    let liar = Advertisement { origin: name(1), sequence: 1, neighbours: claim, bytes: Vec::new() };
    states.insert(liar);
    let routes =
        compute(name(0), &BTreeMap::from([(name(1), metric(5_000))]), &states, &Routes::new());
    assert_eq!(routes.keys().copied().collect::<Vec<_>>(), [name(1)]);
}

#[test]
fn a_thousand_members_are_few_hops_apart() {
    let members: Vec<Ipv6Addr> =
        (0..1000u128).map(|member| Ipv6Addr::from(member * 0x9e37_79b9_7f4a_7c15)).collect();
    let rings = crate::mesh::ring::Rings::new(3, members.iter().copied());
    let mut states = LinkStates::default();
    for origin in &members {
        let neighbours = rings.neighbours(*origin, |_| true);
        states.insert(Advertisement {
            origin: *origin,
            sequence: 1,
            neighbours: neighbours.into_iter().map(|peer| (peer, Metric::new(200, 0))).collect(),
            bytes: Vec::new(),
        });
    }
    let links = states.get(members[0]).unwrap().neighbours.clone();
    let routes = compute(members[0], &links, &states, &Routes::new());
    assert_eq!(routes.len(), 999);
    let longest = routes.values().map(|route| route.hops).max().unwrap();
    assert!(longest <= 7, "{longest} hops");
}

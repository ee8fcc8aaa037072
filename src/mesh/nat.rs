//! Where this machine is, seen from outside: decided from what its neighbours say they see.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::net::SocketAddr;

use crate::mesh::core::Mesh;
use crate::mesh::output::Output;
use crate::model::nat::NatKind;
use crate::model::time::Moment;

/// Outer addresses worth telling.
const EXTERNAL_MAX: usize = 4;
/// Own addresses of a machine that are looked at; one with many bridges has more.
const LOCAL_MAX: usize = 24;

/// One neighbour's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Observation {
    /// Where the neighbour itself is spoken to: two that share an address count once.
    pub observer: IpAddr,
    /// Where it sees this machine.
    pub seen: SocketAddr,
}

/// What the neighbours' words come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NatReport {
    /// What stands between this machine and them.
    pub kind: NatKind,
    /// Outer addresses at which others can try to dial it, the most agreed upon first.
    pub external: Vec<SocketAddr>,
    /// Outer addresses whose port is another for everybody: only the machine itself can open
    /// these, yet a filter that looks at addresses alone lets them through.
    pub shifting: Vec<SocketAddr>,
}

/// Decides what stands between a machine with the `local` addresses and those who observe it.
///
/// Words are grouped by the outer address, as a machine behind two routers (a carrier's and its
/// own) is seen differently from between them. In a group the port that more than half of at
/// least two observers name is the router's mapping; when there is none, every observer has a
/// mapping of its own. So a single liar, or one who speaks of an hour ago, changes nothing.
#[must_use]
pub fn decide(local: &[SocketAddr], observations: &[Observation]) -> NatReport {
    let usable = |seen: &SocketAddr| {
        let ip = seen.ip();
        seen.port() != 0 && !ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast()
    };
    // IPv4 decides where there is any: IPv6 is rarely translated and says nothing about it.
    let has_ipv4 = observations.iter().any(|one| one.seen.is_ipv4() && usable(&one.seen));
    let mut direct = false;
    let mut groups: BTreeMap<IpAddr, BTreeMap<u16, BTreeSet<IpAddr>>> = BTreeMap::new();
    for Observation { observer, seen } in observations.iter().filter(|one| usable(&one.seen)) {
        if local.contains(seen) {
            direct |= seen.is_ipv4() || !has_ipv4;
            continue;
        }
        let ports = groups.entry(seen.ip()).or_default();
        ports.entry(seen.port()).or_default().insert(*observer);
    }
    let mut report = NatReport::default();
    let mut ranked: Vec<(usize, SocketAddr)> = Vec::new();
    let mut kinds = BTreeSet::new();
    for (ip, ports) in &groups {
        let votes: usize = ports.values().map(BTreeSet::len).sum();
        let Some((port, best)) =
            ports.iter().map(|(port, by)| (*port, by.len())).max_by_key(|(_, count)| *count)
        else {
            continue;
        };
        let address = SocketAddr::new(*ip, port);
        let counts = ip.is_ipv4() || !has_ipv4;
        if votes == 1 || best * 2 > votes {
            ranked.push((best, address));
        } else {
            report.shifting.push(address);
        }
        if counts && votes > 1 {
            kinds.insert(if best * 2 > votes { NatKind::Easy } else { NatKind::Symmetric });
        } else if counts {
            kinds.insert(NatKind::Unknown);
        }
    }
    report.kind = [NatKind::Symmetric, NatKind::Easy, NatKind::Unknown]
        .into_iter()
        .find(|kind| kinds.contains(kind))
        .unwrap_or(if direct { NatKind::None } else { NatKind::Unknown });
    ranked.sort_by_key(|(votes, address)| (std::cmp::Reverse(*votes), *address));
    report.external = ranked.into_iter().map(|(_, address)| address).collect();
    report.external.truncate(EXTERNAL_MAX);
    report.shifting.truncate(EXTERNAL_MAX);
    report
}

impl Mesh {
    /// Says at which of its own addresses this machine can be reached, the router's port
    /// mappings included. When they change every neighbour is spoken to at once, so that it
    /// learns the new way back before it misses the machine.
    pub fn set_local_endpoints(&mut self, now: Moment, mut local: Vec<SocketAddr>) {
        local.truncate(LOCAL_MAX);
        if local == self.local {
            return;
        }
        let is_first = self.local.is_empty();
        self.local = local;
        if !is_first {
            self.greet(now);
            self.call_anew(now);
        }
    }

    /// Speaks to every neighbour at once: this machine may have moved, so that they see it
    /// elsewhere.
    pub fn greet(&mut self, now: Moment) {
        for peer in self.live.clone() {
            self.ping(now, peer);
            self.reschedule(now, peer);
        }
    }

    /// What the neighbours see this machine as.
    #[must_use]
    pub fn nat(&self) -> NatReport {
        let observation = |peer| {
            let live = self.links.get(peer)?.live.as_ref()?;
            Some(Observation { observer: live.endpoint.ip(), seen: live.observed? })
        };
        let observations: Vec<_> = self.live.iter().filter_map(observation).collect();
        decide(&self.local, &observations)
    }

    /// A neighbour says how it sees this machine.
    pub(super) fn observe(&mut self, now: Moment, peer: std::net::Ipv6Addr, observed: SocketAddr) {
        let live = self.links.get_mut(&peer).and_then(|link| link.live.as_mut());
        if live.is_some_and(|live| live.observed.replace(observed) != Some(observed)) {
            self.outputs.push_back(Output::ObservedAddress(observed));
            let kind = self.nat().kind;
            if std::mem::replace(&mut self.nat_kind, kind) != kind {
                self.call_anew(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(pairs: &[(&str, &str)]) -> Vec<Observation> {
        let word = |(observer, seen): &(&str, &str)| Observation {
            observer: observer.parse().unwrap(),
            seen: seen.parse().unwrap(),
        };
        pairs.iter().map(word).collect()
    }

    fn decided(pairs: &[(&str, &str)]) -> NatReport {
        decide(&["10.0.0.5:4863".parse().unwrap()], &words(pairs))
    }

    #[test]
    fn without_a_word_or_with_a_single_one_nothing_is_known() {
        assert_eq!(decided(&[]), NatReport::default());
        let one = decided(&[("192.0.2.1", "203.0.113.1:4863")]);
        assert_eq!(one.kind, NatKind::Unknown);
        assert_eq!(one.external, ["203.0.113.1:4863".parse().unwrap()]);
        // Two members behind one address are one witness.
        let twice = [("192.0.2.1", "203.0.113.1:1"), ("192.0.2.1", "203.0.113.1:1")];
        assert_eq!(decided(&twice).kind, NatKind::Unknown);
    }

    #[test]
    fn the_own_address_means_that_nobody_translates() {
        let report = decided(&[("192.0.2.1", "10.0.0.5:4863"), ("192.0.2.2", "127.0.0.1:9")]);
        assert_eq!(report, NatReport { kind: NatKind::None, ..NatReport::default() });
    }

    #[test]
    fn one_outer_address_is_easy_and_many_ports_are_symmetric() {
        let easy = decided(&[
            ("192.0.2.1", "203.0.113.1:4863"),
            ("192.0.2.2", "203.0.113.1:4863"),
            ("10.0.0.9", "10.0.0.5:4863"),
        ]);
        assert_eq!(easy.kind, NatKind::Easy);
        assert_eq!(easy.external, ["203.0.113.1:4863".parse().unwrap()]);
        let symmetric =
            decided(&[("192.0.2.1", "203.0.113.1:1024"), ("192.0.2.2", "203.0.113.1:3311")]);
        assert_eq!(symmetric.kind, NatKind::Symmetric);
        assert!(symmetric.external.is_empty());
        assert_eq!(symmetric.shifting.len(), 1);
    }

    #[test]
    fn between_two_routers_the_machine_looks_different_and_neither_is_symmetric() {
        let report = decided(&[
            ("100.64.0.3", "100.64.0.2:4863"),
            ("192.0.2.1", "203.0.113.1:4863"),
            ("192.0.2.2", "203.0.113.1:4863"),
        ]);
        assert_eq!(report.kind, NatKind::Easy);
        let expected = ["203.0.113.1:4863", "100.64.0.2:4863"].map(|text| text.parse().unwrap());
        assert_eq!(report.external, expected);
    }

    #[test]
    fn untranslated_ipv6_does_not_hide_the_router_of_ipv4() {
        let local = ["10.0.0.5:4863", "[2001:db8::5]:4863"].map(|text| text.parse().unwrap());
        let report = decide(
            &local,
            &words(&[
                ("2001:db8::1", "[2001:db8::5]:4863"),
                ("192.0.2.1", "203.0.113.1:7"),
                ("192.0.2.2", "203.0.113.1:7"),
            ]),
        );
        assert_eq!(report.kind, NatKind::Easy);
    }

    proptest! {
        /// However one neighbour lies, three honest ones are believed.
        #[test]
        fn one_liar_changes_nothing(ip in any::<[u8; 4]>(), port in any::<u16>()) {
            let mut observations = words(&[
                ("192.0.2.1", "203.0.113.1:4863"),
                ("192.0.2.2", "203.0.113.1:4863"),
                ("192.0.2.3", "203.0.113.1:4863"),
            ]);
            observations.push(Observation {
                observer: "192.0.2.4".parse().unwrap(),
                seen: SocketAddr::new(ip.into(), port),
            });
            let report = decide(&[], &observations);
            prop_assert_eq!(report.kind, NatKind::Easy);
            prop_assert_eq!(report.external[0], "203.0.113.1:4863".parse().unwrap());
        }
    }
}

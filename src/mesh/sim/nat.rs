//! Simulated routers that translate addresses, one behind another where asked for.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::net::SocketAddr;

use crate::mesh::sim::Sent;

/// The classic four: who may answer through a mapping, and whether there is one for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Full,
    Restricted,
    PortRestricted,
    Symmetric,
}

struct Router {
    kind: Kind,
    outer: IpAddr,
    behind: Option<usize>,
    next_port: u16,
    /// Inner endpoint and, of a symmetric one, the destination, to outer port.
    mappings: BTreeMap<(SocketAddr, Option<SocketAddr>), u16>,
    /// Where something was sent to through an outer port.
    contacted: BTreeSet<(u16, SocketAddr)>,
}

impl Router {
    fn outward(&mut self, source: SocketAddr, destination: SocketAddr) -> SocketAddr {
        let own = (self.kind == Kind::Symmetric).then_some(destination);
        let port = *self.mappings.entry((source, own)).or_insert_with(|| {
            // No order that a neighbour could go on with.
            self.next_port = self.next_port.wrapping_mul(25_173).wrapping_add(13_849) | 1_024;
            self.next_port
        });
        self.contacted.insert((port, destination));
        SocketAddr::new(self.outer, port)
    }

    fn inward(&self, source: SocketAddr, port: u16) -> Option<SocketAddr> {
        let mapping = self.mappings.iter().find(|(_, mapped)| **mapped == port);
        let ((inner, _), _) = mapping?;
        let passes = self.contacted.iter().any(|(through, to)| {
            *through == port
                && match self.kind {
                    Kind::Full => true,
                    Kind::Restricted => to.ip() == source.ip(),
                    Kind::PortRestricted | Kind::Symmetric => *to == source,
                }
        });
        passes.then_some(*inner)
    }
}

/// All routers, and which endpoints lie behind them. The rest is the internet.
#[derive(Default)]
pub struct Routers {
    routers: Vec<Router>,
    homes: BTreeMap<SocketAddr, usize>,
}

impl Routers {
    /// Adds a router, itself on the internet or behind another one.
    pub fn add(&mut self, kind: Kind, outer: &str, behind: Option<usize>) -> usize {
        let outer = outer.parse().unwrap();
        let next_port = u16::try_from(self.routers.len()).unwrap();
        let (mappings, contacted) = (BTreeMap::new(), BTreeSet::new());
        self.routers.push(Router { kind, outer, behind, next_port, mappings, contacted });
        self.routers.len() - 1
    }

    /// Puts a machine's endpoint behind a router.
    pub fn put(&mut self, endpoint: SocketAddr, router: usize) {
        self.homes.insert(endpoint, router);
    }

    /// The router loses its memory, as at a restart.
    pub fn forget(&mut self, router: usize) {
        self.routers[router].mappings.clear();
        self.routers[router].contacted.clear();
    }

    /// Carries a datagram to the inner endpoint it is for, as that one will see it. None when it
    /// gets lost: at a filter, or because no such address is in reach.
    pub fn carry(&mut self, mut sent: Sent) -> Option<Sent> {
        let mut network = self.homes.get(&sent.source).copied();
        let mut came_from = None;
        loop {
            let ip = sent.destination.ip();
            let here = |router: &Router| router.behind == network && router.outer == ip;
            if let Some(index) = self.routers.iter().position(here) {
                // Back in through the router it came out of: most do not do that.
                if came_from == Some(index) {
                    return None;
                }
                sent.destination =
                    self.routers[index].inward(sent.source, sent.destination.port())?;
                network = Some(index);
                came_from = None;
                continue;
            }
            if self.homes.get(&sent.destination).copied() == network {
                return Some(sent);
            }
            let index = network?;
            sent.source = self.routers[index].outward(sent.source, sent.destination);
            came_from = Some(index);
            network = self.routers[index].behind;
        }
    }
}

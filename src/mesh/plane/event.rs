//! What happens to packets that the control plane must know of.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

/// Events kept of one kind; more are dropped, and happen again with the next packets.
const EVENTS_MAX: usize = 256;

/// Something the mesh has to deal with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaneEvent {
    /// Somebody wants to send there: there is no session, or it is to be replaced.
    SessionWanted(Ipv6Addr),
    /// The other end has used a session for the first time.
    SessionUsed {
        /// The other end.
        peer: Ipv6Addr,
        /// The session's local index.
        index: u32,
    },
    /// A packet came for a session that does not exist here.
    SessionUnknown {
        /// Its source, as it says.
        peer: Ipv6Addr,
        /// Who handed it over.
        neighbour: Ipv6Addr,
    },
    /// A neighbour has used a link's keys for the first time.
    LinkUsed {
        /// The neighbour.
        peer: Ipv6Addr,
        /// The keys' local index.
        index: u32,
        /// Where the packet came from.
        source: SocketAddr,
    },
    /// A neighbour's newest packet came from another place than it is spoken to at.
    LinkMoved {
        /// The neighbour.
        peer: Ipv6Addr,
        /// The local index of the keys it used.
        index: u32,
        /// Where the packet came from.
        source: SocketAddr,
    },
    /// A link's keys are to be replaced.
    LinkWorn(Ipv6Addr),
    /// Packets go over a link, the first since it was last proved to work.
    LinkLoaded(Ipv6Addr),
}

impl PlaneEvent {
    fn kind(&self) -> u8 {
        match self {
            Self::SessionWanted(_) => 0,
            Self::SessionUsed { .. } => 1,
            Self::SessionUnknown { .. } => 2,
            Self::LinkUsed { .. } => 3,
            Self::LinkMoved { .. } => 4,
            Self::LinkWorn(_) => 5,
            Self::LinkLoaded(_) => 6,
        }
    }

    fn about(&self) -> Ipv6Addr {
        match self {
            Self::SessionWanted(peer)
            | Self::SessionUsed { peer, .. }
            | Self::SessionUnknown { peer, .. }
            | Self::LinkUsed { peer, .. }
            | Self::LinkMoved { peer, .. }
            | Self::LinkWorn(peer)
            | Self::LinkLoaded(peer) => *peer,
        }
    }
}

/// Events on their way: of each kind at most one about each machine, the latest.
#[derive(Debug, Default)]
pub(super) struct Events([BTreeMap<Ipv6Addr, PlaneEvent>; 7]);

impl Events {
    pub(super) fn push(&mut self, event: PlaneEvent) {
        let events = &mut self.0[usize::from(event.kind())];
        if events.len() < EVENTS_MAX || events.contains_key(&event.about()) {
            events.insert(event.about(), event);
        }
    }

    pub(super) fn take(&mut self) -> Vec<PlaneEvent> {
        self.0.iter_mut().flat_map(|events| std::mem::take(events).into_values()).collect()
    }
}

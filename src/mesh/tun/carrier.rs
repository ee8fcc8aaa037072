//! What carries payloads: the mesh's [`Plane`] in an agent, something simpler where the cost of
//! everything else is measured (`benches/overlay`).

use std::net::Ipv6Addr;
use std::net::SocketAddr;

use crate::mesh::plane::header::InnerProtocol;
use crate::mesh::plane::receive::Verdict;
use crate::mesh::plane::sender::Sender;
use crate::mesh::plane::table::Plane;
use crate::model::time::Moment;

/// Seals and opens payloads, and knows the ways. See [`Plane`].
pub trait Carrier: Send + Sync + 'static {
    /// What seals for one destination.
    type Seal: Seal;

    /// See [`Plane::sender`].
    fn sender(&self, now: Moment, destination: Ipv6Addr) -> Option<Self::Seal>;

    /// See [`Plane::receive`].
    fn receive<'a>(&self, now: Moment, source: SocketAddr, datagram: &'a mut [u8]) -> Verdict<'a>;

    /// See [`Plane::has_events`].
    fn has_events(&self) -> bool;
}

/// See [`Sender`].
pub trait Seal {
    /// Free bytes before the payload.
    const HEADROOM: usize;
    /// Free bytes behind it.
    const TAILROOM: usize;

    /// Where the datagrams go.
    fn endpoint(&self) -> SocketAddr;
    /// Longest payload that the path takes.
    fn payload_max(&self) -> usize;
    /// Seals a datagram where it lies.
    fn seal(&self, protocol: InnerProtocol, datagram: &mut [u8]) -> Option<()>;
}

impl Carrier for Plane {
    type Seal = Sender;

    fn sender(&self, now: Moment, destination: Ipv6Addr) -> Option<Sender> {
        Self::sender(self, now, destination)
    }

    fn receive<'a>(&self, now: Moment, source: SocketAddr, datagram: &'a mut [u8]) -> Verdict<'a> {
        Self::receive(self, now, source, datagram)
    }

    fn has_events(&self) -> bool {
        Self::has_events(self)
    }
}

impl Seal for Sender {
    const HEADROOM: usize = Self::HEADROOM;
    const TAILROOM: usize = Self::TAILROOM;

    fn endpoint(&self) -> SocketAddr {
        Self::endpoint(self)
    }

    fn payload_max(&self) -> usize {
        Self::payload_max(self)
    }

    fn seal(&self, protocol: InnerProtocol, datagram: &mut [u8]) -> Option<()> {
        Self::seal(self, protocol, datagram)
    }
}

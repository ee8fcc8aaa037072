//! What goes into a mesh and what comes out of it, as plain data.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::mesh::echo::EchoToken;
use crate::mesh::plane::header::InnerProtocol;
use crate::model::identity::NodeId;
use crate::model::reach::Reach;

/// A machine the document names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its key.
    pub id: NodeId,
    /// UDP addresses to try, in order.
    pub endpoints: Vec<SocketAddr>,
    /// False when membership says that it failed or left.
    pub alive: bool,
    /// What it says of its links.
    pub reach: Reach,
}

/// What a payload of the agent's own is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Membership.
    Gossip = 1,
    /// QUIC packets of streams.
    Stream = 2,
}

impl From<Protocol> for InnerProtocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Gossip => Self::Gossip,
            Protocol::Stream => Self::Stream,
        }
    }
}

/// Names one stranger's request for admission until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KnockId(pub(super) u32);

/// What the shell around a mesh has to do or to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram.
    Transmit {
        /// To where.
        destination: SocketAddr,
        /// What.
        datagram: Vec<u8>,
    },
    /// A payload has arrived.
    Deliver {
        /// The member that sent it.
        source: NodeId,
        /// What it is for.
        protocol: Protocol,
        /// The payload.
        payload: Bytes,
    },
    /// Somebody with a ticket's key asks to be admitted; see
    /// [`Mesh::answer_knock`](crate::mesh::core::Mesh::answer_knock).
    Knock {
        /// Names the request.
        knock: KnockId,
        /// The ticket's key.
        invitation: NodeId,
        /// From where it comes.
        source: SocketAddr,
        /// What it says.
        request: Bytes,
    },
    /// The own knock was answered.
    KnockAnswered {
        /// The host's answer.
        response: Bytes,
    },
    /// A neighbour can be spoken to.
    LinkUp(NodeId),
    /// A neighbour cannot be spoken to any more.
    LinkDown(NodeId),
    /// Some destination has another first hop, became reachable or went out of reach.
    RoutesChanged,
    /// A neighbour sees this machine at this address.
    ObservedAddress(SocketAddr),
    /// A question was answered; see [`Mesh::echo`](crate::mesh::core::Mesh::echo).
    Echoed {
        /// Names the question.
        token: EchoToken,
        /// Who answers.
        by: NodeId,
        /// Whether that is the member that was asked, and not one on the way to it.
        is_end: bool,
        /// Links between here and who answers, on the question's way.
        hops: u8,
        /// From the question to the answer.
        rtt: Duration,
    },
}

/// Why a payload was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The destination is this machine.
    #[error("a machine does not send to itself through the mesh")]
    ToItself,
    /// No key of that name may be spoken to.
    #[error("{} is not a member", .0.short())]
    Unknown(NodeId),
    /// No path leads there, and no link to it is being made.
    #[error("no route to {}", .0.short())]
    NoRoute(NodeId),
    /// A link to it is being made and enough packets wait for it.
    #[error("too many packets wait for the link to {}", .0.short())]
    QueueFull(NodeId),
    /// The payload fits no datagram.
    #[error("a payload of {length} bytes is over the limit of {limit}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The most that fits.
        limit: usize,
    },
}

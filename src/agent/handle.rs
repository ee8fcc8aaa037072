//! The door to a running agent: what its API and its own tasks may ask of the event loop.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::agent::api::AdmitRequest;
use crate::agent::api::AgentStatus;
use crate::agent::api::Bootstrap;
use crate::agent::api::EchoReport;
use crate::agent::api::EchoRequest;
use crate::agent::api::LogLine;
use crate::agent::api::NewTicket;
use crate::agent::api::SshInfo;
use crate::agent::api::TicketRequest;
use crate::agent::api::TicketRow;
use crate::agent::api::WriteRequest;
use crate::agent::error::AgentError;
use crate::agent::mesh_view::MeshView;
use crate::agent::metrics::Family;
use crate::agent::reconcile::sight::FleetInputs;
use crate::config::document::blob::Blob;
use crate::config::document::versions::Versions;
use crate::model::identity::NodeId;
use crate::model::member::Member;

/// Requests that wait for the event loop; more make their senders wait.
pub const COMMAND_QUEUE: usize = 256;

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, AgentError>>;

/// One request to the event loop.
#[derive(Debug)]
pub enum Command {
    /// The agent's own view.
    Status(Reply<AgentStatus>),
    /// Everybody.
    Members(Reply<Vec<Member>>),
    /// Takes a key in.
    Admit(AdmitRequest, Reply<Bootstrap>),
    /// Takes further members to call.
    Introduce(Bootstrap, Reply<()>),
    /// Puts a member out.
    Evict(String, Reply<Member>),
    /// Exchanges with everybody at once.
    Rejoin(Reply<()>),
    /// The whole document.
    Document(Reply<Value>),
    /// Changes it; answered once the change is on disk.
    Write(WriteRequest, Reply<()>),
    /// What is known of the fleet, for who tends it.
    Fleet(Reply<FleetInputs>),
    /// The compute types that this machine can drive, and the scope of each.
    Drives(BTreeMap<String, String>, Reply<()>),
    /// Its history, newest first.
    Log(usize, Reply<Vec<LogLine>>),
    /// Invitations.
    Tickets(Reply<Vec<TicketRow>>),
    /// Makes one.
    CreateTicket(TicketRequest, Reply<NewTicket>),
    /// Takes one back.
    RevokeTicket(String, Reply<()>),
    /// How to reach a member's `sshd`.
    SshInfo(String, Reply<SshInfo>),
    /// A member by name, id or unique prefix of its id.
    Find(String, Reply<Member>),
    /// Links and routes.
    Mesh(Reply<MeshView>),
    /// Numbers for a monitor.
    Metrics(Reply<Vec<Family>>),
    /// Asks a member for an echo; answered when it answers, which may be never.
    Echo(EchoRequest, Reply<EchoReport>),
    /// Ends the agent; with `leave` the others are told goodbye for good.
    Stop {
        /// Whether to say goodbye.
        leave: bool,
        /// Answered before the end.
        reply: Reply<()>,
    },
    /// From another member: the gossip exchange it began.
    Exchange {
        /// Who.
        source: NodeId,
        /// Its request.
        request: Bytes,
        /// Our answer.
        reply: Reply<Vec<u8>>,
    },
    /// The answer to a message of an exchange that we began.
    ExchangeAnswer {
        /// Who.
        source: NodeId,
        /// Its answer.
        answer: Bytes,
        /// The next message to send, when there is one.
        reply: Reply<Option<Vec<u8>>>,
    },
    /// What we hold of the document.
    Versions(Reply<Versions>),
    /// What `theirs` lacks, as much as fits one message.
    Missing {
        /// What the other holds.
        theirs: Versions,
        /// The updates.
        reply: Reply<Vec<Blob>>,
    },
    /// Updates from another member; answered once they are on disk.
    Apply {
        /// Who passed them on.
        source: NodeId,
        /// The updates.
        blobs: Vec<Blob>,
        /// How many were new.
        reply: Reply<usize>,
    },
}

/// Cheap to clone; every clone speaks to the same event loop.
#[derive(Debug, Clone)]
pub struct AgentHandle {
    commands: mpsc::Sender<Command>,
}

impl AgentHandle {
    /// A handle and the queue that the event loop reads.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Command>) {
        let (commands, queue) = mpsc::channel(COMMAND_QUEUE);
        (Self { commands }, queue)
    }

    /// Sends a request and waits for the answer.
    ///
    /// # Errors
    /// The event loop's own, or [`AgentError::Unavailable`] when it is on its way out.
    pub async fn ask<T>(&self, make: impl FnOnce(Reply<T>) -> Command) -> Result<T, AgentError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(make(reply)).await.map_err(|_| AgentError::stopping())?;
        answer.await.map_err(|_| AgentError::stopping())?
    }
}

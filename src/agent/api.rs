//! What can be asked of an agent, and what it answers: the types that cross the API.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::cluster::{ClusterId, Genesis};
use crate::model::identity::NodeId;
use crate::model::label::{Labels, Selector};
use crate::model::machine::IntentId;
use crate::model::member::Role;
use crate::model::name::Name;
use crate::model::time::Timestamp;

/// Version of the API, the first part of every path: `/v1/members`.
pub const API_VERSION: u32 = 1;

/// `GET /v1/status`: this agent's own view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Its key.
    pub node: NodeId,
    /// Its name.
    pub name: Name,
    /// The cluster's name.
    pub cluster: Name,
    /// The cluster's id.
    pub cluster_id: ClusterId,
    /// The cluster's first moment.
    pub genesis: Genesis,
    /// Version of the build.
    pub build: String,
    /// Version of the wire.
    pub protocol: u32,
    /// Process id of the agent.
    pub pid: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// UDP addresses it listens on.
    pub endpoints: Vec<SocketAddr>,
    /// How many signed updates the document holds.
    pub document_updates: u64,
    /// The network interface in the overlay, or why there is none.
    #[serde(default)]
    pub interface: String,
    /// Where the members' names are answered, or why not.
    #[serde(default)]
    pub names: String,
    /// Links to neighbours.
    pub links: Vec<LinkStatus>,
    /// What does not hold, in sentences; empty when all is well.
    pub problems: Vec<String>,
}

/// One link to a neighbour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// The neighbour.
    pub node: NodeId,
    /// Its name, when its facts are known.
    pub name: Option<Name>,
    /// The UDP address at the other end.
    pub endpoint: SocketAddr,
    /// Smoothed round-trip time in milliseconds.
    pub rtt_ms: Option<f64>,
}

/// `POST /v1/members`: take this key into the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdmitRequest {
    /// The machine's key.
    pub node: NodeId,
    /// The name it asks for; a number is added when it is taken.
    pub name: Name,
    /// What it may do.
    #[serde(default)]
    pub role: Role,
    /// UDP addresses at which it may be reached.
    #[serde(default)]
    pub endpoints: Vec<SocketAddr>,
    /// The wish it fulfils, when a back-end made it for us.
    #[serde(default)]
    pub intent: Option<IntentId>,
}

/// What a machine must know to enter: the root of trust, and whom to call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// The cluster's first moment.
    pub genesis: Genesis,
    /// The name the machine was given.
    pub name: Name,
    /// Members to call first.
    pub peers: Vec<BootstrapPeer>,
}

/// A member to call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapPeer {
    /// Its key.
    pub id: NodeId,
    /// Where to call it.
    pub endpoints: Vec<SocketAddr>,
}

/// Most machines that one ticket lets in.
pub const TICKET_USES_MAX: u32 = 1_000;

/// One change of the document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum DocumentChange {
    /// Sets `path` to `value`; objects merge key by key.
    Set {
        /// `a.b.c` or `/a/b/c`.
        path: String,
        /// Any JSON.
        value: Value,
    },
    /// Deletes `path`.
    Unset {
        /// `a.b.c` or `/a/b/c`.
        path: String,
    },
}

/// `POST /v1/document`: changes that are written together, durably, or not at all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WriteRequest {
    /// For the log: who does what, in a few words.
    pub note: String,
    /// The changes.
    pub changes: Vec<DocumentChange>,
}

/// One line of `GET /v1/document/log`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was written, by its author's clock.
    pub time: Timestamp,
    /// Who wrote it.
    pub author: NodeId,
    /// The author's name, when known.
    pub name: Option<Name>,
    /// What for.
    pub note: String,
    /// The paths it changed.
    pub paths: Vec<String>,
}

/// `POST /v1/tickets`: an invitation to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketRequest {
    /// How long it holds, in milliseconds.
    pub ttl_ms: u64,
    /// How many machines may enter with it.
    pub uses: u32,
}

/// A new invitation; `ticket` is the secret text and is told once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewTicket {
    /// Its id, as `ticket ls` shows it.
    pub id: String,
    /// The text to hand over.
    pub ticket: String,
    /// Until when it holds.
    pub expires_at: Timestamp,
}

/// One row of `ticket ls`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TicketRow {
    /// Its id.
    pub id: String,
    /// Who made it.
    pub created_by: NodeId,
    /// When.
    pub created_at: Timestamp,
    /// Until when it holds.
    pub expires_at: Timestamp,
    /// How many machines may still enter with it.
    pub uses_left: u32,
    /// What a later build says besides.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// `POST /v1/exec`: run a program on members.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// Which members.
    #[serde(default)]
    pub on: Selector,
    /// The program and its arguments; no shell is between.
    pub argv: Vec<String>,
    /// How long it may run, in milliseconds.
    pub timeout_ms: u64,
}

/// A line of the answer to [`ExecRequest`], as it happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ExecEvent {
    /// The members that were meant; the first event.
    Targets {
        /// Their names.
        nodes: Vec<Name>,
    },
    /// A member has begun.
    Acknowledged {
        /// Its name.
        node: Name,
    },
    /// A piece of output.
    Output {
        /// Who.
        node: Name,
        /// Which stream.
        stream: ExecStream,
        /// The bytes, as base64.
        data: String,
    },
    /// A member is done.
    Finished {
        /// Who.
        node: Name,
        /// The program's exit status (128 + N when signal N ended it); none when it never ran.
        exit_status: Option<i32>,
        /// Why it never ran, or was ended.
        error: Option<String>,
    },
}

/// Which of a program's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// `GET /v1/terminal/{node}` with an upgrade: the size of the caller's terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalRequest {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
    /// The caller's `TERM`.
    pub term: String,
    /// A program with arguments, instead of the login shell.
    #[serde(default)]
    pub argv: Vec<String>,
}

/// How to reach a member's real `sshd`: `GET /v1/ssh/{node}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SshInfo {
    /// The member.
    pub node: NodeId,
    /// Its name.
    pub name: Name,
    /// Port of the `sshd` on the machine itself; none when no `sshd` answers there.
    pub port: Option<u16>,
    /// The login.
    pub user: Option<String>,
    /// The wish that a back-end fulfilled with it: its host key is known by that.
    #[serde(default)]
    pub intent: Option<IntentId>,
    /// Its host keys (`TYPE BASE64`), when the back-end told them: no other is accepted.
    #[serde(default)]
    pub host_keys: Vec<String>,
    /// Addresses at which it may be dialled directly, best first.
    pub hosts: Vec<std::net::IpAddr>,
    /// Its labels.
    pub labels: Labels,
}

/// `POST /v1/echo`: ask a member for an echo through the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EchoRequest {
    /// Its name, id or unique beginning of the id.
    pub node: String,
    /// Hops the question may make: 1 to 32; without it as many as there are.
    #[serde(default)]
    pub ttl: Option<u8>,
    /// How long to wait, in milliseconds; at most a minute.
    pub timeout_ms: u64,
}

/// What came of an [`EchoRequest`]; neither answer nor error when none came in time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EchoReport {
    /// The answer.
    pub answer: Option<EchoAnswer>,
    /// Why nothing was sent.
    pub error: Option<String>,
}

/// An answer to an echo's question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EchoAnswer {
    /// Name of the member that answers.
    pub node: Option<Name>,
    /// Its mesh address.
    pub address: std::net::Ipv6Addr,
    /// Whether it is the member that was asked, and not one on the way.
    pub is_end: bool,
    /// Links between here and it, on the question's way.
    pub hops: u8,
    /// From the question to the answer, in milliseconds.
    pub rtt_ms: f64,
}

/// Any refusal of the API, as the body of a 4xx or 5xx answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// A word for programs: `not_found`, `conflict`, `invalid`, `refused`, `unavailable`,
    /// `forbidden`, `bug`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// What to do next.
    #[serde(default)]
    pub hint: Option<String>,
}

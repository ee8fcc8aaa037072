//! What is ordered of a machine, what it answers, and what comes of it.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::cluster::{ClusterId, Genesis};
use crate::model::identity::NodeId;
use crate::model::name::Name;
use crate::provision::check::{Problem, Requirements};
use crate::provision::input::ModuleInput;
use crate::provision::layout::Layout;
use crate::provision::probe::Probe;

/// How long the agent may take until it answers, when nobody says.
pub const HEALTH_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// raptor's own program, as it goes onto machines.
#[derive(Debug, Clone)]
pub struct Program {
    /// The file.
    pub path: PathBuf,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
    /// Its version.
    pub version: String,
}

/// What is to become of a machine.
#[derive(Debug, Clone)]
pub struct Order {
    /// Where things go.
    pub layout: Layout,
    /// What the machine must have.
    pub requirements: Requirements,
    /// Whether root logs in: what is prepared there needs nothing that the first look tells.
    pub is_root: bool,
    /// Whether it was made a moment ago and root logs in: nothing there could be met or lost.
    pub is_new: bool,
    /// The server type's modules; empty when nothing is provisioned.
    pub modules: Vec<ModuleInput>,
    /// The agent to put on it; none when it does not join.
    pub join: Option<JoinOrder>,
}

/// The agent to put on a machine.
#[derive(Debug, Clone)]
pub struct JoinOrder {
    /// raptor's program.
    pub program: Program,
    /// What `agent init` reads; `name` is the machine's own when it is absent or null, `found` comes
    /// from [`Admission::founding`].
    pub init: Map<String, Value>,
    /// How long the agent may take until it answers.
    pub health_timeout: Duration,
}

/// What `agent init` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitReply {
    /// The machine's key.
    pub node_id: NodeId,
    /// The cluster it founded or belongs to.
    #[serde(default)]
    pub cluster_id: Option<ClusterId>,
    /// The genesis of the cluster it founded.
    #[serde(default)]
    pub genesis: Option<Genesis>,
    /// UDP addresses at which it will answer.
    #[serde(default)]
    pub endpoints: Vec<SocketAddr>,
    /// Its signature over the challenge that `agent init` was given.
    #[serde(default)]
    pub proof: Option<String>,
    /// What a later build says besides.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// The cluster's side of taking a machine over.
pub trait Admission: Send + Sync {
    /// The machine is about to be given its key: what it is to found, when there is no cluster yet.
    ///
    /// # Errors
    /// It is to found one, and that could not be written down.
    fn founding(&self) -> Result<Option<Value>, Box<dyn Error + Send + Sync>> {
        Ok(None)
    }

    /// raptor's program for a machine of another architecture than the one in the order; none where
    /// there is none.
    fn program<'a>(
        &'a self,
        _architecture: &'a str,
    ) -> BoxFuture<'a, Result<Option<Program>, Box<dyn Error + Send + Sync>>> {
        Box::pin(async { Ok(None) })
    }

    /// Admits the machine's key; the answer is what `agent adopt` reads.
    fn admit<'a>(
        &'a self,
        machine: &'a str,
        name: &'a Name,
        reply: &'a InitReply,
    ) -> BoxFuture<'a, Result<Value, Box<dyn Error + Send + Sync>>>;

    /// Its agent answers: waits until the others see it.
    fn joined<'a>(
        &'a self,
        _reply: &'a InitReply,
    ) -> BoxFuture<'a, Result<(), Box<dyn Error + Send + Sync>>> {
        Box::pin(async { Ok(()) })
    }

    /// Takes the admission back: the machine did not come up.
    fn withdraw<'a>(&'a self, reply: &'a InitReply) -> BoxFuture<'a, ()>;
}

/// A machine that was taken over.
#[derive(Debug, Clone)]
pub struct Slaved {
    /// What it was before.
    pub probe: Probe,
    /// What should be said about it.
    pub warnings: Vec<Problem>,
    /// Its agent, when it joined.
    pub reply: Option<InitReply>,
    /// Its name.
    pub name: Name,
    /// Whether the program was sent, and not there already.
    pub uploaded: bool,
    /// Titles of the steps that were applied.
    pub applied: Vec<String>,
}

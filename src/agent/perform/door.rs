//! The cluster, as whoever performs a plan reaches it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::agent::api::AdmitRequest;
use crate::agent::api::ApiError;
use crate::agent::api::Bootstrap;
use crate::agent::api::WriteRequest;
use crate::config::home::Home;
use crate::model::cluster::Genesis;
use crate::model::member::Member;
use crate::ssh::host::Host;

/// An answer of the cluster.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, DoorError>>;

/// What the performer asks of an agent. The command line's API client is one.
pub trait Door: Send + Sync {
    /// Everybody.
    fn members(&self) -> Answer<'_, Vec<Member>>;
    /// The whole document.
    fn document(&self) -> Answer<'_, Value>;
    /// The artefact whose SHA-256 is `digest`.
    fn artefact(&self, digest: String) -> Answer<'_, Vec<u8>>;
    /// The cluster's first moment.
    fn genesis(&self) -> Answer<'_, Genesis>;
    /// Changes it, durably.
    fn write(&self, request: WriteRequest) -> Answer<'_, ()>;
    /// Takes a key in.
    fn admit(&self, request: AdmitRequest) -> Answer<'_, Bootstrap>;
    /// Tells the machine behind the door of members to call.
    fn introduce(&self, bootstrap: Bootstrap) -> Answer<'_, ()>;
    /// Puts a member out, by id.
    fn evict(&self, node: String) -> Answer<'_, ()>;
}

/// Why the cluster gave no answer, or refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DoorError {
    /// It said no.
    #[error("{}", .0.message)]
    Refused(ApiError),
    /// It cannot be reached.
    #[error("{0}")]
    Unreachable(String),
}

/// Where an agent's door is.
#[derive(Clone)]
pub enum Way {
    /// On this computer, just started.
    Local {
        /// Its home.
        home: Home,
        /// Where in its log the words of this start begin.
        log_start: u64,
    },
    /// On a host.
    Host {
        /// The host.
        host: Arc<dyn Host>,
        /// Whether its agent is root's and we are not.
        sudo: bool,
    },
}

/// Opens doors: the command line knows how.
pub trait Doors: Send + Sync {
    /// The door of the agent there, once it answers.
    fn open(&self, way: Way) -> Answer<'_, Arc<dyn Door>>;
}

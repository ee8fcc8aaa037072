//! Actions: what is about to be done to the world, as plain data.
//!
//! The planner returns them, `--dry-run` prints them, the executor performs them and has no
//! choices left to make.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::destination::Destination;
use crate::model::identity::NodeId;
use crate::model::label::Labels;
use crate::model::machine::IntentId;
use crate::model::name::Name;

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Begin a cluster on the first machine of the plan.
    Found {
        /// The cluster's name.
        cluster: Name,
    },
    /// Get a machine from a back-end.
    Create {
        /// The wish it fulfils.
        intent: IntentId,
        /// Its name.
        name: Name,
        /// The back-end.
        compute_type: String,
        /// What it will be provisioned to be.
        server_type: String,
        /// Its labels.
        labels: Labels,
        /// Milliseconds that it lives; none for as long as nobody destroys it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl_ms: Option<u64>,
    },
    /// Take a machine over: provision it, put the agent on it, admit it.
    Slave {
        /// Its wish.
        intent: IntentId,
        /// Its name; none when it is to keep its host name.
        name: Option<Name>,
        /// Where, for a machine that no back-end of ours made.
        destination: Option<Destination>,
        /// The host through which it is reached.
        #[serde(default)]
        via: Option<Destination>,
        /// What it will be.
        server_type: String,
        /// Its labels.
        #[serde(default)]
        labels: Labels,
        /// Whether provisioning runs.
        provision: bool,
        /// Whether the agent is put on it and admitted.
        join: bool,
    },
    /// Take a member's key out of the document.
    Evict {
        /// The member.
        node: NodeId,
        /// Its name.
        name: Name,
    },
    /// Take a machine's record out of the document, and leave the machine alone.
    Forget {
        /// Its wish.
        intent: IntentId,
        /// Its name.
        name: Name,
    },
    /// Give a machine back to its back-end; its record goes with it.
    Destroy {
        /// Its wish.
        intent: IntentId,
        /// Its name.
        name: Name,
        /// The back-end.
        compute_type: String,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found { cluster } => write!(formatter, "found cluster {cluster}"),
            Self::Create { name, compute_type, server_type, ttl_ms, .. } => {
                write!(formatter, "create machine {name} on {compute_type} as {server_type}")?;
                match ttl_ms {
                    Some(ttl) => write!(formatter, " for {} s", ttl.div_ceil(1_000)),
                    None => Ok(()),
                }
            }
            Self::Slave { name, destination, via, server_type, provision, join, .. } => {
                let mut machine = match (name, destination) {
                    (Some(name), Some(destination)) => format!("{destination} as {name}"),
                    (Some(name), None) => name.to_string(),
                    (None, Some(destination)) => destination.to_string(),
                    (None, None) => "a machine".to_owned(),
                };
                if let Some(via) = via {
                    machine = format!("{machine} through {via}");
                }
                match (provision, join) {
                    (true, true) => {
                        write!(formatter, "slave {machine}: provision {server_type}, join")
                    }
                    (true, false) => write!(formatter, "slave {machine}: provision {server_type}"),
                    (false, true) => write!(formatter, "slave {machine}: join"),
                    (false, false) => write!(formatter, "slave {machine}: check the login"),
                }
            }
            Self::Forget { name, .. } => write!(formatter, "forget machine {name}"),
            Self::Evict { name, .. } => write!(formatter, "evict {name}"),
            Self::Destroy { name, compute_type, .. } => {
                write!(formatter, "destroy {name} on {compute_type}")
            }
        }
    }
}

/// A list of actions, in the order in which they are begun, each with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
}

/// One action and why it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
    /// Why.
    pub reason: String,
}

impl Plan {
    /// Adds a step at the end.
    pub fn push(&mut self, action: Action, reason: impl Into<String>) {
        self.steps.push(Step { action, reason: reason.into() });
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(formatter, "{} ({})", step.action, step.reason)?;
        }
        Ok(())
    }
}

//! Hooks: what a person wants done when something has happened.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What hooks are told of.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A back-end has given a machine; told where it was asked for.
    AfterStartInstance,
    /// A machine is provisioned; told where that was done from.
    AfterSlave,
    /// A machine has found its cluster; told on that machine.
    AfterMesh,
    /// A machine has become a member; told where it was taken in from.
    AfterAssimilate,
    /// Who answers is not who answered before; told on every member.
    ClusterChange,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::AfterStartInstance,
        Self::AfterSlave,
        Self::AfterMesh,
        Self::AfterAssimilate,
        Self::ClusterChange,
    ];

    /// Its name, as the configuration has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AfterStartInstance => "after_start_instance",
            Self::AfterSlave => "after_slave",
            Self::AfterMesh => "after_mesh",
            Self::AfterAssimilate => "after_assimilate",
            Self::ClusterChange => "cluster_change",
        }
    }
}

/// A command for when something has happened. Both texts are the user's own, for `sh -c`; what has
/// happened stands as JSON on standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hook {
    /// When it is looked at.
    pub event: Event,
    /// A command that says by exit status 0 that the hook is to run. Empty: it always does.
    pub predicate: String,
    /// What is run then.
    pub command: String,
    /// Milliseconds that each of the two may take.
    pub timeout_ms: u64,
}

impl Default for Hook {
    fn default() -> Self {
        Self {
            event: Event::ClusterChange,
            predicate: String::new(),
            command: String::new(),
            timeout_ms: 60_000,
        }
    }
}

impl Hook {
    /// `timeout_ms` as a duration.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// Hooks by name.
pub type Hooks = BTreeMap<String, Hook>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_named_as_they_are_written() {
        for event in Event::ALL {
            assert_eq!(serde_json::json!(event), event.name());
        }
    }
}

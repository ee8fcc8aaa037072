//! What the members write down about the care of a machine: whom it serves, who works on it, when
//! it ends. Part of its record in the document.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::identity::NodeId;
use crate::model::name::Name;
use crate::model::time::Timestamp;

/// The care of one machine. Everything is absent for a machine that a person made and nobody tends.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Upkeep {
    /// The rule that asked for the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Who is making it; none once it is a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// The computer or account through which its back-end is driven: only who drives the same one
    /// can see it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// That it is to go, and why. Written before anything is taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retire: Option<Retirement>,
    /// Why its member was taken out, when that was because it is to go. It goes then, even if another
    /// took the mark off at that moment: a machine whose member a person put out stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put_out: Option<Retirement>,
    /// When its back-end was seen to hold it standing still, or not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    /// When its agent was last found answering, at a visit past the mesh, while it was called failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<Timestamp>,
    /// When its life ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When that was announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warned_at: Option<Timestamp>,
}

impl Upkeep {
    /// Why the machine is to go; none when it is not.
    #[must_use]
    pub fn ending(&self) -> Option<&Retirement> {
        self.retire.as_ref().or(self.put_out.as_ref())
    }
}

/// Who is making a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// That member.
    pub holder: NodeId,
    /// Since when, by its clock: tells one lease from the next.
    pub at: Timestamp,
    /// How many held one before.
    #[serde(default)]
    pub attempt: u32,
}

/// That a machine is to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retirement {
    /// Why, in a few words.
    pub reason: String,
    /// When it was decided.
    pub at: Timestamp,
    /// Whether it never became what was wished for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
}

/// `retired.<intent id>`: what remains of a machine that went, so that it never comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Its name.
    pub name: Name,
    /// How it was got.
    pub compute_type: String,
    /// The rule that had asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// When it was wished for.
    pub created_at: Timestamp,
    /// When it went.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// Whether it never became what was wished for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
    /// What a later build says besides.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

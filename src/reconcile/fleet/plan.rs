//! What the members will do about the fleet, and why not more: plain data, printed as it is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::identity::NodeId;
use crate::model::label::Labels;
use crate::model::machine::IntentId;
use crate::model::name::Name;
use crate::model::time::Timestamp;

/// One thing that is done about one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Act {
    /// Write down the wish for a machine, and who is to make it.
    Wish(Box<Wish>),
    /// Make the machine of a wish that one holds.
    Make {
        /// The wish.
        intent: IntentId,
        /// Its name.
        name: Name,
    },
    /// Say again that one is at work on a wish.
    Renew {
        /// The wish.
        intent: IntentId,
        /// Its name.
        name: Name,
    },
    /// Take a wish from a member that is gone, or gives no sign.
    TakeOver {
        /// The wish.
        intent: IntentId,
        /// Its name.
        name: Name,
        /// How many held it before.
        attempt: u32,
    },
    /// Note that a wish is fulfilled.
    Release {
        /// The wish.
        intent: IntentId,
        /// Its name.
        name: Name,
    },
    /// Ask a back-end what it has.
    Check {
        /// The compute type.
        compute_type: String,
    },
    /// Look at a machine itself: its agent may answer though the mesh does not reach it.
    Visit {
        /// Its wish.
        intent: IntentId,
        /// Its name.
        name: Name,
    },
    /// Note whether the back-end holds a machine standing still.
    Note {
        /// Its wish.
        intent: IntentId,
        /// Its name.
        name: Name,
        /// Whether it stands still; else that is taken back.
        stopped: bool,
    },
    /// Announce that a machine's life ends.
    Warn {
        /// Its wish.
        intent: IntentId,
        /// Its name.
        name: Name,
        /// When.
        expires_at: Timestamp,
    },
    /// Write down that a machine is to go.
    Retire {
        /// Its wish.
        intent: IntentId,
        /// Its name.
        name: Name,
        /// Whether it never became what was wished for.
        failed: bool,
    },
    /// Take back that a machine is to go: it is needed after all.
    Keep {
        /// Its wish.
        intent: IntentId,
        /// Its name.
        name: Name,
    },
    /// Take a member out of whose machine nothing is left.
    PutOut {
        /// The member.
        node: NodeId,
        /// Its name.
        name: Name,
    },
    /// Take a machine that is to go out of the cluster, and give it back.
    Destroy {
        /// Its wish.
        intent: IntentId,
        /// Its name.
        name: Name,
        /// Its back-end.
        compute_type: String,
        /// The member on it.
        node: Option<NodeId>,
    },
    /// End the machine on which this member is: its time is over, and nobody else is left.
    End {
        /// Its wish.
        intent: IntentId,
        /// Its name.
        name: Name,
    },
    /// Write down a machine that a back-end has and the document does not know.
    Adopt {
        /// The wish that it carries.
        intent: IntentId,
        /// Its name.
        name: Name,
        /// Its back-end.
        compute_type: String,
    },
    /// Take out the record of a machine that its back-end does not have any more.
    Forget {
        /// Its wish.
        intent: IntentId,
        /// Its name.
        name: Name,
    },
    /// Give back a machine that went before, and is there again.
    DestroyAgain {
        /// The wish that it carries.
        intent: IntentId,
        /// Its name.
        name: Name,
        /// Its back-end.
        compute_type: String,
    },
}

/// A machine that is wished for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// Its id.
    pub intent: IntentId,
    /// The machine's name.
    pub name: Name,
    /// Its back-end.
    pub compute_type: String,
    /// What it will be.
    pub server_type: String,
    /// Its labels.
    pub labels: Labels,
    /// The rule that asks for it. [`Planned`], beside whose fields it is written, has one, too.
    #[serde(rename = "for_rule")]
    pub rule: String,
    /// Who makes it.
    pub holder: NodeId,
    /// The scope in which that member drives the back-end.
    pub scope: String,
    /// When its life ends.
    pub expires_at: Option<Timestamp>,
}

impl fmt::Display for Act {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wish(wish) => {
                write!(
                    formatter,
                    "get {} on {} as {}",
                    wish.name, wish.compute_type, wish.server_type
                )
            }
            Self::Make { name, .. } => write!(formatter, "make {name}"),
            Self::Renew { name, .. } => write!(formatter, "go on making {name}"),
            Self::TakeOver { name, .. } => write!(formatter, "take over the making of {name}"),
            Self::Release { name, .. } => write!(formatter, "note that {name} is made"),
            Self::Check { compute_type } => write!(formatter, "ask {compute_type} what it has"),
            Self::Visit { name, .. } => write!(formatter, "visit {name}"),
            Self::Note { name, stopped: true, .. } => {
                write!(formatter, "note that {name} stands still")
            }
            Self::Note { name, .. } => write!(formatter, "note that {name} runs again"),
            Self::Warn { name, expires_at, .. } => {
                write!(formatter, "announce that {name} ends at {expires_at}")
            }
            Self::Retire { name, .. } => write!(formatter, "retire {name}"),
            Self::Keep { name, .. } => write!(formatter, "keep {name} after all"),
            Self::PutOut { name, .. } => write!(formatter, "put {name} out"),
            Self::Destroy { name, compute_type, .. } => {
                write!(formatter, "destroy {name} on {compute_type}")
            }
            Self::End { name, .. } => write!(formatter, "end {name}, the last one"),
            Self::Adopt { name, compute_type, .. } => {
                write!(formatter, "adopt {name} on {compute_type}")
            }
            Self::Forget { name, .. } => write!(formatter, "forget {name}"),
            Self::DestroyAgain { name, compute_type, .. } => {
                write!(formatter, "destroy {name} on {compute_type} again")
            }
        }
    }
}

/// One action, who does it, for which rule and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// What is done.
    #[serde(flatten)]
    pub act: Act,
    /// By which member.
    pub by: NodeId,
    /// That member's name.
    pub by_name: String,
    /// The rule that it serves, when it serves one.
    pub rule: Option<String>,
    /// Why.
    pub reason: String,
}

/// Why something is not done, or not yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum WhyNot {
    /// The fleet is left as it is.
    Paused,
    /// The member that plans does not know enough.
    HalfKnowledge,
    /// No member that lives can drive any of the compute types.
    NoBackEnd,
    /// The back-end failed, and is tried again later.
    BackOff,
    /// A machine was asked for a moment ago.
    Cooldown,
    /// As many as may be were asked for in the last hour.
    HourlyCap,
    /// As many machines as may be exist.
    FleetMaximum,
    /// A suspected member may still show that it lives.
    Suspect,
    /// A failed member may still come back.
    Unsure,
    /// Half of the members or more are failed: this one may be cut off.
    Brake,
    /// Another member is making it.
    HeldByOther,
    /// A person is making it.
    HeldByPerson,
    /// Things have to come to rest first.
    Unsettled,
    /// It was not made by a back-end of ours.
    NotOurs,
    /// Another rule needs it.
    NeededElsewhere,
    /// Its time ends soon.
    Expiring,
    /// Its time ends later: nothing has to be done for long.
    Lasting,
    /// It takes the others away first.
    GoesLast,
}

/// Something that is not done, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// The rule that it would serve, when it would serve one.
    pub rule: Option<String>,
    /// Why, for programs.
    #[serde(flatten)]
    pub why: WhyNot,
    /// What and why, for people.
    pub message: String,
}

/// Whether one rule holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleState {
    /// The rule.
    pub rule: String,
    /// Members that live, suspects included.
    pub alive: u32,
    /// Machines that are being made.
    pub coming: u32,
    /// Fewest that must live.
    pub min: u32,
    /// Most that may live.
    pub max: Option<u32>,
    /// The rule's note.
    pub note: String,
}

impl RuleState {
    /// Whether it holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.alive >= self.min && self.max.is_none_or(|max| self.alive <= max)
    }
}

/// What the members will do about the fleet, as one of them sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FleetPlan {
    /// How the rules stand.
    pub rules: Vec<RuleState>,
    /// What is done.
    pub actions: Vec<Planned>,
    /// What is not, and why.
    pub waits: Vec<Wait>,
}

impl FleetPlan {
    /// Whether there is nothing to do, and nothing that may have to be done soon.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.actions.is_empty() && self.waits.iter().all(|wait| wait.why == WhyNot::Lasting)
    }

    /// Whether everything that was asked for holds.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let is_asked_for = |wait: &Wait| matches!(wait.why, WhyNot::Lasting | WhyNot::Expiring);
        // Without rules nothing waits that anybody asked for.
        self.rules.is_empty()
            || self.waits.iter().all(is_asked_for) && self.rules.iter().all(RuleState::holds)
    }
}

impl fmt::Display for FleetPlan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for state in &self.rules {
            let RuleState { rule, alive, coming, min, max, .. } = state;
            let most = max.map_or_else(|| "any".to_owned(), |max| max.to_string());
            let holds = if state.holds() { "holds" } else { "does not hold" };
            write!(
                formatter,
                "rule {rule}: {alive} of {min} to {most} live, {coming} coming: {holds}"
            )?;
            if state.note.is_empty() {
                writeln!(formatter)?;
            } else {
                writeln!(formatter, " ({})", state.note)?;
            }
        }
        for Planned { act, by_name, rule, reason, .. } in &self.actions {
            match rule {
                Some(rule) => writeln!(formatter, "{by_name}: {act} (rule {rule}: {reason})")?,
                None => writeln!(formatter, "{by_name}: {act} ({reason})")?,
            }
        }
        for Wait { rule, message, .. } in &self.waits {
            match rule {
                Some(rule) => writeln!(formatter, "not yet: {message} (rule {rule})")?,
                None => writeln!(formatter, "not yet: {message}")?,
            }
        }
        Ok(())
    }
}

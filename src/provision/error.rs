//! Why a machine was not taken over, and what was put back.

use crate::provision::check::Problem;
use crate::provision::probe::ProbeError;
use crate::provision::script::ScriptError;
use crate::provision::steps::StepsError;
use crate::ssh::error::HostError;

/// A machine was not taken over.
#[derive(Debug, thiserror::Error)]
#[error("{machine}: {step} failed")]
pub struct SlaveError {
    /// What the user calls the machine.
    pub machine: String,
    /// The step: `connecting`, `headless/hosts`, `install`, ...
    pub step: String,
    /// Its exit status, when it was a command's.
    pub exit_status: Option<i32>,
    /// The last lines it wrote.
    pub last_lines: Vec<String>,
    /// The log on the machine, when one was written.
    pub log_path: Option<String>,
    /// What was put back as it was.
    pub undone: Vec<String>,
    /// What could not be put back.
    pub left: Vec<String>,
    /// Why.
    #[source]
    pub cause: SlaveCause,
}

/// Why a step of taking over failed.
#[derive(Debug, thiserror::Error)]
pub enum SlaveCause {
    /// The host itself failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The machine's answer to the probe is no answer.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The machine will not do.
    #[error("{}", listed(.0))]
    Unfit(Vec<Problem>),
    /// A module is not made for it.
    #[error(transparent)]
    Steps(#[from] StepsError),
    /// A module cannot be sent.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// A command failed.
    #[error("it ended with status {0}")]
    Status(i32),
    /// A step took longer than it may.
    #[error("it was not done in time and was ended")]
    TimedOut,
    /// Another run holds the machine.
    #[error("another raptor is at work on this machine")]
    Busy,
    /// The script ended before its end.
    #[error("the script on the machine ended early, with status {0}")]
    CutShort(i32),
    /// The agent's answer is not understood.
    #[error("the agent answered {answer:?}")]
    BadReply {
        /// How the answer starts.
        answer: String,
    },
    /// The cluster did not admit it.
    #[error("the cluster did not admit it")]
    Admission(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl SlaveError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match &self.cause {
            SlaveCause::Host(error) => error.hint(),
            SlaveCause::Unfit(problems) => {
                let hints: Vec<&str> = problems.iter().map(Problem::hint).collect();
                hints.join("; ")
            }
            SlaveCause::Steps(_) => {
                "leave the module out of the server type, or name the packages in it".to_owned()
            }
            SlaveCause::Busy => "wait for it to end, and try again".to_owned(),
            _ => match &self.log_path {
                Some(path) => format!("see {path} on {}; then try again", self.machine),
                None => "try again".to_owned(),
            },
        }
    }
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

//! Why an agent refuses or fails, in the words its API answers with.

use crate::agent::api::ApiError;

/// A refusal, or a failure of the agent's own work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// The asked-for thing is not there.
    #[error("{0}")]
    NotFound(String),
    /// It contradicts what is there.
    #[error("{0}")]
    Conflict(String),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The far end says no.
    #[error("{0}")]
    Refused(String),
    /// It cannot be done at the moment.
    #[error("{0}")]
    Unavailable(String),
    /// The caller may not.
    #[error("{0}")]
    Forbidden(String),
    /// A fault of raptor itself.
    #[error("{0}")]
    Bug(String),
}

impl AgentError {
    /// The agent is on its way out.
    #[must_use]
    pub fn stopping() -> Self {
        Self::Unavailable("the agent is stopping".to_owned())
    }

    /// The body of the API's answer.
    #[must_use]
    pub fn to_api(&self) -> ApiError {
        let (code, hint) = match self {
            Self::NotFound(_) => ("not_found", Some("`raptor members` lists what is there")),
            Self::Conflict(_) => ("conflict", None),
            Self::Invalid(_) => ("invalid", None),
            Self::Refused(_) => ("refused", None),
            Self::Unavailable(_) => ("unavailable", Some("`raptor status` tells what is wrong")),
            Self::Forbidden(_) => ("forbidden", None),
            Self::Bug(_) => ("bug", Some("please report this with the agent's log")),
        };
        ApiError { code: code.to_owned(), message: self.to_string(), hint: hint.map(str::to_owned) }
    }
}

/// An error with all its causes on one line: `what: why: why that`.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

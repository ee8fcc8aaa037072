//! Why a cloud did not do what it was asked.

use std::path::PathBuf;
use std::time::Duration;

/// What a provider's API, or the way to it, stands in the way with.
#[derive(Debug, thiserror::Error)]
pub enum CloudCause {
    /// No token was given.
    #[error(
        "there is no token: {variables} is not set, and the compute type names neither \
         token_secret nor token_file"
    )]
    NoToken {
        /// The environment variable, or several.
        variables: &'static str,
    },
    /// The token's file cannot be used.
    #[error("the token cannot be read from {path:?}: {why}")]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The secret with the token cannot be used.
    #[error("the secret {name:?} cannot be used: {why}")]
    TokenSecret {
        /// The secret.
        name: String,
        /// Why.
        why: String,
    },
    /// What is expected to hold two words holds fewer.
    #[error("expected an access key id and a secret key")]
    NoPair,
    /// The token is wrong, was revoked, or may not do this.
    #[error("the provider does not accept the token: {said}")]
    Unauthorized {
        /// The provider's words.
        said: String,
    },
    /// The account may not have more.
    #[error("the account's quota is used up: {said}")]
    Quota {
        /// The provider's words.
        said: String,
    },
    /// The size is not to be had there at this moment.
    #[error("the size is sold out there: {said}")]
    SoldOut {
        /// The provider's words.
        said: String,
    },
    /// Too many requests, and the provider asks for more patience than there is.
    #[error("the provider limits requests: again in {} s", after.as_secs())]
    RateLimited {
        /// How long it wants to be left alone.
        after: Duration,
    },
    /// Nothing answers at the API's address. Nothing was asked of it.
    #[error("the API at {host} is out of reach: {why}")]
    Unreachable {
        /// Its host.
        host: String,
        /// Why.
        why: String,
    },
    /// The request went out and no answer came: it may have been carried out.
    #[error("{request} was not answered: {why}")]
    Unanswered {
        /// Method and path.
        request: String,
        /// Why.
        why: String,
    },
    /// The provider failed: the request may have been carried out.
    #[error("the provider failed at {request}: {said} (HTTP {status})")]
    Broken {
        /// Method and path.
        request: String,
        /// The status of its answer.
        status: u16,
        /// Its words.
        said: String,
    },
    /// The provider does not do this.
    #[error("the provider refuses {request}: {said} (HTTP {status})")]
    Refused {
        /// Method and path.
        request: String,
        /// The status of its answer.
        status: u16,
        /// Its words.
        said: String,
    },
    /// The provider does this only once under one name or token, and has done it.
    #[error("the provider has one of this name already: {said}")]
    Taken {
        /// Its words.
        said: String,
    },
    /// It is not there.
    #[error("the provider does not know what {request} asks for: {said}")]
    Absent {
        /// Method and path.
        request: String,
        /// Its words.
        said: String,
    },
    /// The answer is not what the provider's description promises.
    #[error("the answer to {request} was not understood: {why}")]
    Answer {
        /// Method and path.
        request: String,
        /// What is wrong with it.
        why: String,
    },
    /// The machine was made and is of no use.
    #[error("the machine {what}")]
    Lost {
        /// What became of it: `went away while it was made`.
        what: &'static str,
    },
}

impl CloudCause {
    /// Whether what was asked for may have happened all the same.
    pub(super) fn is_uncertain(&self) -> bool {
        matches!(self, Self::Unanswered { .. } | Self::Broken { .. } | Self::Answer { .. })
    }

    /// What to do next, in one sentence.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NoToken { variables } => {
                format!(
                    "set {variables}, or `raptor secret set NAME` and `token_secret` of the \
                     compute type to NAME"
                )
            }
            Self::TokenSecret { name, .. } => {
                format!(
                    "`raptor secret ls` tells who holds what; `raptor secret set {name}` sets it"
                )
            }
            Self::NoPair => "set the secret, or the file, to both, with a blank between".to_owned(),
            Self::TokenFile { path, .. } => {
                format!("put the token into {} alone, and `chmod 600` it", path.display())
            }
            Self::Unauthorized { .. } => {
                "make a token that may read and write servers, keys and tags".to_owned()
            }
            Self::Quota { .. } => {
                "destroy what is not needed, or ask the provider for a higher limit".to_owned()
            }
            Self::SoldOut { .. } => {
                "set another `region` or `size`: `raptor compute catalog` shows them".to_owned()
            }
            Self::RateLimited { .. } => "wait, or spawn fewer machines at once".to_owned(),
            Self::Unreachable { .. } => {
                "see that this computer reaches the Internet, and what HTTPS_PROXY says".to_owned()
            }
            Self::Unanswered { .. } | Self::Broken { .. } | Self::Lost { .. } => {
                "look at the provider's status page, then try again: no machine is made twice"
                    .to_owned()
            }
            Self::Refused { .. } => {
                "see whether region, size and image exist: `raptor compute catalog`".to_owned()
            }
            Self::Taken { .. } => "remove what bears the machine's name there".to_owned(),
            Self::Absent { .. } => {
                "see whether region, size, image, network and firewall exist there".to_owned()
            }
            Self::Answer { .. } => {
                "see whether a newer raptor knows this provider better".to_owned()
            }
        }
    }
}

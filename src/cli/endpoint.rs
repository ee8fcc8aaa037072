//! Where an agent may be asked, as `--connect` and `contexts.json` say it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::destination::Destination;
use crate::model::destination::DestinationError;
use crate::model::machine::IntentId;

/// Where an agent may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Endpoint {
    /// A socket on this machine.
    Unix(PathBuf),
    /// A machine that SSH reaches.
    Ssh(SshWay),
    /// A machine that a back-end made: its host key is known by the wish, since its address may
    /// have been another machine's before.
    Spawned {
        /// The wish.
        intent: IntentId,
        /// Where it is.
        destination: Destination,
    },
}

/// How to log in to a machine, as far as the user's own configuration does not say it:
/// `[USER@]HOST[:PORT] [--via HOST] [-i KEY]`, as `raptor slave` takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshWay {
    /// Where it is.
    pub destination: Destination,
    /// The host to go through.
    pub via: Option<Destination>,
    /// The secret key to offer.
    pub identity_file: Option<PathBuf>,
}

/// What stands before the wish and the address of a machine that a back-end made.
const SPAWNED: &str = "spawned:";

/// What stands between a destination and the host to go through. A destination holds no blanks.
const VIA: &str = " --via ";

/// What stands before the path of the key, which ends the text: it may hold blanks.
const IDENTITY: &str = " -i ";

impl FromStr for Endpoint {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let spawned = text.strip_prefix(SPAWNED).and_then(|rest| rest.split_once(':'));
        let spawned = spawned.and_then(|(wish, rest)| Some((wish.parse().ok()?, rest)));
        match spawned {
            Some((intent, destination)) => {
                Ok(Self::Spawned { intent, destination: destination.parse()? })
            }
            None => text.parse().map(Self::Ssh),
        }
    }
}

impl FromStr for SshWay {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (rest, identity_file) = match text.split_once(IDENTITY) {
            Some((rest, path)) => (rest, Some(PathBuf::from(path))),
            None => (text, None),
        };
        let (destination, via) = match rest.split_once(VIA) {
            Some((destination, via)) => (destination, Some(via.parse()?)),
            None => (rest, None),
        };
        Ok(Self { destination: destination.parse()?, via, identity_file })
    }
}

impl fmt::Display for SshWay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.destination.fmt(formatter)?;
        if let Some(via) = &self.via {
            write!(formatter, "{VIA}{via}")?;
        }
        if let Some(path) = &self.identity_file {
            write!(formatter, "{IDENTITY}{}", path.display())?;
        }
        Ok(())
    }
}

impl From<Destination> for SshWay {
    fn from(destination: Destination) -> Self {
        Self { destination, via: None, identity_file: None }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Ssh(way) => way.fmt(formatter),
            Self::Spawned { intent, destination } => {
                write!(formatter, "{SPAWNED}{intent}:{destination}")
            }
        }
    }
}

impl TryFrom<String> for Endpoint {
    type Error = DestinationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_keeps_its_jump_host_and_key() {
        for text in [
            "root@10.0.0.7:2222",
            "root@10.0.0.7 --via me@jump:23",
            "box -i /home/me/my keys/id",
            "me@[fe80::1]:22 --via jump -i /k",
            "unix:/a b/agent.sock",
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
        }
        let Ok(Endpoint::Ssh(way)) = "box --via jump -i /k".parse() else { panic!() };
        assert_eq!(way.via.unwrap().host, "jump");
        assert_eq!(way.identity_file.unwrap(), PathBuf::from("/k"));
        for text in ["", "a b", "a --via", "-oX --via b", "a --via -oX"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}

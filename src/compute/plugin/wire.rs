//! What is said to a plug-in and what it answers (`docs/providers.md`). Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::compute::host_keys;
use crate::model::destination::Destination;
use crate::model::machine::Access;
use crate::model::machine::Machine;

/// The version of what is said here.
pub const VERSION: u32 = 1;

/// Progress that is told before a plug-in is taken for broken.
const PROGRESS_MAX: usize = 10_000;
/// The longest id: a container's has 64 characters.
const ID_LENGTH_MAX: usize = 512;

/// What a plug-in is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Say who it is and what it can do.
    Describe,
    /// Say whether machines could be made with these settings.
    Validate,
    /// Say what there is to choose from.
    Catalog,
    /// Have the provider know a public key.
    EnsureKey,
    /// Make the machine of a wish.
    Create,
    /// Look for the machine of a wish.
    Get,
    /// Look for all machines of a cluster.
    List,
    /// Give a machine back.
    Delete,
}

impl Verb {
    /// Its name: the only argument of the process, and `verb` in its line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::Validate => "validate",
            Self::Catalog => "catalog",
            Self::EnsureKey => "ensure_key",
            Self::Create => "create",
            Self::Get => "get",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }
}

/// The one line that a plug-in reads.
#[derive(Serialize)]
struct Request<'a> {
    version: u32,
    verb: Verb,
    parameters: &'a Value,
    settings: &'a Map<String, Value>,
    secrets: BTreeMap<&'a str, &'a str>,
    deadline_ms: u64,
}

/// What is asked, apart from the verb.
pub(super) struct Question<'a> {
    pub(super) parameters: &'a Value,
    pub(super) settings: &'a Map<String, Value>,
    pub(super) secrets: BTreeMap<&'a str, &'a str>,
    pub(super) deadline: Duration,
}

/// The line for `verb`, with its line break.
pub(super) fn request(
    verb: Verb,
    question: Question<'_>,
) -> serde_json::Result<Zeroizing<Vec<u8>>> {
    let Question { parameters, settings, secrets, deadline } = question;
    let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
    let request = Request { version: VERSION, verb, parameters, settings, secrets, deadline_ms };
    // Large enough for most, so that no copy of a secret is left behind where it grew.
    let mut line = Zeroizing::new(Vec::with_capacity(64 * 1024));
    serde_json::to_writer(&mut *line, &request)?;
    line.push(b'\n');
    Ok(line)
}

/// Why a plug-in says no.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// A secret is missing or not accepted.
    Auth,
    /// The account may not have more.
    Quota,
    /// What was named is not there.
    NotFound,
    /// Something else is in the way.
    Conflict,
    /// Too many requests.
    RateLimited,
    /// A setting or a parameter is wrong.
    Invalid,
    /// The provider cannot be reached or does not work, or is sold out.
    Unavailable,
    /// The provider took too long.
    Timeout,
    /// The plug-in cannot do that.
    Unsupported,
    /// The plug-in does not speak this version.
    UnsupportedVersion,
    /// One that a later version knows.
    #[default]
    #[serde(other)]
    Other,
}

/// A plug-in's no.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Refusal {
    /// Why.
    #[serde(default)]
    pub code: Code,
    /// Why, for people.
    pub message: String,
    /// Whether the same may work a little later.
    #[serde(default)]
    pub retryable: bool,
    /// How much later.
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
}

/// What a plug-in's lines come to.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    answer: Option<Result<Value, Refusal>>,
    progress: usize,
}

impl Conversation {
    /// Takes one line in; gives what it tells of the progress.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<Option<String>, String> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(None);
        }
        let mut told: Map<String, Value> = serde_json::from_slice(line)
            .map_err(|error| format!("a line of its output is no JSON object: {error}"))?;
        if self.answer.is_some() {
            return Err("it said more after its answer".to_owned());
        }
        if let Some(progress) = told.remove("progress") {
            self.progress += 1;
            if self.progress > PROGRESS_MAX {
                return Err(format!("it told more than {PROGRESS_MAX} steps"));
            }
            return Ok(Some(progress.as_str().unwrap_or_default().to_owned()));
        }
        self.answer = match (told.remove("result"), told.remove("error")) {
            (Some(result), None) => Some(Ok(result)),
            (None, Some(error)) => {
                let refusal = serde_json::from_value(error);
                Some(Err(refusal.map_err(|why| format!("its error cannot be read: {why}"))?))
            }
            _ => return Err("a line holds no progress, no result and no error".to_owned()),
        };
        Ok(None)
    }

    /// The answer; none when it ended without one.
    pub(super) fn end(self) -> Option<Result<Value, Refusal>> {
        self.answer
    }
}

/// Who a plug-in is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Description {
    /// What it calls itself.
    #[serde(default)]
    pub name: String,
    /// Its own version.
    #[serde(default)]
    pub version: String,
    /// What it is, for people.
    #[serde(default)]
    pub description: String,
    /// The versions of what is said here that it speaks.
    #[serde(default)]
    pub protocols: Vec<u32>,
    /// The verbs that it knows beside those that all must know.
    #[serde(default)]
    pub verbs: Vec<String>,
    /// Which machines it sees: the same word from wherever it sees the same ones.
    #[serde(default)]
    pub scope: Option<String>,
}

impl Description {
    /// Whether it knows `verb`.
    #[must_use]
    pub fn knows(&self, verb: Verb) -> bool {
        self.verbs.iter().any(|known| known == verb.name())
    }
}

/// A machine as plug-ins tell of it.
#[derive(Debug, Deserialize)]
pub(super) struct Told {
    id: String,
    intent: String,
    cluster: String,
    name: String,
    #[serde(default = "yes")]
    running: bool,
    #[serde(default)]
    ssh: Option<Ssh>,
}

#[derive(Debug, Deserialize)]
struct Ssh {
    host: String,
    #[serde(default = "ssh_port")]
    port: u16,
    #[serde(default = "root")]
    user: String,
    #[serde(default)]
    host_keys: Vec<String>,
}

fn yes() -> bool {
    true
}

fn ssh_port() -> u16 {
    22
}

fn root() -> String {
    "root".to_owned()
}

impl Told {
    /// The machine; what will stand on command lines and in files is looked at first.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn machine(self) -> Result<Machine, String> {
        let wrong = |what: &str, text: &str, why: &dyn std::fmt::Display| {
            let text: String = text.chars().take(80).collect();
            format!("the {what} of a machine, {text:?}: {why}")
        };
        if self.id.is_empty()
            || self.id.len() > ID_LENGTH_MAX
            || self.id.chars().any(char::is_control)
        {
            return Err(wrong("id", &self.id, &"empty, too long, or with control characters"));
        }
        let intent = self.intent.parse().map_err(|why| wrong("intent", &self.intent, &why))?;
        let cluster = self.cluster.parse().map_err(|why| wrong("cluster", &self.cluster, &why))?;
        let name = self.name.parse().map_err(|why| wrong("name", &self.name, &why))?;
        let access = self.ssh.map(Ssh::access).transpose()?;
        Ok(Machine { id: self.id, intent, cluster, name, running: self.running, access })
    }
}

impl Ssh {
    fn access(self) -> Result<Access, String> {
        let Self { host, port, user, host_keys } = self;
        let told = Destination { user: Some(user), host, port: Some(port) };
        // As the command line reads it: no blanks, nothing that looks like an option.
        let read: Result<Destination, _> = told.to_string().parse();
        if read.as_ref() != Ok(&told) || port == 0 {
            return Err(format!("{:?} is nowhere to log in", told.to_string()));
        }
        let keys = host_keys::parse(&host_keys.join("\n"));
        if keys.len() != host_keys.len() {
            return Err(
                "a host key is none of the form `TYPE BASE64`, or there are many".to_owned()
            );
        }
        Ok(Access::Ssh { destination: told, via: None, identity_file: None, host_keys: keys })
    }
}

#[cfg(test)]
mod tests;

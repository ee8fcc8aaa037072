//! How the command line finds an agent to talk to.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::agent::api::AgentStatus;
use crate::agent::initialise;
use crate::agent::view;
use crate::cli::bridge::BridgeListener;
use crate::cli::contexts::Context;
use crate::cli::contexts::Contexts;
use crate::cli::endpoint::Endpoint;
use crate::cli::error::CliError;
use crate::cli::error::Kind;
use crate::cli::invocation::Invocation;
use crate::cli::moved::moved;
use crate::cli::ways;
use crate::config::home::Home;
use crate::http::client::ApiClient;
use crate::http::client::ClientError;
use crate::model::identity::NodeId;
use crate::model::member::Member;
use crate::model::name::Name;

/// Ways that are tried at the same time.
const TRIED_AT_ONCE: usize = 8;

/// Ways that are tried to find a member that stays while others are taken away.
const SPARED_TRIES_MAX: usize = 16;

/// How long one unix socket may take to answer before the next way is tried.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(3);

/// How long one way through SSH may take: a login over a slow line, and the agent's answer.
const SSH_TIMEOUT: Duration = Duration::from_secs(20);

/// An agent that answers.
#[derive(Debug)]
pub struct Connection {
    /// Talks to it.
    pub client: ApiClient,
    /// What it said first.
    pub status: AgentStatus,
    /// Where it was found.
    pub endpoint: Endpoint,
    /// Keeps the way through SSH open.
    _bridge: Option<BridgeListener>,
}

impl Connection {
    /// The member that `word` means: a name, an id, or a unique beginning of one.
    ///
    /// # Errors
    /// The agent does not answer, or no member is meant.
    pub async fn member(&self, word: &str) -> Result<Member, CliError> {
        let members = self.client.members().await?;
        let found = view::find(&members, word).cloned();
        found.map_err(|error| {
            CliError::user(error.to_string()).with_hint("`raptor members` lists what is there")
        })
    }
}

/// Why no agent was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoConnection {
    /// This home knows no cluster of that name (or none at all).
    NoCluster(Option<Name>),
    /// This machine is a member of the cluster, and its own agent does not run.
    Asleep(Name),
    /// Every known way was tried.
    AllDead(Vec<Attempt>),
}

/// One way that led nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Where.
    pub endpoint: Endpoint,
    /// Why not.
    pub why: String,
}

impl From<NoConnection> for CliError {
    fn from(none: NoConnection) -> Self {
        match none {
            NoConnection::NoCluster(None) => Self::user("there is no cluster yet")
                .with_hint("`raptor spawn` founds one; `raptor join TICKET` enters one"),
            NoConnection::NoCluster(Some(name)) => {
                Self::user(format!("no cluster named {name} is known here")).with_hint(format!(
                    "`raptor -c {name} spawn` founds it; `raptor context ls` lists the known ones"
                ))
            }
            NoConnection::Asleep(cluster) => Self::remote(format!(
                "this machine is a member of the cluster {cluster}, and its agent does not run"
            ))
            .with_hint("`raptor agent supervise` starts it; `raptor join` enters anew"),
            NoConnection::AllDead(attempts) => {
                let many = attempts.len() > 1;
                let text =
                    if many { "no member of the cluster answers" } else { "no agent answers" };
                let error = attempts.into_iter().fold(Self::remote(text), |error, attempt| {
                    error.with_detail(format!("{}: {}", attempt.endpoint, attempt.why))
                });
                error.with_hint(
                    "is the agent running there? another member is named with --connect user@host",
                )
            }
        }
    }
}

/// Finds an agent: `--connect`, else this home's own, else the cluster's known members in turn.
///
/// # Errors
/// Nobody answers ([`NoConnection`]), or `contexts.json` cannot be read.
pub async fn open(invocation: &Invocation) -> Result<Connection, CliError> {
    open_if_any(invocation).await?.ok_or_else(|| none(invocation).into())
}

/// Why there is none where this home knows no cluster: it may be the home of a member that sleeps.
#[must_use]
pub fn none(invocation: &Invocation) -> NoConnection {
    let own = initialise::load(&Home::new(&invocation.home)).ok();
    let genesis = own.and_then(|(_, machine)| machine.genesis);
    let is_meant = |name: &Name| invocation.cluster.as_ref().is_none_or(|wanted| wanted == name);
    match genesis.map(|genesis| genesis.name).filter(is_meant) {
        Some(name) => NoConnection::Asleep(name),
        None => NoConnection::NoCluster(invocation.cluster.clone()),
    }
}

/// As [`open`]; none where this home knows no cluster and none was named.
///
/// # Errors
/// As [`open`].
pub async fn open_if_any(invocation: &Invocation) -> Result<Option<Connection>, CliError> {
    let mut contexts = read_contexts(invocation)?;
    let wanted = invocation.cluster.clone().or_else(|| contexts.current.clone());
    let context = wanted.as_ref().and_then(|name| contexts.contexts.get(name)).cloned();
    let candidates = candidates(invocation, context.as_ref());
    if candidates.is_empty() {
        return match &invocation.cluster {
            Some(_) => Err(none(invocation).into()),
            None => Ok(None),
        };
    }
    // Who names an agent means that agent, whatever this home believes of the cluster.
    let (checked, context) = match &invocation.connect {
        Some(_) => (&invocation.cluster, None),
        None => (&wanted, context),
    };
    let mut attempts = Vec::new();
    for is_again in [false, true] {
        let known = if is_again {
            moved(invocation, context.as_ref(), &candidates).await
        } else {
            candidates.clone()
        };
        let is_meant = |connection: &Connection| {
            matches(&connection.status, checked.as_ref(), context.as_ref())
        };
        if let Some(connection) = first_of(invocation, known, is_meant, &mut attempts).await {
            remember(invocation, &mut contexts, &connection).await;
            return Ok(Some(connection));
        }
    }
    Err(NoConnection::AllDead(attempts).into())
}

/// The first of the `known` that answers and is meant. The one that answered last is tried alone,
/// the others some at a time: many of them may be gone.
async fn first_of(
    invocation: &Invocation,
    known: Vec<Endpoint>,
    is_meant: impl Fn(&Connection) -> Result<(), String>,
    attempts: &mut Vec<Attempt>,
) -> Option<Connection> {
    let (first, others) = known.split_at(known.len().min(1));
    for batch in std::iter::once(first).chain(others.chunks(TRIED_AT_ONCE)) {
        let tries = batch
            .iter()
            .map(|endpoint| async move { (endpoint.clone(), reach(invocation, endpoint).await) });
        let mut tries: FuturesUnordered<_> = tries.collect();
        while let Some((endpoint, reached)) = tries.next().await {
            match reached.and_then(|connection| is_meant(&connection).map(|()| connection)) {
                Ok(connection) => return Some(connection),
                Err(why) => {
                    invocation.detail(&format!("{endpoint}: {why}"));
                    attempts.push(Attempt { endpoint, why });
                }
            }
        }
    }
    None
}

/// As [`open_if_any`], for commands that found a cluster: a name that this home does not know yet
/// is none either, whatever cluster this home's own agent is of.
///
/// # Errors
/// As [`open`].
pub async fn open_if_known(invocation: &Invocation) -> Result<Option<Connection>, CliError> {
    if invocation.connect.is_none()
        && let Some(name) = &invocation.cluster
        && !read_contexts(invocation)?.contexts.contains_key(name)
    {
        let own = reach(invocation, &Endpoint::Unix(invocation.agent_socket())).await;
        return Ok(own.ok().filter(|connection| connection.status.cluster == *name));
    }
    let opened = open_if_any(invocation).await?;
    match none(invocation) {
        asleep @ NoConnection::Asleep(_) if opened.is_none() => Err(asleep.into()),
        _ => Ok(opened),
    }
}

/// An agent of the same cluster that is none of `doomed`, to be asked while those are taken away.
pub async fn open_spared(
    invocation: &Invocation,
    cluster: &Name,
    doomed: &BTreeSet<NodeId>,
) -> Option<Connection> {
    let contexts = read_contexts(invocation).ok()?;
    let context = contexts.contexts.get(cluster);
    for endpoint in candidates(invocation, context).into_iter().take(SPARED_TRIES_MAX) {
        if let Ok(connection) = reach(invocation, &endpoint).await
            && matches(&connection.status, Some(cluster), context).is_ok()
            && !doomed.contains(&connection.status.node)
        {
            return Some(connection);
        }
    }
    None
}

/// Reads the contexts, folded for the door.
///
/// # Errors
/// The file is damaged or cannot be read.
pub fn read_contexts(invocation: &Invocation) -> Result<Contexts, CliError> {
    Contexts::load(&invocation.home).map_err(|error| {
        CliError::caused(Kind::Config, &error).with_hint(
            "correct or remove the file; `raptor --connect user@host members` works without it",
        )
    })
}

/// The ways to try, in order, each once.
fn candidates(invocation: &Invocation, context: Option<&Context>) -> Vec<Endpoint> {
    if let Some(endpoint) = &invocation.connect {
        return vec![endpoint.clone()];
    }
    let own = invocation.agent_socket();
    let mut found: Vec<Endpoint> =
        own.exists().then_some(Endpoint::Unix(own)).into_iter().collect();
    let kept =
        context.into_iter().flat_map(|context| context.connections.iter().chain(&context.ways));
    for endpoint in kept {
        if !found.contains(endpoint) {
            found.push(endpoint.clone());
        }
    }
    for endpoint in neighbours(invocation, context) {
        if !found.contains(&endpoint) {
            found.push(endpoint);
        }
    }
    found
}

/// The agents of the cluster's local machines: the members make some by themselves, of which this
/// home was not told.
fn neighbours(invocation: &Invocation, context: Option<&Context>) -> Vec<Endpoint> {
    let Some(genesis) = context.and_then(|context| context.genesis.as_ref()) else {
        return Vec::new();
    };
    let machines = Home::new(&invocation.home).machines_folder();
    let folder = machines.join(genesis.cluster_id().to_string());
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sockets = entries.map(|entry| Home::new(entry.path()).socket_file());
    let mut found: Vec<_> = sockets.filter(|socket| socket.exists()).collect();
    found.sort();
    found.into_iter().map(Endpoint::Unix).collect()
}

/// Whether the agent that answers is of the cluster that is meant.
fn matches(
    status: &AgentStatus,
    wanted: Option<&Name>,
    context: Option<&Context>,
) -> Result<(), String> {
    if let Some(wanted) = wanted.filter(|wanted| **wanted != status.cluster) {
        return Err(format!("it is of the cluster {}, and {wanted} is meant", status.cluster));
    }
    let genesis = context.and_then(|context| context.genesis.as_ref());
    match genesis {
        Some(genesis)
            if genesis.name == status.cluster && genesis.cluster_id() != status.cluster_id =>
        {
            Err(format!("it is of another cluster that is also named {}", status.cluster))
        }
        _ => Ok(()),
    }
}

async fn reach(invocation: &Invocation, endpoint: &Endpoint) -> Result<Connection, String> {
    let (timeout, attempt) = match endpoint {
        Endpoint::Unix(_) => (LOCAL_TIMEOUT, dial(invocation, endpoint)),
        Endpoint::Ssh(_) | Endpoint::Spawned { .. } => (SSH_TIMEOUT, dial(invocation, endpoint)),
    };
    tokio::time::timeout(timeout, attempt)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", timeout.as_secs())))
}

async fn dial(invocation: &Invocation, endpoint: &Endpoint) -> Result<Connection, String> {
    let (socket, bridge) = match endpoint {
        Endpoint::Unix(path) => (path.clone(), None),
        Endpoint::Ssh(way) => {
            let listener = BridgeListener::open(invocation, way).await?;
            (listener.socket().to_owned(), Some(listener))
        }
        Endpoint::Spawned { intent, destination } => {
            let opened = BridgeListener::open_spawned(invocation, *intent, destination);
            let listener = opened.await?;
            (listener.socket().to_owned(), Some(listener))
        }
    };
    let client = ApiClient::new(&socket).map_err(|error| error.to_string())?;
    match client.status().await {
        Ok(status) => {
            Ok(Connection { client, status, endpoint: endpoint.clone(), _bridge: bridge })
        }
        // The endpoint says where already.
        Err(ClientError::Unreachable { why, .. }) if bridge.is_none() => Err(why),
        Err(error) => Err(bridge.and_then(|bridge| bridge.failure()).unwrap_or(error.to_string())),
    }
}

/// Moves the way that answered to the front, and learns those to the others. A list that cannot be
/// written is no reason to fail.
async fn remember(invocation: &Invocation, contexts: &mut Contexts, connection: &Connection) {
    let cluster = &connection.status.cluster;
    // A way that was named for one command is not kept: `context use --connect` keeps one.
    if invocation.connect.is_some() {
        return;
    }
    let own = connection.endpoint == Endpoint::Unix(invocation.agent_socket());
    // This home's own agent is found without being remembered, and a machine that merely belongs
    // to a cluster keeps no list.
    if own && !contexts.contexts.contains_key(cluster) {
        return;
    }
    let mut is_new =
        contexts.remember(cluster, Some(&connection.status.genesis), &connection.endpoint);
    if let Some(context) = contexts.contexts.get_mut(cluster) {
        is_new |= ways::refresh(invocation, context, connection).await;
    }
    if is_new && let Err(error) = contexts.save(&invocation.home) {
        invocation.detail(&crate::cli::error::with_causes(&error));
    }
}

#[cfg(test)]
mod tests;

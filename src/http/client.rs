//! The client of an agent's API, over its unix socket.

mod artefacts;
mod looking;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::agent::api::API_VERSION;
use crate::agent::api::AdmitRequest;
use crate::agent::api::AgentStatus;
use crate::agent::api::ApiError;
use crate::agent::api::Bootstrap;
use crate::agent::api::ExecRequest;
use crate::agent::api::LogLine;
use crate::agent::api::NewTicket;
use crate::agent::api::SshInfo;
use crate::agent::api::TerminalRequest;
use crate::agent::api::TicketRequest;
use crate::agent::api::TicketRow;
use crate::agent::api::WriteRequest;
use crate::http::exec_events::ExecEvents;
use crate::http::socket_path::SocketPath;
use crate::model::cause::innermost;
use crate::model::member::Member;
use crate::reconcile::fleet::plan::FleetPlan;

/// How long an agent may take to accept and to answer what it knows by itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an agent may take for what involves other machines or the disk.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// Connections kept for the next request. Each may be a session on an SSH connection, of which
/// `sshd` allows ten: those kept by nobody's need would starve those that wait for one.
const IDLE_CONNECTIONS_MAX: usize = 3;

/// `Upgrade` token of a terminal session.
pub const TERMINAL_PROTOCOL: &str = "raptor-terminal";

/// `Upgrade` token of a plain stream of bytes.
pub const STREAM_PROTOCOL: &str = "raptor-stream";

/// A raw stream after an upgrade.
pub type Upgraded = reqwest::Upgraded;

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket, or it cannot be opened.
    #[error("no agent answers at {}: {why}", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// The innermost cause.
        why: String,
    },
    /// The agent did not answer in time.
    #[error("the agent at {} did not answer {request} in time", socket.display())]
    TimedOut {
        /// The socket.
        socket: PathBuf,
        /// What was asked.
        request: String,
    },
    /// The agent went away in the middle of its answer.
    #[error("the agent broke off while answering {request}: {why}")]
    BrokenOff {
        /// What was asked.
        request: String,
        /// The innermost cause.
        why: String,
    },
    /// The agent says no.
    #[error("{}", error.message)]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it says.
        error: ApiError,
    },
    /// The answer is not what this build understands.
    #[error("the agent's answer to {request} cannot be understood: {why}")]
    Malformed {
        /// What was asked.
        request: String,
        /// What is wrong with it.
        why: String,
    },
}

impl ClientError {
    pub(crate) fn broken_off(request: &str, error: &reqwest::Error) -> Self {
        Self::BrokenOff { request: request.to_owned(), why: innermost(error) }
    }
}

/// TLS that trusts nobody: a socket needs none, and the system's roots need not be read for it.
fn no_tls() -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth())
}

/// Talks to one agent. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ApiClient {
    http: reqwest::Client,
    socket: PathBuf,
    /// Keeps a shortened path valid.
    _path: Arc<SocketPath>,
}

impl ApiClient {
    /// Prepares a client; nothing is contacted yet.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when the socket's folder cannot be opened.
    pub fn new(socket: &Path) -> Result<Self, ClientError> {
        let unreachable = |why: String| ClientError::Unreachable { socket: socket.to_owned(), why };
        let path = SocketPath::new(socket).map_err(|error| unreachable(error.to_string()))?;
        let tls = no_tls().map_err(|error| unreachable(error.to_string()))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .unix_socket(path.as_path())
            .connect_timeout(ANSWER_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build()
            .map_err(|error| unreachable(innermost(&error)))?;
        Ok(Self { http, socket: socket.to_owned(), _path: Arc::new(path) })
    }

    /// The agent's own view.
    ///
    /// # Errors
    /// As [`ClientError`] says; so do all requests below.
    pub async fn status(&self) -> Result<AgentStatus, ClientError> {
        self.get(&["status"]).await
    }

    /// Every member the document names.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn members(&self) -> Result<Vec<Member>, ClientError> {
        self.get(&["members"]).await
    }

    /// Takes a key into the cluster.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn admit(&self, request: &AdmitRequest) -> Result<Bootstrap, ClientError> {
        self.post(&["members"], request).await
    }

    /// Tells a machine whose document has not come yet of members to call. Errors as above.
    #[allow(clippy::missing_errors_doc)]
    pub async fn introduce(&self, bootstrap: &Bootstrap) -> Result<(), ClientError> {
        self.change(Method::POST, &["peers"], Some(bootstrap)).await
    }

    /// Takes a member's key out of the cluster.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn evict(&self, node: &str) -> Result<(), ClientError> {
        let path = ["members", node];
        let ask = || self.change(Method::DELETE, &path, None::<&()>);
        match ask().await {
            // A way through SSH may break under many at once. To ask again does no harm: who is no
            // member any more was put out by what went unanswered.
            Err(ClientError::BrokenOff { .. }) => match ask().await {
                Err(ClientError::Refused { status: 404, .. }) => Ok(()),
                asked => asked,
            },
            asked => asked,
        }
    }

    /// Asks the agent to look for members that went missing, at once.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn rejoin(&self) -> Result<(), ClientError> {
        self.change(Method::POST, &["rejoin"], None::<&()>).await
    }

    /// The whole replicated document.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn document(&self) -> Result<Value, ClientError> {
        self.get(&["document"]).await
    }

    /// Writes changes, durably when this returns.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn write(&self, request: &WriteRequest) -> Result<(), ClientError> {
        self.change(Method::POST, &["document"], Some(request)).await
    }

    /// The latest `limit` writes, newest first.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn document_log(&self, limit: u32) -> Result<Vec<LogLine>, ClientError> {
        let mut url = url(&["document", "log"]);
        url.query_pairs_mut().append_pair("limit", &limit.to_string());
        let response = self.send(Method::GET, url, None::<&()>, Some(ANSWER_TIMEOUT)).await?;
        read(response, "document log").await
    }

    /// What the members will do about the fleet.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn plan(&self) -> Result<FleetPlan, ClientError> {
        self.get(&["plan"]).await
    }

    /// The invitations that still hold.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn tickets(&self) -> Result<Vec<TicketRow>, ClientError> {
        self.get(&["tickets"]).await
    }

    /// Makes an invitation.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn create_ticket(&self, request: &TicketRequest) -> Result<NewTicket, ClientError> {
        self.post(&["tickets"], request).await
    }

    /// Makes an invitation void.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn revoke_ticket(&self, id: &str) -> Result<(), ClientError> {
        self.change(Method::DELETE, &["tickets", id], None::<&()>).await
    }

    /// How to reach a member's `sshd`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn ssh_info(&self, node: &str) -> Result<SshInfo, ClientError> {
        self.get(&["ssh", node]).await
    }

    /// Runs a program on members; the events follow as they happen.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn exec(&self, request: &ExecRequest) -> Result<ExecEvents, ClientError> {
        let response = self.send(Method::POST, url(&["exec"]), Some(request), None).await?;
        Ok(ExecEvents::new(response))
    }

    /// Opens a terminal on a member. [`crate::agent::terminal_frame`] is spoken on the stream.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn terminal(
        &self,
        node: &str,
        request: &TerminalRequest,
    ) -> Result<Upgraded, ClientError> {
        let mut url = url(&["terminal", node]);
        let argv = Value::from(request.argv.clone()).to_string();
        url.query_pairs_mut()
            .append_pair("rows", &request.rows.to_string())
            .append_pair("columns", &request.columns.to_string())
            .append_pair("term", &request.term)
            .append_pair("argv", &argv);
        self.upgrade(url, TERMINAL_PROTOCOL).await
    }

    /// Opens a stream of bytes to a TCP port of a member.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn connect(&self, node: &str, port: u16) -> Result<Upgraded, ClientError> {
        self.upgrade(url(&["connect", node, &port.to_string()]), STREAM_PROTOCOL).await
    }

    /// Asks the agent to end; `leave` tells the others first that it will not come back by itself.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn stop(&self, leave: bool) -> Result<(), ClientError> {
        let body = serde_json::json!({ "leave": leave });
        self.change(Method::POST, &["stop"], Some(&body)).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, ClientError> {
        let response = self.send(Method::GET, url(path), None::<&()>, Some(ANSWER_TIMEOUT)).await?;
        read(response, &path.join("/")).await
    }

    async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &B,
    ) -> Result<T, ClientError> {
        let response = self.send(Method::POST, url(path), Some(body), Some(CHANGE_TIMEOUT)).await?;
        read(response, &path.join("/")).await
    }

    /// A request whose answer is only that it was done.
    async fn change<B: Serialize>(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&B>,
    ) -> Result<(), ClientError> {
        self.send(method, url(path), body, Some(CHANGE_TIMEOUT)).await.map(drop)
    }

    /// Sends, and turns any refusal into its typed error.
    async fn send<B: Serialize>(
        &self,
        method: Method,
        url: Url,
        body: Option<&B>,
        timeout: Option<Duration>,
    ) -> Result<reqwest::Response, ClientError> {
        let request = url.path().to_owned();
        let mut builder = self.http.request(method, url);
        if let Some(body) = body {
            builder = builder.json(body);
        }
        if let Some(timeout) = timeout {
            builder = builder.timeout(timeout);
        }
        let response = builder.send().await.map_err(|error| self.failed(&request, &error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refusal(response, &request).await)
    }

    async fn upgrade(&self, url: Url, protocol: &str) -> Result<Upgraded, ClientError> {
        let request = url.path().to_owned();
        let sent = self
            .http
            .get(url)
            .header(reqwest::header::CONNECTION, "Upgrade")
            .header(reqwest::header::UPGRADE, protocol)
            .send();
        let response = sent.await.map_err(|error| self.failed(&request, &error))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(response, &request).await);
        }
        response.upgrade().await.map_err(|error| ClientError::broken_off(&request, &error))
    }

    fn failed(&self, request: &str, error: &reqwest::Error) -> ClientError {
        if error.is_connect() {
            let why = innermost(error);
            ClientError::Unreachable { socket: self.socket.clone(), why }
        } else if error.is_timeout() {
            ClientError::TimedOut { socket: self.socket.clone(), request: request.to_owned() }
        } else {
            ClientError::broken_off(request, error)
        }
    }
}

/// The URL of a path below the API's version. The host's name is never looked up.
fn url(path: &[&str]) -> Url {
    let mut url = base();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.push(&format!("v{API_VERSION}")).extend(path);
    }
    url
}

#[allow(clippy::expect_used)] // A constant; every test of this file reads it.
fn base() -> Url {
    Url::parse("http://agent").expect("a sound URL")
}

async fn read<T: DeserializeOwned>(
    response: reqwest::Response,
    request: &str,
) -> Result<T, ClientError> {
    let bytes = response.bytes().await.map_err(|error| ClientError::broken_off(request, &error))?;
    serde_json::from_slice(&bytes).map_err(|error| ClientError::Malformed {
        request: request.to_owned(),
        why: error.to_string(),
    })
}

/// Reads the body of a 4xx or 5xx answer; one without an [`ApiError`] is told by its status.
async fn refusal(response: reqwest::Response, request: &str) -> ClientError {
    let status = response.status();
    let error = match response.bytes().await.ok().map(|bytes| serde_json::from_slice(&bytes)) {
        Some(Ok(error)) => error,
        _ => ApiError {
            code: if status == StatusCode::NOT_FOUND { "not_found" } else { "bug" }.to_owned(),
            message: format!("the agent answers {status} to {request}"),
            hint: None,
        },
    };
    ClientError::Refused { status: status.as_u16(), error }
}

#[cfg(test)]
mod tests;

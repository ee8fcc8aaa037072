//! Answering other members.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::Connection;
use quinn::RecvStream;
use quinn::SendStream;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::copy_bidirectional;
use tokio::io::join;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;

use crate::agent::directory::Directory;
use crate::agent::error::AgentError;
use crate::agent::handle::AgentHandle;
use crate::agent::handle::Command;
use crate::agent::peer::batch::decode_blobs;
use crate::agent::peer::batch::encode_blobs;
use crate::agent::peer::request::BODY_SIZE_MAX;
use crate::agent::peer::request::HEADER_SIZE_MAX;
use crate::agent::peer::request::Request;
use crate::agent::peer::request::encode_event;
use crate::agent::process;
use crate::agent::terminal;
use crate::config::document::versions::Versions;
use crate::mesh::stream::endpoint::StreamEndpoint;
use crate::mesh::stream::frame::read_frame;
use crate::mesh::stream::frame::write_frame;
use crate::model::identity::NodeId;
use crate::model::member::Role;

/// Requests served at once, over all members.
const REQUESTS_MAX: usize = 512;

/// What the answering tasks share.
#[derive(Clone)]
pub struct PeerServer {
    handle: AgentHandle,
    directory: Arc<Directory>,
    requests: Arc<Semaphore>,
}

impl PeerServer {
    /// Answers with the help of `handle`, and only members that `directory` knows.
    #[must_use]
    pub fn new(handle: AgentHandle, directory: Arc<Directory>) -> Self {
        Self { handle, directory, requests: Arc::new(Semaphore::new(REQUESTS_MAX)) }
    }

    /// Accepts connections until the endpoint is closed.
    pub async fn serve(self, endpoint: StreamEndpoint) {
        while let Some((node, connection)) = endpoint.accept().await {
            tokio::spawn(self.clone().serve_connection(node, connection));
        }
    }

    async fn serve_connection(self, node: NodeId, connection: Connection) {
        while let Ok((send, receive)) = connection.accept_bi().await {
            // The semaphore is never closed; without a permit there is nothing to serve with.
            let Ok(permit) = Arc::clone(&self.requests).acquire_owned().await else { return };
            let server = self.clone();
            tokio::spawn(async move {
                if let Err(error) = server.serve_request(node, send, receive).await {
                    tracing::debug!(node = %node.short(), %error, "a request failed");
                }
                drop(permit);
            });
        }
    }

    async fn serve_request(
        &self,
        node: NodeId,
        mut send: SendStream,
        mut receive: RecvStream,
    ) -> Result<(), AgentError> {
        let header = read(&mut receive, HEADER_SIZE_MAX).await?;
        let request: Request = serde_json::from_slice(&header)
            .map_err(|error| AgentError::Invalid(format!("an unknown request: {error}")))?;
        let role = self.directory.role(node);
        if role.is_none() || (request.needs_full_role() && role != Some(Role::Full)) {
            return Err(AgentError::Forbidden(format!("{} may not ask that", node.short())));
        }
        match request {
            Request::Exchange => self.exchange(node, &mut send, &mut receive).await,
            Request::Sync => self.sync(node, &mut send, &mut receive).await,
            Request::Push => self.push(node, &mut send, &mut receive).await,
            Request::Exec { argv, timeout_ms } => {
                exec(&argv, Duration::from_millis(timeout_ms), &mut send, &mut receive).await
            }
            Request::Terminal(request) => {
                terminal::serve(join(receive, send), request).await;
                Ok(())
            }
            Request::Connect { port } => connect(port, join(receive, send)).await,
        }
    }

    async fn exchange(
        &self,
        node: NodeId,
        send: &mut SendStream,
        receive: &mut RecvStream,
    ) -> Result<(), AgentError> {
        while let Some(request) = read_optional(receive, BODY_SIZE_MAX).await? {
            let answer =
                self.handle.ask(|reply| Command::Exchange { source: node, request, reply }).await?;
            write(send, &answer).await?;
        }
        Ok(())
    }

    async fn sync(
        &self,
        node: NodeId,
        send: &mut SendStream,
        receive: &mut RecvStream,
    ) -> Result<(), AgentError> {
        let digest = read(receive, HEADER_SIZE_MAX).await?;
        let ours = self.handle.ask(Command::Versions).await?;
        if digest == ours.digest().as_slice() {
            return write(send, &[]).await;
        }
        write(send, &ours.encode()).await?;
        let theirs = read(receive, BODY_SIZE_MAX).await?;
        let theirs = Versions::decode(&theirs).map_err(|error| invalid(&error))?;
        let news = read(receive, BODY_SIZE_MAX).await?;
        self.apply(node, &news).await?;
        let missing = self.handle.ask(|reply| Command::Missing { theirs, reply }).await?;
        write(send, &encode_blobs(&missing)).await
    }

    async fn push(
        &self,
        node: NodeId,
        send: &mut SendStream,
        receive: &mut RecvStream,
    ) -> Result<(), AgentError> {
        let body = read(receive, BODY_SIZE_MAX).await?;
        self.apply(node, &body).await?;
        write(send, &[]).await
    }

    async fn apply(&self, source: NodeId, body: &Bytes) -> Result<(), AgentError> {
        let blobs = decode_blobs(body).map_err(|error| invalid(&error))?;
        if blobs.is_empty() {
            return Ok(());
        }
        self.handle.ask(|reply| Command::Apply { source, blobs, reply }).await.map(drop)
    }
}

fn invalid(error: &dyn std::fmt::Display) -> AgentError {
    AgentError::Invalid(error.to_string())
}

async fn exec(
    argv: &[String],
    limit: Duration,
    send: &mut SendStream,
    receive: &mut RecvStream,
) -> Result<(), AgentError> {
    let (sender, mut events) = mpsc::channel(process::EVENT_QUEUE);
    let running = process::run(argv, limit, sender);
    let forwarding = async {
        while let Some(event) = events.recv().await {
            write(send, &encode_event(&event)).await?;
        }
        Ok(())
    };
    let mut nothing = [0u8; 1];
    tokio::select! {
        ((), result) = async { tokio::join!(running, forwarding) } => result,
        // The caller sends nothing after the header: its stream ends only when it hung up.
        Err(error) = receive.read(&mut nothing) => Err(unavailable(&error)),
    }
}

async fn connect(
    port: u16,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
) -> Result<(), AgentError> {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| AgentError::Unavailable(format!("127.0.0.1:{port}: {error}")))?;
    copy_bidirectional(&mut stream, &mut socket).await.map_err(|error| unavailable(&error))?;
    Ok(())
}

fn unavailable(error: &dyn std::fmt::Display) -> AgentError {
    AgentError::Unavailable(error.to_string())
}

async fn read_optional(
    receive: &mut RecvStream,
    limit: usize,
) -> Result<Option<Bytes>, AgentError> {
    read_frame(receive, limit).await.map_err(|error| unavailable(&error))
}

async fn read(receive: &mut RecvStream, limit: usize) -> Result<Bytes, AgentError> {
    read_optional(receive, limit)
        .await?
        .ok_or_else(|| AgentError::Unavailable("the stream ended early".to_owned()))
}

async fn write(send: &mut SendStream, bytes: &[u8]) -> Result<(), AgentError> {
    write_frame(send, bytes).await.map_err(|error| unavailable(&error))
}

//! Answering other members.

use std::collections::BTreeMap;
use std::io::SeekFrom;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use quinn::Connection;
use quinn::RecvStream;
use quinn::SendStream;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncSeekExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::join;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::agent::dial::DialError;
use crate::agent::dial::carry;
use crate::agent::dial::dial;
use crate::agent::directory::Directory;
use crate::agent::error::AgentError;
use crate::agent::error::chain;
use crate::agent::handle::AgentHandle;
use crate::agent::handle::Command;
use crate::agent::peer::batch::decode_blobs;
use crate::agent::peer::batch::encode_blobs;
use crate::agent::peer::request::ARTEFACT_FRAME_SIZE;
use crate::agent::peer::request::BODY_SIZE_MAX;
use crate::agent::peer::request::Connected;
use crate::agent::peer::request::HEADER_SIZE_MAX;
use crate::agent::peer::request::Request;
use crate::agent::peer::request::encode_event;
use crate::agent::process;
use crate::agent::process::ProcessEvent;
use crate::agent::terminal;
use crate::config::artefacts::Artefacts;
use crate::config::document::versions::Versions;
use crate::mesh::stream::endpoint::StreamEndpoint;
use crate::mesh::stream::frame::read_frame;
use crate::mesh::stream::frame::write_frame;
use crate::model::identity::NodeId;
use crate::model::member::Role;

/// Requests served at once, over all members.
const REQUESTS_MAX: usize = 512;

/// Requests of one member served at once, so that none keeps the others from being served.
const REQUESTS_OF_ONE_MAX: usize = 128;

/// Connections to services that one member may hold at once: they last, and must leave room for
/// the rest of its requests.
const CONNECTS_OF_ONE_MAX: usize = 96;

/// How long a request's header may take, and how long an exchange, a sync or a push as a whole.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const SHORT_TIMEOUT: Duration = Duration::from_secs(30);

/// What the answering tasks share.
#[derive(Clone)]
pub struct PeerServer {
    /// This machine's address in the mesh.
    own: Ipv6Addr,
    handle: AgentHandle,
    directory: Arc<Directory>,
    artefacts: Artefacts,
    requests: Arc<Semaphore>,
    /// How many requests of each member are being served.
    counts: Arc<Mutex<BTreeMap<NodeId, usize>>>,
    /// How many of them are connections to services.
    connects: Arc<Mutex<BTreeMap<NodeId, usize>>>,
}

/// One request of a member's share, given back when dropped.
struct Share {
    node: NodeId,
    counts: Arc<Mutex<BTreeMap<NodeId, usize>>>,
}

impl Share {
    /// None when the member uses up its share, `limit`.
    fn take(
        counts: &Arc<Mutex<BTreeMap<NodeId, usize>>>,
        node: NodeId,
        limit: usize,
    ) -> Option<Self> {
        let mut held = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(node).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Self { node, counts: Arc::clone(counts) })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.node) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.node);
            }
        }
    }
}

impl PeerServer {
    /// Answers for the machine at `own` with the help of `handle`, and only members that
    /// `directory` knows.
    #[must_use]
    pub fn new(
        own: Ipv6Addr,
        handle: AgentHandle,
        directory: Arc<Directory>,
        artefacts: Artefacts,
    ) -> Self {
        let requests = Arc::new(Semaphore::new(REQUESTS_MAX));
        let (counts, connects) = (Arc::default(), Arc::default());
        Self { own, handle, directory, artefacts, requests, counts, connects }
    }

    /// Accepts connections until the endpoint is closed.
    pub async fn serve(self, endpoint: StreamEndpoint) {
        while let Some((node, connection)) = endpoint.accept().await {
            tokio::spawn(self.clone().serve_connection(node, connection));
        }
    }

    async fn serve_connection(self, node: NodeId, connection: Connection) {
        while let Ok((send, receive)) = connection.accept_bi().await {
            // Dropping the stream refuses it.
            let share = Share::take(&self.counts, node, REQUESTS_OF_ONE_MAX);
            let Some(share) = share else { continue };
            // The semaphore is never closed; without a permit there is nothing to serve with.
            let Ok(permit) = Arc::clone(&self.requests).acquire_owned().await else { return };
            let server = self.clone();
            tokio::spawn(async move {
                if let Err(error) = server.serve_request(node, send, receive).await {
                    tracing::debug!(node = %node.short(), %error, "a request failed");
                }
                drop((share, permit));
            });
        }
    }

    async fn serve_request(
        &self,
        node: NodeId,
        mut send: SendStream,
        mut receive: RecvStream,
    ) -> Result<(), AgentError> {
        let header = within(HEADER_TIMEOUT, read(&mut receive, HEADER_SIZE_MAX)).await?;
        let request: Request = serde_json::from_slice(&header)
            .map_err(|error| AgentError::Invalid(format!("an unknown request: {error}")))?;
        let role = self.directory.role(node);
        if role.is_none() || (request.needs_full_role() && role != Some(Role::Full)) {
            let reason = "this member's role does not allow to ".to_owned();
            match request {
                Request::Exec { .. } => {
                    let failed = ProcessEvent::Failed(reason + "run programs on others");
                    write(&mut send, &encode_event(&failed)).await?;
                }
                Request::Connect { .. } => {
                    let failed = Connected::Failed { reason: reason + "use services of others" };
                    write(&mut send, &failed.encode()).await?;
                }
                _ => {}
            }
            return Err(AgentError::Forbidden(format!("{} may not ask that", node.short())));
        }
        match request {
            Request::Exchange => {
                within(SHORT_TIMEOUT, self.exchange(node, &mut send, &mut receive)).await
            }
            Request::Sync => within(SHORT_TIMEOUT, self.sync(node, &mut send, &mut receive)).await,
            Request::Mesh => {
                let view = self.handle.ask(Command::Mesh).await?;
                let view = serde_json::to_vec(&view).map_err(|error| invalid(&error))?;
                write(&mut send, &view).await
            }
            Request::Push => within(SHORT_TIMEOUT, self.push(node, &mut send, &mut receive)).await,
            Request::Exec { argv, timeout_ms } => {
                exec(argv, Duration::from_millis(timeout_ms), &mut send, &mut receive).await
            }
            Request::Terminal(request) => {
                terminal::serve(join(receive, send), request).await;
                Ok(())
            }
            Request::Artefact { sha256, offset } => self.artefact(&sha256, offset, &mut send).await,
            Request::Connect { port } => {
                let stream = join(receive, send);
                match Share::take(&self.connects, node, CONNECTS_OF_ONE_MAX) {
                    Some(_share) => connect(self.own, port, stream).await,
                    None => refuse_connect(stream).await,
                }
            }
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

    async fn artefact(
        &self,
        sha256: &str,
        offset: u64,
        send: &mut SendStream,
    ) -> Result<(), AgentError> {
        let Some(path) = self.artefacts.find(sha256) else { return write(send, &[]).await };
        let mut file = tokio::fs::File::open(path).await.map_err(|error| unavailable(&error))?;
        file.seek(SeekFrom::Start(offset)).await.map_err(|error| unavailable(&error))?;
        write(send, b"here").await?;
        let mut piece = vec![0; ARTEFACT_FRAME_SIZE];
        loop {
            let length = file.read(&mut piece).await.map_err(|error| unavailable(&error))?;
            if length == 0 {
                return Ok(());
            }
            write(send, &piece[..length]).await?;
        }
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

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, AgentError>>,
) -> Result<T, AgentError> {
    let late = |_| Err(AgentError::Unavailable("it took too long".to_owned()));
    timeout(limit, work).await.unwrap_or_else(late)
}

async fn exec(
    argv: Vec<String>,
    limit: Duration,
    send: &mut SendStream,
    receive: &mut RecvStream,
) -> Result<(), AgentError> {
    let (sender, mut events) = mpsc::channel(process::EVENT_QUEUE);
    // A task of its own: it ends the program in good order when nobody listens.
    tokio::spawn(async move { process::run(&argv, limit, sender).await });
    let forwarding = async {
        while let Some(event) = events.recv().await {
            write(send, &encode_event(&event)).await?;
        }
        Ok(())
    };
    let mut nothing = [0u8; 1];
    tokio::select! {
        result = forwarding => result,
        // The caller sends nothing after the header, and ends its stream only when it hangs up.
        _ = receive.read(&mut nothing) => {
            Err(AgentError::Unavailable("the caller hung up".to_owned()))
        }
    }
}

async fn refuse_connect(mut stream: impl AsyncWrite + Unpin) -> Result<(), AgentError> {
    let reason = format!("it serves {CONNECTS_OF_ONE_MAX} connections of this machine already");
    let answer = Connected::Failed { reason };
    write_frame(&mut stream, &answer.encode()).await.map_err(|error| unavailable(&error))?;
    stream.shutdown().await.map_err(|error| unavailable(&error))
}

async fn connect(
    own: Ipv6Addr,
    port: u16,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
) -> Result<(), AgentError> {
    let (answer, socket) = match dial(own, port).await {
        Ok(socket) => (Connected::Open, Some(socket)),
        Err(DialError::Refused { .. }) => (Connected::Refused, None),
        Err(error) => (Connected::Failed { reason: chain(&error) }, None),
    };
    write_frame(&mut stream, &answer.encode()).await.map_err(|error| unavailable(&error))?;
    match socket {
        Some(socket) => carry(stream, socket).await.map_err(|error| unavailable(&error)),
        None => stream.shutdown().await.map_err(|error| unavailable(&error)),
    }
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

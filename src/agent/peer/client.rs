//! Asking other members.

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use quinn::Connection;
use quinn::RecvStream;
use quinn::SendStream;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::Join;
use tokio::io::ReadBuf;
use tokio::io::join;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::agent::api::TerminalRequest;
use crate::agent::error::AgentError;
use crate::agent::handle::AgentHandle;
use crate::agent::handle::Command;
use crate::agent::mesh_view::MeshView;
use crate::agent::peer::batch::decode_blobs;
use crate::agent::peer::batch::encode_blobs;
use crate::agent::peer::request::ARTEFACT_FRAME_SIZE;
use crate::agent::peer::request::BODY_SIZE_MAX;
use crate::agent::peer::request::Connected;
use crate::agent::peer::request::PROCESS_FRAME_SIZE_MAX;
use crate::agent::peer::request::Request;
use crate::agent::peer::request::decode_event;
use crate::agent::process::ProcessEvent;
use crate::config::artefacts::Artefacts;
use crate::config::document::blob::Blob;
use crate::config::document::versions::Versions;
use crate::config::schema::artefact::Artefact;
use crate::mesh::stream::endpoint::StreamEndpoint;
use crate::mesh::stream::frame::read_frame;
use crate::mesh::stream::frame::write_frame;
use crate::mesh::stream::keep_alive::KeepAlive;
use crate::model::identity::NodeId;

/// How long an exchange, a sync or a push may take as a whole.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Rounds of one sync: what is left then is found by the next.
const SYNC_ROUNDS_MAX: usize = 256;

/// Asks other members over streams.
#[derive(Clone)]
pub struct PeerClient {
    endpoint: StreamEndpoint,
    handle: AgentHandle,
}

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A stream whose connection is kept open as long as the stream is.
struct LongStream {
    stream: Join<RecvStream, SendStream>,
    _alive: KeepAlive,
}

impl AsyncRead for LongStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for LongStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl PeerClient {
    /// Asks through `endpoint`, and takes to `handle` what the others answer.
    #[must_use]
    pub fn new(endpoint: StreamEndpoint, handle: AgentHandle) -> Self {
        Self { endpoint, handle }
    }

    async fn open(
        &self,
        node: NodeId,
        request: &Request,
    ) -> Result<(SendStream, RecvStream), AgentError> {
        let (send, receive, _) = self.open_on(node, request).await?;
        Ok((send, receive))
    }

    /// A stream on which both sides may be silent for long.
    async fn open_long(
        &self,
        node: NodeId,
        request: &Request,
    ) -> Result<(SendStream, RecvStream, KeepAlive), AgentError> {
        let (send, receive, connection) = self.open_on(node, request).await?;
        Ok((send, receive, KeepAlive::new(&connection)))
    }

    async fn open_duplex(
        &self,
        node: NodeId,
        request: &Request,
    ) -> Result<Box<dyn Duplex>, AgentError> {
        let (send, receive, alive) = self.open_long(node, request).await?;
        Ok(Box::new(LongStream { stream: join(receive, send), _alive: alive }))
    }

    async fn open_on(
        &self,
        node: NodeId,
        request: &Request,
    ) -> Result<(SendStream, RecvStream, Connection), AgentError> {
        let header = serde_json::to_vec(request)
            .map_err(|error| AgentError::Bug(format!("a request cannot be written: {error}")))?;
        let connection = self.endpoint.connect(node).await.map_err(|error| unavailable(&error))?;
        // A connection to a member that has restarted fails at its first use: once more, then.
        let (mut send, receive, connection) = if let Ok((send, receive)) =
            connection.open_bi().await
        {
            (send, receive, connection)
        } else {
            let again = self.endpoint.connect(node).await.map_err(|error| unavailable(&error))?;
            let (send, receive) = again.open_bi().await.map_err(|error| unavailable(&error))?;
            (send, receive, again)
        };
        write(&mut send, &header).await?;
        Ok((send, receive, connection))
    }

    /// One gossip push-pull with `node`.
    ///
    /// # Errors
    /// When `node` cannot be reached or answers nonsense.
    pub async fn exchange(&self, node: NodeId, request: Vec<u8>) -> Result<(), AgentError> {
        within(EXCHANGE_TIMEOUT, async {
            let (mut send, mut receive) = self.open(node, &Request::Exchange).await?;
            let mut next = Some(request);
            while let Some(request) = next {
                write(&mut send, &request).await?;
                let answer = read(&mut receive).await?;
                next = self
                    .handle
                    .ask(|reply| Command::ExchangeAnswer { source: node, answer, reply })
                    .await?;
            }
            Ok(())
        })
        .await
    }

    /// Brings the document of both sides to the same state, in as many rounds as that takes.
    ///
    /// # Errors
    /// When `node` cannot be reached, answers nonsense, or the disk refuses what it sent.
    pub async fn sync(&self, node: NodeId) -> Result<(), AgentError> {
        let mut last = None;
        for _ in 0..SYNC_ROUNDS_MAX {
            let found = within(EXCHANGE_TIMEOUT, self.sync_once(node)).await?;
            // A round that brought nothing further (one side refuses what it gets) ends it, too.
            if found.is_none() || found == last {
                break;
            }
            last = found;
        }
        Ok(())
    }

    /// One round; what both sides held before it, when that differed.
    async fn sync_once(&self, node: NodeId) -> Result<Option<(Versions, Versions)>, AgentError> {
        let ours = self.handle.ask(Command::Versions).await?;
        let (mut send, mut receive) = self.open(node, &Request::Sync).await?;
        write(&mut send, &ours.digest()).await?;
        let theirs = read(&mut receive).await?;
        if theirs.is_empty() {
            return Ok(None);
        }
        let theirs = Versions::decode(&theirs).map_err(|error| unavailable(&error))?;
        let found = Some((ours.clone(), theirs.clone()));
        let missing = self.handle.ask(|reply| Command::Missing { theirs, reply }).await?;
        write(&mut send, &ours.encode()).await?;
        write(&mut send, &encode_blobs(&missing)).await?;
        let news = read(&mut receive).await?;
        let blobs = decode_blobs(&news).map_err(|error| unavailable(&error))?;
        if !blobs.is_empty() {
            self.handle.ask(|reply| Command::Apply { source: node, blobs, reply }).await?;
        }
        Ok(found)
    }

    /// Hands new updates to `node`; returns once they are on its disk.
    ///
    /// # Errors
    /// When `node` cannot be reached or refuses them.
    pub async fn push(&self, node: NodeId, blobs: &[Blob]) -> Result<(), AgentError> {
        within(EXCHANGE_TIMEOUT, async {
            let (mut send, mut receive) = self.open(node, &Request::Push).await?;
            write(&mut send, &encode_blobs(blobs)).await?;
            read(&mut receive).await.map(drop)
        })
        .await
    }

    /// Runs a program on `node`; what happens goes to `events`.
    pub async fn exec(
        &self,
        node: NodeId,
        argv: Vec<String>,
        timeout_ms: u64,
        events: mpsc::Sender<ProcessEvent>,
    ) {
        let run = async {
            let (_send, mut receive, _alive) =
                self.open_long(node, &Request::Exec { argv, timeout_ms }).await?;
            while let Some(payload) = read_frame(&mut receive, PROCESS_FRAME_SIZE_MAX)
                .await
                .map_err(|error| unavailable(&error))?
            {
                let Some(event) = decode_event(&payload) else { continue };
                let last = matches!(event, ProcessEvent::Exited(_) | ProcessEvent::Failed(_));
                if events.send(event).await.is_err() || last {
                    return Ok(());
                }
            }
            Err(AgentError::Unavailable("the connection to it was lost".to_owned()))
        };
        if let Err(error) = run.await {
            let _ = events.send(ProcessEvent::Failed(error.to_string())).await;
        }
    }

    /// Fetches an artefact from `node` into `store`, from where an earlier attempt ended; whether it
    /// is there.
    ///
    /// # Errors
    /// When `node` cannot be reached, breaks off, or gives other bytes.
    pub async fn artefact(
        &self,
        node: NodeId,
        store: &Artefacts,
        wanted: &Artefact,
    ) -> Result<bool, AgentError> {
        let mut incoming = store.resume(&wanted.sha256).map_err(|error| unavailable(&error))?;
        let request =
            Request::Artefact { sha256: wanted.sha256.clone(), offset: incoming.length() };
        let (_send, mut receive) = within(EXCHANGE_TIMEOUT, self.open(node, &request)).await?;
        if within(EXCHANGE_TIMEOUT, read(&mut receive)).await?.is_empty() {
            return Ok(false);
        }
        while let Some(piece) = within(EXCHANGE_TIMEOUT, read_piece(&mut receive)).await? {
            if incoming.length() + piece.len() as u64 > wanted.bytes {
                incoming.discard();
                return Err(AgentError::Invalid("it is longer than it should be".to_owned()));
            }
            incoming.write(&piece).map_err(|error| unavailable(&error))?;
        }
        if incoming.length() < wanted.bytes {
            return Err(AgentError::Unavailable("it broke off".to_owned()));
        }
        let finished = tokio::task::spawn_blocking(|| incoming.finish()).await;
        let finished = finished.map_err(|error| unavailable(&error))?;
        finished.map_err(|error| unavailable(&error))?;
        Ok(true)
    }

    /// The mesh as `node` sees it.
    ///
    /// # Errors
    /// When `node` cannot be reached or answers nonsense.
    pub async fn mesh(&self, node: NodeId) -> Result<MeshView, AgentError> {
        within(EXCHANGE_TIMEOUT, async {
            let (_send, mut receive) = self.open(node, &Request::Mesh).await?;
            let answer = read(&mut receive).await?;
            serde_json::from_slice(&answer).map_err(|error| unavailable(&error))
        })
        .await
    }

    /// Opens a terminal on `node`.
    ///
    /// # Errors
    /// When `node` cannot be reached.
    pub async fn terminal(
        &self,
        node: NodeId,
        request: TerminalRequest,
    ) -> Result<Box<dyn Duplex>, AgentError> {
        self.open_duplex(node, &Request::Terminal(request)).await
    }

    /// Opens a TCP connection to a port of `node` itself. Anything but [`Connected::Open`] comes
    /// without a stream.
    ///
    /// # Errors
    /// When `node` cannot be reached.
    pub async fn connect(
        &self,
        node: NodeId,
        port: u16,
    ) -> Result<(Connected, Box<dyn Duplex>), AgentError> {
        within(EXCHANGE_TIMEOUT, async {
            let mut stream = self.open_duplex(node, &Request::Connect { port }).await?;
            let answer = read(&mut stream).await?;
            let answer = serde_json::from_slice(&answer).map_err(|error| unavailable(&error))?;
            Ok((answer, stream))
        })
        .await
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, AgentError>>,
) -> Result<T, AgentError> {
    timeout(limit, work).await.unwrap_or_else(|_| {
        let limit = humantime::format_duration(limit);
        Err(AgentError::Unavailable(format!("no answer within {limit}")))
    })
}

fn unavailable(error: &dyn std::fmt::Display) -> AgentError {
    AgentError::Unavailable(error.to_string())
}

async fn read(receive: &mut (impl AsyncRead + Unpin)) -> Result<Bytes, AgentError> {
    read_frame(receive, BODY_SIZE_MAX)
        .await
        .map_err(|error| unavailable(&error))?
        .ok_or_else(|| AgentError::Unavailable("the stream ended early".to_owned()))
}

async fn read_piece(receive: &mut RecvStream) -> Result<Option<Bytes>, AgentError> {
    read_frame(receive, ARTEFACT_FRAME_SIZE).await.map_err(|error| unavailable(&error))
}

async fn write(send: &mut SendStream, bytes: &[u8]) -> Result<(), AgentError> {
    write_frame(send, bytes).await.map_err(|error| unavailable(&error))
}

//! Dialling and accepting machines.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint, Incoming, ServerConfig, TokioRuntime, TransportConfig, VarInt};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use crate::mesh::stream::error::StreamError;
use crate::mesh::stream::lane::Lane;
use crate::mesh::stream::overlay_socket::{OverlaySocket, overlay_address};
use crate::mesh::stream::roster::{Closing, Dial, Roster, close};
use crate::mesh::stream::tls::{Identity, peer_of};
use crate::mesh::stream::transport::{Side, endpoint_config, transport};
use crate::mesh::stream::trust::Trust;
use crate::model::identity::{NodeId, SecretKey};

/// Handshakes under way at once, those done but not accepted included. Further ones are not
/// answered; their diallers repeat themselves.
const HANDSHAKES_MAX: usize = 64;

/// Bytes held for connections whose handshake has not begun.
const PENDING_BYTES_MAX: u64 = 1 << 20;

/// How long closing waits for the last packets to leave.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// TLS wants a name for the server; ours are known by their keys, and the name is not sent.
const SERVER_NAME: &str = "raptor";

/// How patient an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSettings {
    /// How long a handshake may take, on either side.
    pub handshake_limit: Duration,
    /// How long a connection lasts with nothing on it.
    pub idle_limit: Duration,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self { handshake_limit: Duration::from_secs(5), idle_limit: Duration::from_secs(30) }
    }
}

/// A machine's streams. Clones share one endpoint; it ends when the last of them is dropped.
///
/// A connection to a machine is kept and shared while it lives, and ends by itself when idle. When
/// the peer has restarted, the kept connection fails on its first use
/// ([`quinn::ConnectionError::Reset`]), and the next [`connect`](Self::connect) dials anew.
///
/// Only the side that dialled opens streams, only in both directions; the side that accepted
/// answers them. A wait longer than the idle limit needs a
/// [`KeepAlive`](crate::mesh::stream::keep_alive::KeepAlive).
#[derive(Debug, Clone)]
pub struct StreamEndpoint {
    inner: Arc<Inner>,
}

struct Inner {
    local: NodeId,
    endpoint: Endpoint,
    identity: Identity,
    trust: Arc<dyn Trust>,
    handshake_limit: Duration,
    dialler_transport: Arc<TransportConfig>,
    roster: Arc<Roster>,
    accepted: Mutex<mpsc::Receiver<(NodeId, Connection)>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("StreamEndpoint").field("local", &self.local).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.endpoint.close(VarInt::from_u32(Closing::Shutdown as u32), b"shutdown");
    }
}

impl StreamEndpoint {
    /// Begins to listen on `lane` with the patience of [`StreamSettings::default`]. Needs a tokio
    /// runtime, and somebody who drives the lane.
    ///
    /// # Errors
    /// [`StreamError::Key`], [`StreamError::Start`].
    pub fn new(key: &SecretKey, trust: Arc<dyn Trust>, lane: Lane) -> Result<Self, StreamError> {
        Self::with_settings(key, trust, lane, StreamSettings::default())
    }

    /// Begins to listen on `lane`.
    ///
    /// # Errors
    /// [`StreamError::Key`], [`StreamError::Start`].
    pub fn with_settings(
        key: &SecretKey,
        trust: Arc<dyn Trust>,
        lane: Lane,
        settings: StreamSettings,
    ) -> Result<Self, StreamError> {
        let identity = Identity::new(key).map_err(StreamError::Key)?;
        let server = server_config(&identity, Arc::clone(&trust), settings.idle_limit)?;
        let endpoint = Endpoint::new_with_abstract_socket(
            endpoint_config(key),
            Some(server),
            Arc::new(OverlaySocket::new(lane)),
            Arc::new(TokioRuntime),
        )
        .map_err(start_error)?;
        let roster = Arc::new(Roster::default());
        let (sender, accepted) = mpsc::channel(HANDSHAKES_MAX);
        let acceptor = Acceptor {
            trust: Arc::clone(&trust),
            roster: Arc::clone(&roster),
            handshake_limit: settings.handshake_limit,
            sender,
        };
        tokio::spawn(acceptor.run(endpoint.clone()));
        let inner = Inner {
            local: key.node_id(),
            endpoint,
            identity,
            trust,
            handshake_limit: settings.handshake_limit,
            dialler_transport: transport_of(Side::Dialler, settings.idle_limit)?,
            roster,
            accepted: Mutex::new(accepted),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A connection to `node`: the one there is, or a new one whose far end proves `node`'s key.
    /// All who ask at once share one dial.
    ///
    /// # Errors
    /// [`StreamError`] names the machine and why it is not reached.
    pub async fn connect(&self, node: NodeId) -> Result<Connection, StreamError> {
        if node == self.inner.local {
            return Err(StreamError::Itself(node));
        }
        if !self.inner.trust.is_trusted(node) {
            return Err(StreamError::Untrusted(node));
        }
        self.inner.roster.dial(node, || self.begin_dial(node)).await
    }

    /// The next connection that a member opened; none once the endpoint is closed.
    pub async fn accept(&self) -> Option<(NodeId, Connection)> {
        self.inner.accepted.lock().await.recv().await
    }

    /// Closes every connection with `node`, which may connect again.
    pub fn close_peer(&self, node: NodeId) {
        self.inner.roster.close_peer(node);
    }

    /// Closes every connection with machines that are no members: to be called after an eviction.
    pub fn drop_untrusted(&self) {
        self.inner.roster.drop_untrusted(&*self.inner.trust);
    }

    /// Closes everything and tells the peers so, as long as the lane is driven meanwhile.
    pub async fn close(&self) {
        self.inner.endpoint.close(VarInt::from_u32(Closing::Shutdown as u32), b"shutdown");
        // A peer that is gone does not answer; there is nothing more to do for it.
        let _ = timeout(CLOSE_LIMIT, self.inner.endpoint.wait_idle()).await;
    }

    /// Starts a dial that goes on when those who wait for it give up.
    fn begin_dial(&self, node: NodeId) -> Dial {
        let (inner, limit) = (&self.inner, self.inner.handshake_limit);
        let connecting =
            client_config(&inner.identity, node, &inner.dialler_transport).and_then(|config| {
                inner
                    .endpoint
                    .connect_with(config, overlay_address(node.address()), SERVER_NAME)
                    .map_err(|source| StreamError::from_dial(node, source))
            });
        let dial = async move {
            match timeout(limit, connecting?).await {
                Ok(Ok(connection)) => Ok(connection),
                Ok(Err(source)) => Err(StreamError::from_handshake(node, limit, source)),
                Err(_) => Err(StreamError::Timeout { node, limit }),
            }
        };
        let dial = dial.boxed().shared();
        tokio::spawn(watch_dial(
            node,
            dial.clone(),
            Arc::clone(&inner.roster),
            Arc::clone(&inner.trust),
        ));
        dial
    }
}

/// Sees a dial through, and what came of it to its end.
async fn watch_dial(node: NodeId, dial: Dial, roster: Arc<Roster>, trust: Arc<dyn Trust>) {
    if let Ok(connection) = dial.await {
        // Whoever lost trust while the handshake ran was not connected yet to be dropped.
        if !trust.is_trusted(node) {
            close(&connection, Closing::Untrusted);
        }
        connection.closed().await;
    }
    roster.prune(node);
}

/// Takes connections in.
#[derive(Clone)]
struct Acceptor {
    trust: Arc<dyn Trust>,
    roster: Arc<Roster>,
    handshake_limit: Duration,
    sender: mpsc::Sender<(NodeId, Connection)>,
}

impl Acceptor {
    async fn run(self, endpoint: Endpoint) {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        while let Some(incoming) = endpoint.accept().await {
            let Some(node) = self.expected(incoming.remote_address()) else {
                incoming.refuse();
                continue;
            };
            match Arc::clone(&handshakes).try_acquire_owned() {
                Ok(permit) => drop(tokio::spawn(self.clone().take_in(node, incoming, permit))),
                Err(_) => incoming.ignore(),
            }
        }
    }

    /// The member whose address it is. An address follows from a key, so that only this member's
    /// key can belong to it, and nobody else costs us a handshake.
    fn expected(&self, source: SocketAddr) -> Option<NodeId> {
        let SocketAddr::V6(source) = source else {
            return None;
        };
        self.trust.node_at(*source.ip()).filter(|node| self.trust.is_trusted(*node))
    }

    /// Ends the handshake and keeps book on the connection until it closes.
    async fn take_in(self, node: NodeId, incoming: Incoming, permit: OwnedSemaphorePermit) {
        let Ok(connecting) = incoming.accept() else {
            return;
        };
        let Ok(Ok(connection)) = timeout(self.handshake_limit, connecting).await else {
            return;
        };
        let is_member = peer_of(&connection) == Some(node)
            && self.roster.admit(node, &connection, &*self.trust);
        if !is_member {
            close(&connection, Closing::Untrusted);
            return;
        }
        let Self { roster, sender, .. } = self;
        if sender.send((node, connection.clone())).await.is_err() {
            close(&connection, Closing::Shutdown);
        }
        drop((permit, sender));
        connection.closed().await;
        roster.prune(node);
    }
}

fn server_config(
    identity: &Identity,
    trust: Arc<dyn Trust>,
    idle_limit: Duration,
) -> Result<ServerConfig, StreamError> {
    let tls = identity.server_config(trust).map_err(StreamError::Key)?;
    let crypto = QuicServerConfig::try_from(tls).map_err(start_error)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(transport_of(Side::Listener, idle_limit)?)
        // A machine's address is its key's: a connection that changes it has no honest reason to.
        .migration(false)
        .max_incoming(HANDSHAKES_MAX)
        .incoming_buffer_size(PENDING_BYTES_MAX)
        .incoming_buffer_size_total(PENDING_BYTES_MAX);
    Ok(config)
}

fn client_config(
    identity: &Identity,
    node: NodeId,
    transport: &Arc<TransportConfig>,
) -> Result<quinn::ClientConfig, StreamError> {
    let tls = identity.client_config(node).map_err(StreamError::Key)?;
    let crypto = QuicClientConfig::try_from(tls).map_err(start_error)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::clone(transport));
    Ok(config)
}

fn transport_of(side: Side, idle_limit: Duration) -> Result<Arc<TransportConfig>, StreamError> {
    transport(side, idle_limit).map_err(start_error)
}

fn start_error(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StreamError {
    StreamError::Start(Arc::new(std::io::Error::other(source)))
}

#[cfg(test)]
impl StreamEndpoint {
    /// Machines with a connection or a dial under way.
    pub(super) fn peers(&self) -> usize {
        self.inner.roster.peers()
    }
}

//! Why a machine is not reached by a stream.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectError, ConnectionError, TransportErrorCode};

use crate::model::identity::NodeId;

/// TLS alert `access_denied` (RFC 8446, section 6.2): what each side sends when it refuses a key.
const ALERT_ACCESS_DENIED: u8 = 49;

/// Why there is no connection. Cloned to everybody who waited for the same dial.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StreamError {
    /// TLS does not take this machine's own key.
    #[error("this machine's key does not serve for TLS")]
    Key(#[source] rustls::Error),
    /// The endpoint could not begin.
    #[error("streams cannot be started")]
    Start(#[source] Arc<io::Error>),
    /// The endpoint is closed.
    #[error("streams are closed")]
    Closed,
    /// A machine needs no stream to itself.
    #[error("machine {0} is this machine: no stream leads to itself")]
    Itself(NodeId),
    /// The document does not name the machine.
    #[error("machine {0} is no member")]
    Untrusted(NodeId),
    /// Nobody answered in time.
    #[error("machine {node} did not answer within {} ms", limit.as_millis())]
    Timeout {
        /// The machine.
        node: NodeId,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The machine does not count this one as a member.
    #[error("machine {0} refused this machine: it does not count it as a member")]
    Refused(NodeId),
    /// Another key answered than the one that belongs to the machine.
    #[error("what answered for machine {0} does not hold its key")]
    WrongKey(NodeId),
    /// The dial could not begin.
    #[error("machine {node} cannot be dialled")]
    Dial {
        /// The machine.
        node: NodeId,
        /// Why.
        #[source]
        source: ConnectError,
    },
    /// The handshake failed otherwise.
    #[error("the connection to machine {node} failed")]
    Connection {
        /// The machine.
        node: NodeId,
        /// How.
        #[source]
        source: ConnectionError,
    },
}

impl StreamError {
    pub(super) fn from_dial(node: NodeId, source: ConnectError) -> Self {
        match source {
            ConnectError::EndpointStopping => Self::Closed,
            source => Self::Dial { node, source },
        }
    }

    /// Sorts the end of a handshake with `node`, which was given `limit`.
    pub(super) fn from_handshake(node: NodeId, limit: Duration, source: ConnectionError) -> Self {
        let access_denied = TransportErrorCode::crypto(ALERT_ACCESS_DENIED);
        match source {
            ConnectionError::TimedOut => Self::Timeout { node, limit },
            ConnectionError::LocallyClosed => Self::Closed,
            ConnectionError::TransportError(ref error) if error.code == access_denied => {
                Self::WrongKey(node)
            }
            ConnectionError::ConnectionClosed(ref close)
                if close.error_code == access_denied
                    || close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
            {
                Self::Refused(node)
            }
            source => Self::Connection { node, source },
        }
    }
}

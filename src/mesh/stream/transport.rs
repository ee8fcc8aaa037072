//! How QUIC is set up for the overlay.

use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig, IdleTimeout, TransportConfig};
use quinn::{VarInt, VarIntBoundsExceeded};
use ring::hmac;

use crate::mesh::stream::keep_alive::PULSE_BUFFER_BYTES;
use crate::model::identity::SecretKey;

/// Size of every full packet: what the mesh is bound to carry in one frame.
pub(super) const PACKET_BYTES: u16 = 1_300;

/// Streams a peer may have open towards us at once.
const STREAMS_MAX: u32 = 256;

/// Unread bytes of one stream: 100 ms at 80 Mbit/s.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// Unread bytes of one connection: those of all its streams, so that readers who are slow hold
/// back nobody but their own writers.
const CONNECTION_WINDOW_BYTES: u32 = STREAMS_MAX * STREAM_WINDOW_BYTES;

/// Unacknowledged bytes of one connection: 100 ms at 640 Mbit/s.
const SEND_WINDOW_BYTES: u64 = 8 << 20;

/// Assumed until measured; QUIC's 333 ms makes the first lost packet cost a second.
const RTT_ASSUMED: Duration = Duration::from_millis(100);

/// A packet for a connection nobody knows is answered at most this often. It comes through the
/// mesh, from a member, so there is no stranger to be amplified for.
const RESET_INTERVAL: Duration = Duration::from_millis(1);

/// Which side of a connection a configuration is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Dials, and opens the streams.
    Dialler,
    /// Accepts, and answers the streams.
    Listener,
}

/// The transport of one side. A connection with nothing to say costs nothing and ends after `idle`.
///
/// # Errors
/// `idle` is beyond 2^62 ms.
pub(super) fn transport(
    side: Side,
    idle: Duration,
) -> Result<Arc<TransportConfig>, VarIntBoundsExceeded> {
    let mut transport = TransportConfig::default();
    let streams = if side == Side::Listener { STREAMS_MAX } else { 0 };
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(Some(IdleTimeout::try_from(idle)?))
        .keep_alive_interval(None)
        .initial_rtt(RTT_ASSUMED)
        .initial_mtu(PACKET_BYTES)
        .min_mtu(PACKET_BYTES)
        .mtu_discovery_config(None)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .datagram_receive_buffer_size(Some(PULSE_BUFFER_BYTES))
        .allow_spin(false);
    Ok(Arc::new(transport))
}

/// The endpoint of the machine with `key`.
///
/// The key that signs stateless resets (RFC 9000, section 10.3) follows from the machine's key, so
/// that an agent that was restarted can tell its peers at once that their connections are gone.
pub(super) fn endpoint_config(key: &SecretKey) -> EndpointConfig {
    let seed = key.to_seed();
    let derived = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, seed.as_slice()),
        b"raptor/1 stateless reset",
    );
    let reset_key = hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref());
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    config.min_reset_interval(RESET_INTERVAL).cid_generator(|| Box::new(RandomIds));
    config
}

/// Random connection ids. QUIC's own default marks its ids with a key drawn at each start and
/// ignores all others, and would so ignore packets for connections from before a restart.
#[derive(Debug)]
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&rand::random::<[u8; CONNECTION_ID_BYTES]>())
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// As QUIC's own default.
const CONNECTION_ID_BYTES: usize = 8;

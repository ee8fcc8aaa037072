//! Streams between machines: QUIC over the overlay, both ends proven by their node keys.
//!
//! A [`endpoint::StreamEndpoint`] dials and accepts connections. Its packets pass through a
//! [`lane`] to the mesh, which carries them from member to member; no packet of it touches a
//! socket of its own. TLS 1.3 with raw public keys (RFC 7250) checks on each handshake that the
//! peer holds the key it should and that the key is [`trust`]ed.
//!
//! Streams are opened by the side that dialled; [`frame`] puts messages on them.

pub mod endpoint;
pub mod error;
pub mod frame;
pub mod keep_alive;
pub mod lane;
pub mod trust;

mod overlay_socket;
mod queue;
mod roster;
mod tls;
mod transport;

#[cfg(test)]
mod tests;

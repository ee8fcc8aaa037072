//! What members ask of each other over streams.
//!
//! Each request is one bidirectional stream: a JSON header frame, then what the kind of request
//! says. The peer's key was checked by the stream's handshake before any of it is read.

pub mod batch;
pub mod client;
pub mod request;
pub mod server;

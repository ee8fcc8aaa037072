//! The data plane: what carries payloads from end to end, shared between the mesh, which makes
//! and changes keys and routes, and whoever moves packets.
//!
//! Every payload is sealed once, from end to end ([`session`]). Every hop adds and checks a mac of
//! its own over the headers and the seal's tag ([`hop`]), so that nobody outside the cluster can
//! hand a member as much as a header, and nobody on the way enciphers anything a second time.
//!
//! Pure: time is an argument, and nothing here waits except for its own short locks.

pub mod event;
pub mod header;
pub mod hop;
pub mod keys;
pub mod receive;
pub mod sender;
pub mod session;
pub mod suite;
pub mod table;

#[cfg(test)]
mod tests;

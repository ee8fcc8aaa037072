//! Floor 1: how machines reach each other. Links, routes and streams; the core is sans-I/O,
//! sockets are thin shells.
//!
//! [`core::Mesh`] is one machine's part of the mesh: datagrams, payloads and the time go in,
//! [`output::Output`]s come out. `docs/mesh.md` describes what goes over the wire.

pub mod core;
pub mod echo;
pub mod interfaces;
pub mod output;
pub mod plane;
pub mod report;
pub mod settings;
pub mod socket;
pub mod stream;
pub mod tun;

pub mod link_state;
pub mod metric;
pub mod nat;
pub mod ring;
pub mod route;

mod bucket;
mod carry;
mod challenge;
mod cookie;
mod cost_news;
mod demand;
mod dial;
mod ends;
mod ends_receive;
mod flood;
mod gaps;
mod graph;
mod handshake;
mod knock;
mod link;
mod publish;
mod punch;
mod quality;
mod reach;
mod receive;
mod rendezvous;
mod replay;
mod schedule;
mod session;
mod session_message;
mod transfer;
mod upkeep;
mod wire;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

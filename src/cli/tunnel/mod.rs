//! Doors on this computer that lead to members: local TCP ports, each connection of which becomes
//! a stream through the agents.

pub mod door;
pub mod socks;
pub mod spec;

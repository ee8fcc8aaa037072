//! Floor 1: who is there. Sans-I/O membership and facts.
//!
//! [`core::Gossip`] is the whole of it: packets, exchanges and moments go in, packets and changes
//! come out. SWIM itself is foca's (`swim.rs`); around it stand the roster of the document
//! (`roster.rs`), what spreads besides (`rumour.rs`, `facts.rs`) and the push-pull that repairs
//! whatever packets lost (`exchange.rs`, `converse.rs`).

mod codec;
mod converse;
pub mod core;
mod deliver;
mod directory;
pub mod error;
mod exchange;
mod facts;
mod fingerprint;
mod life;
mod packet;
mod roster;
mod rumour;
pub mod settings;
mod swim;
mod timers;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

//! raptor: machines you can reach over SSH, as one self-healing data centre.
//!
//! The rooms, from the top floor down. A room imports only lower floors, and rooms on one floor
//! never import each other (`ARCHITECTURE.md`; `tests/it/arrows.rs` enforces it).

pub mod cli;

pub mod http;

pub mod agent;

pub mod backup;
pub mod provision;

pub mod compute;
pub mod config;
pub mod gossip;
pub mod mesh;
pub mod reconcile;
pub mod seal;
pub mod ssh;

pub mod model;

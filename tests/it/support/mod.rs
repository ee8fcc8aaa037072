//! The harness of the end-to-end tests: it drives the built binary as a user does, on homes,
//! hosts and networks that the test itself made and takes away again.
#![allow(dead_code, reason = "a harness is whole before every part of it has a user")]

pub mod arena;
pub mod container;
pub mod docker;
pub mod hypervisors;
pub mod internet;
pub mod keys;
pub mod namespace;
pub mod overlay;
pub mod process;
pub mod run;
pub mod sandbox;
pub mod service;
pub mod sshd;
pub mod wait;

//! Floor 1: how machines reach each other. Links, routes and streams; the core is sans-I/O, sockets are thin shells.

pub mod interfaces;
pub mod socket;
pub mod stream;

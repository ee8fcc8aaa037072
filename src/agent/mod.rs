//! Floor 3: one event loop that owns sockets, timers and state, and performs actions.

pub mod admission;
pub mod api;
pub mod artefacts;
mod authorized;
pub mod backup;
pub mod clock;
pub mod cluster_key;
pub mod core;
pub mod dial;
pub mod directory;
pub mod enter;
pub mod error;
pub mod event_loop;
pub mod handle;
pub mod hooks;
pub mod initialise;
pub mod interface;
pub mod known_peers;
pub mod lock;
pub mod machine;
pub mod machine_file;
pub mod mesh_view;
pub mod metrics;
pub mod names;
mod outside;
pub mod peer;
pub mod perform;
pub mod pin;
pub mod port_mapping;
pub mod process;
pub mod reconcile;
pub mod recovery;
pub mod resealing;
pub mod restore;
pub mod services;
pub mod start;
pub mod storage;
pub mod supervise;
pub mod terminal;
pub mod terminal_frame;
pub mod ticket;
pub mod vault;
pub mod view;

/// Version of this build.
pub const BUILD: &str = env!("CARGO_PKG_VERSION");

/// Version of the wire between members.
pub const PROTOCOL: u32 = 1;

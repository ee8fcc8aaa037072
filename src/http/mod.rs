//! Floor 4: the API over an `AgentHandle`, and its client.

mod artefacts;
pub mod client;
pub mod exec_events;
pub mod server;
pub mod socket_path;

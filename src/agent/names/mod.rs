//! The members' names as DNS answers them: `NODE.raptor` and `NODE.CLUSTER.raptor`.

pub mod answer;
pub mod resolver;
pub mod server;
pub mod service;
pub mod zone;

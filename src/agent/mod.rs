//! Floor 3: one event loop that owns sockets, timers and state, and performs actions.

pub mod api;

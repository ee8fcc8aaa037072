//! The user's own terminal: raw mode, hidden input, and a session on a far machine.

pub mod password;
pub mod raw;
pub mod session;

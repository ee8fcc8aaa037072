//! Floor 2: server type -> steps (pure); steps -> Host.
//!
//! `probe` and `check` say whether a machine can be taken over, `steps`, `service`, `install` and
//! `undo` are pure and give shell text, `script` makes one session of it, `slave` is the sequence.

pub mod check;
pub mod compose;
mod early;
pub mod elf;
pub mod error;
pub mod input;
pub mod install;
pub mod layout;
pub mod many;
pub mod order;
pub mod probe;
pub mod script;
pub mod service;
pub mod settle;
pub mod slave;
pub mod steps;
pub mod undo;
pub mod uninstall;

#[cfg(test)]
mod tests;

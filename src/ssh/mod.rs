//! Floor 1: hands on a host. `trait Host`: run, script, upload, bridge; through OpenSSH, on this
//! machine, or recorded for tests.
//!
//! `host` says what can be asked, `carry` does it over any [`transport::Transport`], `shell` holds
//! the shell text that makes it safe on the other side; `openssh` and `local` are the transports.

pub mod classify;
pub mod control;
pub mod error;
pub mod host;
pub mod known_hosts;
pub mod limits;
pub mod local;
pub mod openssh;
pub mod quote;
pub mod recorder;
pub mod secret_file;
pub mod sudo;
pub mod target;
pub mod upload;

mod carry;
mod lookup;
mod master;
mod parent_death;
mod pipe;
mod shell;
mod transport;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

//! This room against a real `sshd`, a real shell and a false `sudo`.

mod commands;
mod connecting;
mod sudo;
mod uploads;

//! Floor 2: backups of a cluster's description, and the places where they are kept.

pub mod archive;
pub mod couch;
pub mod credentials;
pub mod error;
mod file;
pub mod keep;
pub mod s3;
mod sftp;
pub mod store;
mod web;
mod webdav;

#[cfg(test)]
mod tests;

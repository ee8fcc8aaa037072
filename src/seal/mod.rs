//! Sealing: who can read what. Files are age's (version 1, X25519), so that `age` itself opens
//! them; `docs/decisions/0012-sealing-with-age-files.md` says why they are made here.
//!
//! Pure: whoever seals brings the randomness.

pub mod age;
mod bech32;
mod draw;
pub mod error;
pub mod key;
pub mod proof;
pub mod secret;
mod stream;

#[cfg(test)]
mod tests;

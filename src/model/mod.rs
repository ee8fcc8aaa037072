//! Floor 0: the plain words every room speaks. No I/O, no clock, no randomness of its own.

pub mod action;
pub mod cause;
pub mod cluster;
pub mod destination;
pub mod facts;
pub mod hook;
pub mod identity;
pub mod label;
pub mod machine;
pub mod member;
pub mod name;
pub mod nat;
pub mod possession;
pub mod progress;
pub mod reach;
pub mod rule;
pub mod secret;
pub mod ssh_key;
pub mod time;
pub mod upkeep;

//! Performing plans: the hands that follow what the planner decided. They choose nothing.

pub mod build;
mod claim;
mod crowd;
pub mod door;
mod entrance;
pub mod founding;
mod host_key;
pub mod job;
pub mod keys;
pub mod local;
mod login;
mod lost;
pub mod make;
mod modules;
mod package;
mod passing;
mod programs;
pub mod proof;
mod remote;
pub mod retire;
pub mod seen;
pub mod settings;
mod shared_door;

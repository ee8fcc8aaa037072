//! Performing plans: the hands that follow what the planner decided. They choose nothing.

pub mod build;
mod claim;
mod crowd;
pub mod door;
mod entrance;
pub mod founding;
pub mod job;
pub mod keys;
pub mod local;
mod login;
pub mod make;
mod modules;
mod package;
mod programs;
pub mod proof;
mod remote;
pub mod retire;
pub mod seen;
pub mod settings;

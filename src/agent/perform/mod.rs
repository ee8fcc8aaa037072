//! Performing plans: the hands that follow what the planner decided. They choose nothing.

pub mod door;
pub mod founding;
pub mod job;
pub mod local;
//REM pub mod remote;
pub mod retire;
pub mod settings;
pub mod spawn;
//REM pub mod takeover;

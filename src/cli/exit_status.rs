//! How the program ends, as a number that scripts may rely on.

use std::process::ExitCode;

/// An exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus(u8);

impl ExitStatus {
    /// All is done.
    pub const DONE: Self = Self(0);
    /// It failed.
    pub const FAILED: Self = Self(1);
    /// The command line is wrong.
    pub const USAGE: Self = Self(2);
    /// Some of several targets failed; the others were done.
    pub const PARTIAL: Self = Self(3);
    /// A new start would not help (`EX_CONFIG` of sysexits.h): for the agent's supervisor.
    pub const NO_RESTART: Self = Self(78);
    /// Ctrl-C.
    pub const INTERRUPTED: Self = Self(130);

    /// The status of a remote program, passed on: what does not fit a byte is a failure.
    #[must_use]
    pub fn of_program(status: i32) -> Self {
        u8::try_from(status).map_or(Self::FAILED, Self)
    }

    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        self.0
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::supervise::EXIT_NO_RESTART;
    use crate::provision::layout::Layout;
    use crate::provision::service::Init;
    use crate::provision::service::service;

    #[test]
    fn every_supervisor_knows_when_a_new_start_would_not_help() {
        assert_eq!(i32::from(ExitStatus::NO_RESTART.code()), EXIT_NO_RESTART);
        let unit = &service(Init::Systemd, &Layout::default()).files[0].text;
        let line = format!("RestartPreventExitStatus={EXIT_NO_RESTART}\n");
        assert!(unit.contains(&line), "{unit}");
    }
}

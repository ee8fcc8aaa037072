//! Raw mode, taken back on every way out.

use std::io;

use rustix::termios::LocalModes;
use rustix::termios::OptionalActions;
use rustix::termios::Termios;

/// The terminal behind standard input, changed as long as this value lives.
#[derive(Debug)]
pub struct ChangedTerminal {
    before: Termios,
}

impl ChangedTerminal {
    /// Every key goes through as it is: for a session on a far machine.
    ///
    /// # Errors
    /// Standard input is no terminal.
    pub fn raw() -> io::Result<Self> {
        Self::change(Termios::make_raw)
    }

    /// What is typed is not shown, and comes key by key: for passwords.
    ///
    /// # Errors
    /// Standard input is no terminal.
    pub fn hidden() -> io::Result<Self> {
        let modes = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        Self::change(|termios| termios.local_modes.remove(modes))
    }

    fn change(edit: impl FnOnce(&mut Termios)) -> io::Result<Self> {
        let before = rustix::termios::tcgetattr(io::stdin())?;
        let mut after = before.clone();
        edit(&mut after);
        rustix::termios::tcsetattr(io::stdin(), OptionalActions::Drain, &after)?;
        Ok(Self { before })
    }
}

impl Drop for ChangedTerminal {
    fn drop(&mut self) {
        // A terminal that is gone needs no mending.
        let _ = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}

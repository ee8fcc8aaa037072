//! The password for `sudo`: never on a command line, in the environment or in a log.

use std::fmt;

use zeroize::Zeroizing;

/// A `sudo` password. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct SudoPassword(Zeroizing<String>);

impl SudoPassword {
    /// Wraps a password as it was typed, without its line end.
    ///
    /// # Errors
    /// Gives the reason when the password holds a line end or a NUL, which `sudo` cannot read.
    pub fn new(password: Zeroizing<String>) -> Result<Self, &'static str> {
        if password.contains(['\n', '\r', '\0']) {
            return Err("a sudo password holds neither line ends nor NUL");
        }
        Ok(Self(password))
    }

    /// The password and a line end, as `sudo -S` reads it.
    pub(crate) fn line(&self) -> Zeroizing<Vec<u8>> {
        // One allocation of the right size, so that growing leaves no copy behind.
        let mut line = Zeroizing::new(Vec::with_capacity(self.0.len() + 1));
        line.extend_from_slice(self.0.as_bytes());
        line.push(b'\n');
        line
    }
}

impl fmt::Debug for SudoPassword {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SudoPassword(..)")
    }
}

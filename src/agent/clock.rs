//! The one place below the command line where clocks and randomness are read.

use std::time::Instant;
use std::time::SystemTime;

use data_encoding::BASE32_NOPAD;

use crate::model::time::Moment;
use crate::model::time::Timestamp;

/// Monotonic time since the agent started, and the wall clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts at zero.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Monotonic time since the start.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment::at(self.start.elapsed())
    }

    /// When `moment` comes, for a timer.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> Instant {
        self.start + moment.elapsed()
    }
}

/// The wall clock.
#[must_use]
pub fn wall_clock() -> Timestamp {
    SystemTime::now().into()
}

/// The operating system gave no randomness: nothing secret can be made, so nothing is started.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no randomness: {0}")]
pub struct RandomError(getrandom::Error);

/// Random bytes from the operating system.
///
/// # Errors
/// [`RandomError`] when it has none to give.
pub fn random<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).map_err(RandomError)?;
    Ok(bytes)
}

/// An id for a value of a secret: sixteen small letters and digits that nobody drew before.
///
/// # Errors
/// [`RandomError`].
pub fn value_id() -> Result<String, RandomError> {
    Ok(BASE32_NOPAD.encode(&random::<10>()?).to_ascii_lowercase())
}

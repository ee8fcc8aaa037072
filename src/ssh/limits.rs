//! How much is done at once: over all hosts, and on one.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Handshakes at once. Each costs about 65 ms of a processor here (OpenSSH 9.2's default key
/// exchange), and more at once only lengthens all of them.
pub const HANDSHAKES_MAX: usize = 32;

/// Sessions at once on one connection: under sshd's default `MaxSessions` of 10, which refuses
/// the eleventh instead of letting it wait.
pub const SESSIONS_MAX: usize = 8;

static HANDSHAKES: Semaphore = Semaphore::const_new(HANDSHAKES_MAX);

/// Waits for the right to begin a handshake; dropping the permit gives it back.
pub(crate) async fn handshake() -> Option<SemaphorePermit<'static>> {
    // The semaphore is never closed, so there is always a permit in the end.
    HANDSHAKES.acquire().await.ok()
}

/// One connection's sessions.
#[derive(Debug, Clone)]
pub(crate) struct Sessions(Arc<Semaphore>);

impl Sessions {
    /// All of them free.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(SESSIONS_MAX)))
    }

    /// Waits for a free session; dropping the permit frees it.
    pub(crate) async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).acquire_owned().await.ok()
    }
}

//! Keeping a silent connection open while somebody waits on it.

use std::time::Duration;

use bytes::Bytes;
use quinn::Connection;
use tokio::task::AbortHandle;

/// Room for a few unread pulses; QUIC counts its own bookkeeping for each as well.
pub(super) const PULSE_BUFFER_BYTES: usize = 512;

/// Well within the idle timeout of 30 s, so that two lost pulses do no harm.
const PULSE_INTERVAL: Duration = Duration::from_secs(8);

/// While this lives, its connection does not time out for want of traffic.
///
/// Connections carry nothing when nobody speaks and end after the idle timeout; an answer that may
/// be longer in coming (a command that runs for minutes) is waited for under this guard.
#[derive(Debug)]
pub struct KeepAlive(AbortHandle);

impl KeepAlive {
    /// Begins to send a small packet every few seconds.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        let connection = connection.clone();
        let pulse = async move {
            while connection.close_reason().is_none() {
                tokio::time::sleep(PULSE_INTERVAL).await;
                // A datagram is acknowledged without being read, and the peer discards old ones.
                if connection.send_datagram(Bytes::from_static(&[0])).is_err() {
                    return;
                }
            }
        };
        Self(tokio::spawn(pulse).abort_handle())
    }
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        self.0.abort();
    }
}

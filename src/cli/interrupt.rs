//! Ctrl-C, as a word that long work can hear.

use tokio::sync::watch;

/// Is raised once and stays raised. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Interrupt(watch::Receiver<bool>);

/// Raises an [`Interrupt`].
#[derive(Debug)]
pub struct InterruptSender(watch::Sender<bool>);

/// A pair that is not raised.
#[must_use]
pub fn interrupt() -> (InterruptSender, Interrupt) {
    let (sender, receiver) = watch::channel(false);
    (InterruptSender(sender), Interrupt(receiver))
}

impl InterruptSender {
    /// Tells everyone who listens.
    pub fn raise(&self) {
        self.0.send_replace(true);
    }
}

impl Interrupt {
    /// The word itself, for rooms below: it turns true.
    #[must_use]
    pub fn into_watch(self) -> watch::Receiver<bool> {
        self.0
    }

    /// Whether Ctrl-C was pressed.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until Ctrl-C is pressed.
    pub async fn raised(&mut self) {
        // The sender lives as long as the command; without one nothing can be raised any more.
        if self.0.wait_for(|raised| *raised).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everyone_hears_it() {
        let (sender, first) = interrupt();
        let mut second = first.clone();
        assert!(!first.is_raised());
        sender.raise();
        second.raised().await;
        assert!(first.is_raised());
    }
}

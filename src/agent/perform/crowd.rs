//! The machines of one build that are on their way: one that waits to be seen by the members may
//! reach none but those that come after it.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::sync::OwnedSemaphorePermit;

/// How many machines are still being worked on.
#[derive(Debug, Clone, Default)]
pub(super) struct Crowd(Arc<AtomicUsize>);

impl Crowd {
    /// Counts one machine until the answer is dropped.
    pub(super) fn enter(&self) -> Turn {
        self.0.fetch_add(1, Ordering::Relaxed);
        Turn { crowd: self.clone(), permit: None }
    }

    /// Whether any machine is being worked on, or waits for its turn to be.
    pub(super) fn is_working(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// The work on one machine. Dropped when nothing is left but to wait for the members.
#[derive(Debug)]
pub(super) struct Turn {
    crowd: Crowd,
    /// Its share of the machines that are worked on at the same time.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.crowd.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_turn_ends_the_work() {
        let crowd = Crowd::default();
        let (one, two) = (crowd.enter(), crowd.enter());
        drop(one);
        assert!(crowd.is_working());
        drop(two);
        assert!(!crowd.is_working());
    }
}

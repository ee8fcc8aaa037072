//! So many at once, and so many a second from then on.

use std::time::Duration;

use crate::model::time::Moment;

/// A bound on how often something may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At once, after a pause.
    pub burst: u32,
    /// From then on.
    pub per_second: u32,
}

/// What is left of a [`Rate`].
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: Rate,
    tokens: u32,
    /// Up to when gained tokens are counted.
    counted_at: Moment,
}

impl Bucket {
    /// A full one.
    #[must_use]
    pub fn new(rate: Rate, now: Moment) -> Self {
        Self { rate, tokens: rate.burst, counted_at: now }
    }

    /// Takes a token. Returns whether there was one.
    pub fn take(&mut self, now: Moment) -> bool {
        self.fill(now);
        let Some(rest) = self.tokens.checked_sub(1) else { return false };
        self.tokens = rest;
        true
    }

    /// Whether none was taken for so long that it is as good as new.
    pub fn is_full(&mut self, now: Moment) -> bool {
        self.fill(now);
        self.tokens == self.rate.burst
    }

    fn fill(&mut self, now: Moment) {
        let interval = Duration::from_secs(1) / self.rate.per_second.max(1);
        let elapsed = now.since(self.counted_at).as_nanos();
        let gained = u32::try_from(elapsed / interval.as_nanos().max(1)).unwrap_or(u32::MAX);
        self.tokens = self.tokens.saturating_add(gained).min(self.rate.burst);
        self.counted_at =
            if self.tokens == self.rate.burst { now } else { self.counted_at + interval * gained };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_steady_rate() {
        let at = |millis| Moment::at(Duration::from_millis(millis));
        let mut bucket = Bucket::new(Rate { burst: 3, per_second: 10 }, at(0));
        assert!(bucket.is_full(at(0)));
        let taken = (0..=1_000).filter(|millis| bucket.take(at(*millis))).count();
        assert_eq!(taken, 13);
        assert!(!bucket.is_full(at(1_001)));
        assert!(bucket.is_full(at(2_000)));
        assert_eq!((0..10).filter(|_| bucket.take(at(100_000))).count(), 3);
    }
}

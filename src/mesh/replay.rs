//! A sliding window over packet counters: each is accepted once, late ones within bounds.

/// Counters behind the highest that are still told apart (RFC 6479 uses the same block ring).
pub const WINDOW_LENGTH: u64 = BLOCK_BITS * (BLOCK_COUNT - 1);

const BLOCK_BITS: u64 = 64;
const BLOCK_COUNT: u64 = SLOTS as u64;
const SLOTS: usize = 128;

/// Remembers which counters were seen.
#[derive(Debug, Clone)]
pub struct ReplayWindow {
    /// One above the highest accepted counter.
    next: u64,
    blocks: [u64; SLOTS],
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self { next: 0, blocks: [0; SLOTS] }
    }
}

impl ReplayWindow {
    /// Whether `counter` is neither seen nor too old. Changes nothing: ask before the packet is
    /// authenticated, [`ReplayWindow::accept`] after.
    #[must_use]
    pub fn is_fresh(&self, counter: u64) -> bool {
        if counter >= self.next {
            return counter != u64::MAX;
        }
        let (block, bit) = Self::place(counter);
        self.next - counter <= WINDOW_LENGTH && self.blocks[block] & bit == 0
    }

    /// Marks an authenticated `counter` as seen. Returns whether it was fresh.
    pub fn accept(&mut self, counter: u64) -> bool {
        if !self.is_fresh(counter) {
            return false;
        }
        if counter >= self.next {
            let newest = counter / BLOCK_BITS;
            let oldest_known = self.next.checked_sub(1).map_or(0, |last| last / BLOCK_BITS + 1);
            // Blocks between the old and the new end of the window are entered empty; after
            // BLOCK_COUNT of them all are.
            for block in oldest_known.max(newest.saturating_sub(BLOCK_COUNT - 1))..=newest {
                self.blocks[Self::slot(block)] = 0;
            }
            self.next = counter + 1;
        }
        let (block, bit) = Self::place(counter);
        self.blocks[block] |= bit;
        true
    }

    /// Whether `counter` lies above all accepted ones.
    #[must_use]
    pub fn is_newest(&self, counter: u64) -> bool {
        counter >= self.next
    }

    /// How far `counter` lies above all accepted ones: 1 for the next in order, 0 for a late one.
    #[must_use]
    pub fn advance(&self, counter: u64) -> u64 {
        counter.saturating_add(1).saturating_sub(self.next)
    }

    fn place(counter: u64) -> (usize, u64) {
        (Self::slot(counter / BLOCK_BITS), 1 << (counter % BLOCK_BITS))
    }

    #[allow(clippy::cast_possible_truncation)] // below BLOCK_COUNT
    fn slot(block: u64) -> usize {
        (block % BLOCK_COUNT) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_set_of_all_counters(
            steps in prop::collection::vec((any::<bool>(), 0u64..12_000), 1..400)
        ) {
            let mut window = ReplayWindow::default();
            let mut seen = BTreeSet::new();
            let mut highest = 0u64;
            for (forward, distance) in steps {
                let counter =
                    if forward { highest + distance / 8 } else { highest.saturating_sub(distance) };
                let expected = !seen.contains(&counter)
                    && (seen.is_empty() || counter > highest || highest - counter < WINDOW_LENGTH);
                prop_assert_eq!(window.accept(counter), expected, "counter {}", counter);
                if expected {
                    seen.insert(counter);
                    highest = highest.max(counter);
                }
            }
        }
    }

    #[test]
    fn a_long_jump_empties_the_window_and_the_last_counter_is_refused() {
        let mut window = ReplayWindow::default();
        assert!(window.accept(5));
        assert!(window.accept(1 << 40));
        assert!(!window.accept(5));
        assert!(window.accept((1 << 40) - 1));
        assert!(!window.accept((1 << 40) - 1));
        assert!(!window.accept(u64::MAX));
    }
}

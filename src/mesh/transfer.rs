//! A few kilobytes in each direction over a lossy session: parts in order, confirmed by how much
//! has come, sent again from there (go-back-n).

use std::time::Duration;

use crate::mesh::wire::Frame;
use crate::mesh::wire::KNOCK_CHUNK_LENGTH;
use crate::model::time::Moment;

/// Longest request or answer of a knock, in bytes.
pub const TRANSFER_LENGTH_MAX: usize = 64 * 1024;
/// Parts sent before a confirmation is awaited.
const WINDOW: usize = 16;
/// Unconfirmed parts are sent again after this long.
const RETRY: Duration = Duration::from_millis(300);

/// Bytes on their way out.
#[derive(Debug)]
pub struct Outgoing {
    bytes: Vec<u8>,
    held: Option<usize>,
    due: Moment,
}

impl Outgoing {
    /// Begins to send `bytes`; what is over [`TRANSFER_LENGTH_MAX`] never arrives.
    #[must_use]
    pub fn new(bytes: Vec<u8>, now: Moment) -> Self {
        Self { bytes, held: None, due: now }
    }

    /// Whether all has been confirmed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.held == Some(self.bytes.len())
    }

    /// When [`Outgoing::frames`] has something to send.
    #[must_use]
    pub fn due(&self) -> Option<Moment> {
        (!self.is_done()).then_some(self.due)
    }

    /// The parts that are due.
    pub fn frames(&mut self, now: Moment) -> Vec<Frame<'_>> {
        if self.is_done() || now < self.due {
            return Vec::new();
        }
        self.due = now + RETRY;
        let start = self.held.unwrap_or(0);
        let total = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        let mut frames = Vec::new();
        let mut offset = start;
        for chunk in self.bytes[start..].chunks(KNOCK_CHUNK_LENGTH).take(WINDOW) {
            let place = u32::try_from(offset).unwrap_or(u32::MAX);
            frames.push(Frame::KnockChunk { total, offset: place, bytes: chunk });
            offset += chunk.len();
        }
        if self.bytes.is_empty() {
            frames.push(Frame::KnockChunk { total: 0, offset: 0, bytes: &[] });
        }
        frames
    }

    /// Takes a confirmation.
    pub fn confirm(&mut self, now: Moment, held: u32) {
        let held = usize::try_from(held).unwrap_or(usize::MAX);
        if held > self.bytes.len() || self.held.is_some_and(|before| held <= before) {
            return;
        }
        let window_end = self.held.unwrap_or(0) + WINDOW * KNOCK_CHUNK_LENGTH;
        self.held = Some(held);
        // A whole window has come: the next follows at once. Else the rest is on its way.
        if held >= window_end {
            self.due = now;
        }
    }
}

/// Bytes on their way in.
#[derive(Debug, Default)]
pub struct Incoming {
    total: Option<usize>,
    bytes: Vec<u8>,
    taken: bool,
}

impl Incoming {
    /// Takes a part. Returns how much is held, to be confirmed; none for one that makes no sense.
    pub fn take(&mut self, total: u32, offset: u32, chunk: &[u8]) -> Option<u32> {
        let total = usize::try_from(total).ok().filter(|total| *total <= TRANSFER_LENGTH_MAX)?;
        if *self.total.get_or_insert(total) != total {
            return None;
        }
        let in_order = usize::try_from(offset).ok()? == self.bytes.len();
        if in_order && self.bytes.len() + chunk.len() <= total {
            self.bytes.extend_from_slice(chunk);
        }
        u32::try_from(self.bytes.len()).ok()
    }

    /// All the bytes, once, when they are complete.
    pub fn complete(&mut self) -> Option<Vec<u8>> {
        if self.taken || self.total != Some(self.bytes.len()) {
            return None;
        }
        self.taken = true;
        Some(self.bytes.clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    proptest! {
        #[test]
        fn arrives_whole_over_loss(
            bytes in prop::collection::vec(any::<u8>(), 0..20_000),
            loss_percent in 0u32..70,
            seed in any::<[u8; 32]>(),
        ) {
            let mut random = StdRng::from_seed(seed);
            let mut outgoing = Outgoing::new(bytes.clone(), Moment::START);
            let mut incoming = Incoming::default();
            let mut complete = None;
            for _ in 0..100_000 {
                let Some(now) = outgoing.due() else { break };
                let mut confirmations = Vec::new();
                for frame in outgoing.frames(now) {
                    let Frame::KnockChunk { total, offset, bytes } = frame else { panic!() };
                    if random.next_u32() % 100 >= loss_percent {
                        confirmations.extend(incoming.take(total, offset, bytes));
                        complete = complete.or_else(|| incoming.complete());
                    }
                }
                for held in confirmations {
                    outgoing.confirm(now, held);
                }
            }
            prop_assert!(outgoing.is_done());
            prop_assert_eq!(complete, Some(bytes));
            prop_assert_eq!(incoming.complete(), None);
        }
    }

    #[test]
    fn senseless_parts_are_refused() {
        let mut incoming = Incoming::default();
        assert_eq!(incoming.take(u32::MAX, 0, b"x"), None);
        assert_eq!(incoming.take(2, 0, b"xyz"), Some(0));
        assert_eq!(incoming.take(3, 0, b"xyz"), None);
        assert_eq!(incoming.take(2, 0, b"x"), Some(1));
        assert_eq!(incoming.complete(), None);
        assert_eq!(incoming.take(2, 1, b"y"), Some(2));
        assert_eq!(incoming.complete(), Some(b"xy".to_vec()));
        let mut outgoing = Outgoing::new(vec![1; 5], Moment::START);
        outgoing.confirm(Moment::START, 6);
        assert!(!outgoing.is_done());
    }
}

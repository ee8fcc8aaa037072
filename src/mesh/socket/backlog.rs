//! Datagrams that wait for the operating system, gathered into batches it takes in one call.

use std::collections::VecDeque;
use std::net::SocketAddr;

/// Largest batch: what fits one UDP datagram of IPv4 (65,507 bytes), the kernel's bound for one
/// segmented send, with room to spare.
const BATCH_BYTES_MAX: usize = 65_000;

/// Datagrams for one destination, all of one size but for a shorter last one: what generic
/// segmentation offload (GSO) can carry in one call.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) destination: SocketAddr,
    pub(super) segment_bytes: usize,
    contents: Vec<u8>,
    sent_bytes: usize,
}

impl Batch {
    fn new(destination: SocketAddr, datagram: &[u8]) -> Self {
        Self {
            destination,
            segment_bytes: datagram.len().max(1),
            contents: datagram.to_vec(),
            sent_bytes: 0,
        }
    }

    /// Appends `datagram` when the batch can still carry it, at most `segments_max` in all.
    fn take_in(&mut self, destination: SocketAddr, datagram: &[u8], segments_max: usize) -> bool {
        let is_open = self.sent_bytes == 0
            && !self.contents.is_empty()
            && self.contents.len().is_multiple_of(self.segment_bytes)
            && self.contents.len() / self.segment_bytes < segments_max;
        let fits = self.destination == destination
            && (1..=self.segment_bytes).contains(&datagram.len())
            && self.contents.len() + datagram.len() <= BATCH_BYTES_MAX;
        if is_open && fits {
            self.contents.extend_from_slice(datagram);
        }
        is_open && fits
    }

    /// The next datagrams to send, `segments_max` at most.
    pub(super) fn next(&self, segments_max: usize) -> &[u8] {
        let rest = self.contents.get(self.sent_bytes..).unwrap_or_default();
        let length = rest.len().min(self.segment_bytes.saturating_mul(segments_max.max(1)));
        rest.get(..length).unwrap_or_default()
    }
}

/// A bounded queue of batches.
#[derive(Debug)]
pub(super) struct Backlog {
    batches: VecDeque<Batch>,
    bytes: usize,
    bytes_max: usize,
}

impl Backlog {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { batches: VecDeque::new(), bytes: 0, bytes_max }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Appends a datagram; `false` when there is no room for it.
    pub(super) fn push(
        &mut self,
        destination: SocketAddr,
        datagram: &[u8],
        segments_max: usize,
    ) -> bool {
        if self.bytes + datagram.len() > self.bytes_max {
            return false;
        }
        self.bytes += datagram.len();
        let taken_in = self
            .batches
            .back_mut()
            .is_some_and(|batch| batch.take_in(destination, datagram, segments_max));
        if !taken_in {
            self.batches.push_back(Batch::new(destination, datagram));
        }
        true
    }

    /// The oldest batch.
    pub(super) fn front(&self) -> Option<&Batch> {
        self.batches.front()
    }

    /// The first `bytes` of the oldest batch are dealt with. Returns how many datagrams that were.
    pub(super) fn advance(&mut self, bytes: usize) -> u64 {
        let Some(batch) = self.batches.front_mut() else {
            return 0;
        };
        self.bytes = self.bytes.saturating_sub(bytes);
        batch.sent_bytes += bytes;
        let datagrams = bytes.div_ceil(batch.segment_bytes).max(1);
        if batch.sent_bytes >= batch.contents.len() {
            self.batches.pop_front();
        }
        u64::try_from(datagrams).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn datagrams_of_one_size_to_one_destination_share_a_batch() {
        let mut backlog = Backlog::new(1 << 20);
        for length in [100, 100, 40, 100] {
            assert!(backlog.push(address(1), &vec![0; length], 64));
        }
        assert!(backlog.push(address(2), &[0; 100], 64));
        let mut lengths = Vec::new();
        while let Some(batch) = backlog.front() {
            let bytes = batch.next(64).len();
            lengths.push((batch.destination.port(), bytes));
            backlog.advance(bytes);
        }
        assert_eq!(lengths, [(1, 240), (1, 100), (2, 100)]);
    }

    #[test]
    fn what_exceeds_the_bound_is_refused_until_there_is_room() {
        let mut backlog = Backlog::new(250);
        assert!(backlog.push(address(1), &[0; 100], 1));
        assert!(backlog.push(address(1), &[0; 100], 1));
        assert!(!backlog.push(address(1), &[0; 100], 1));
        assert_eq!(backlog.advance(100), 1);
        assert!(backlog.push(address(1), &[0; 100], 1));
    }

    proptest! {
        #[test]
        fn every_datagram_comes_out_once_and_in_order(
            datagrams in proptest::collection::vec((0u16..3, 0usize..4), 0..200),
            queued_segments in 1usize..80,
            sent_segments in 1usize..80,
        ) {
            let mut backlog = Backlog::new(usize::MAX);
            let mut expected = Vec::new();
            for (index, (port, size)) in datagrams.into_iter().enumerate() {
                let datagram = vec![u8::try_from(index).unwrap(); [0, 1, 700, 1_400][size]];
                prop_assert!(backlog.push(address(port), &datagram, queued_segments));
                expected.push((port, datagram));
            }
            let mut actual = Vec::new();
            while let Some(batch) = backlog.front() {
                let (port, segment_bytes) = (batch.destination.port(), batch.segment_bytes);
                let part = batch.next(sent_segments).to_vec();
                if part.is_empty() {
                    actual.push((port, Vec::new()));
                }
                actual.extend(part.chunks(segment_bytes).map(|one| (port, one.to_vec())));
                let datagrams = backlog.advance(part.len());
                prop_assert!(datagrams <= u64::try_from(sent_segments).unwrap());
            }
            prop_assert_eq!(actual, expected);
            prop_assert_eq!(backlog.bytes, 0);
        }
    }
}

//! Frames of a terminal session, both ways: `kind (1) | length (2, big endian) | payload`.

use bytes::Bytes;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TerminalFrame {
    /// Bytes typed, or shown (kind 0).
    Data(Bytes),
    /// The caller's terminal has a new size (kind 1: rows, columns, two bytes each).
    Resize {
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// The program ended (kind 2: exit status, four bytes).
    Exit(i32),
    /// Nothing more will be typed (kind 3).
    EndOfInput,
}

/// Longest payload that fits the length field.
const PAYLOAD_MAX: usize = u16::MAX as usize;

const HEADER: usize = 3;

impl TerminalFrame {
    /// The frame's bytes. Data longer than a frame can carry becomes several frames.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Data(data) => {
                data.chunks(PAYLOAD_MAX).flat_map(|chunk| frame(0, chunk)).collect()
            }
            Self::Resize { rows, columns } => {
                frame(1, &[rows.to_be_bytes(), columns.to_be_bytes()].concat())
            }
            Self::Exit(status) => frame(2, &status.to_be_bytes()),
            Self::EndOfInput => frame(3, &[]),
        }
    }

    fn decode(kind: u8, payload: &[u8]) -> Option<Self> {
        match (kind, payload) {
            (0, data) => Some(Self::Data(Bytes::copy_from_slice(data))),
            (1, &[a, b, c, d]) => Some(Self::Resize {
                rows: u16::from_be_bytes([a, b]),
                columns: u16::from_be_bytes([c, d]),
            }),
            (2, &[a, b, c, d]) => Some(Self::Exit(i32::from_be_bytes([a, b, c, d]))),
            (3, _) => Some(Self::EndOfInput),
            _ => None,
        }
    }
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    let [high, low] = length.to_be_bytes();
    let mut bytes = vec![kind, high, low];
    bytes.extend_from_slice(&payload[..usize::from(length)]);
    bytes
}

/// Cuts a stream of bytes into frames. Frames of unknown kind are skipped, so that a later build
/// may send more. Holds at most one unfinished frame besides what was pushed last.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
    start: usize,
}

impl FrameReader {
    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame.
    pub fn next_frame(&mut self) -> Option<TerminalFrame> {
        loop {
            let rest = &self.buffer[self.start..];
            let &[kind, high, low, ..] = rest else { return None };
            let length = usize::from(u16::from_be_bytes([high, low]));
            let payload = rest.get(HEADER..HEADER + length)?;
            let frame = TerminalFrame::decode(kind, payload);
            self.start += HEADER + length;
            if frame.is_some() {
                return frame;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut_of_the_stream() {
        let sent = [
            TerminalFrame::Data("hello".into()),
            TerminalFrame::Resize { rows: 24, columns: 80 },
            TerminalFrame::EndOfInput,
            TerminalFrame::Exit(-1),
        ];
        let mut bytes: Vec<u8> = sent.iter().flat_map(TerminalFrame::encode).collect();
        bytes.splice(0..0, [99, 0, 1, 7]);
        for size in 1..bytes.len() {
            let mut reader = FrameReader::default();
            let mut received = Vec::new();
            for chunk in bytes.chunks(size) {
                reader.push(chunk);
                received.extend(std::iter::from_fn(|| reader.next_frame()));
            }
            assert_eq!(received, sent, "chunks of {size}");
        }
    }

    #[test]
    fn any_bytes_can_arrive() {
        bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
            let mut reader = FrameReader::default();
            reader.push(bytes);
            while reader.next_frame().is_some() {}
        });
    }
}

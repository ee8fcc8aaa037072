//! Frames of a terminal session, after the upgrade of `GET /v1/terminal/{node}`.
//!
//! A frame is a kind (one byte), the payload's length (two bytes, big endian), and the payload.
//! The caller sends data, sizes and the end of its input; the machine sends data and the exit
//! status. An unknown kind is skipped by its length, so that a later build may add one.

/// Bytes before the payload.
const HEADER_LENGTH: usize = 3;

/// Longest payload: what two bytes can count.
const PAYLOAD_LENGTH_MAX: usize = u16::MAX as usize;

const DATA: u8 = 0;
const RESIZE: u8 = 1;
const EXIT: u8 = 2;
const END_OF_INPUT: u8 = 3;
const ERROR: u8 = 4;

/// What the caller sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFrame {
    /// Keys that were pressed.
    Data(Vec<u8>),
    /// The caller's terminal has another size.
    Resize {
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// Nothing more will be typed.
    EndOfInput,
}

/// What the machine sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerFrame {
    /// Output.
    Data(Vec<u8>),
    /// What a program without a terminal wrote to its standard error.
    Error(Vec<u8>),
    /// The program's exit status (128 + N when signal N ended it); the last frame.
    Exit(i32),
}

/// A frame of the right direction whose payload has the wrong length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a terminal frame of kind {kind} carries {length} bytes")]
pub struct FrameError {
    /// The kind.
    pub kind: u8,
    /// The length of its payload.
    pub length: usize,
}

/// One direction's frames.
pub trait Frame: Sized {
    /// Appends the frame's bytes; data longer than one frame can hold becomes several.
    fn encode(&self, output: &mut Vec<u8>);

    /// Reads a frame of `kind`; none for a kind that this build does not know.
    ///
    /// # Errors
    /// A known kind with a payload of the wrong length.
    fn decode(kind: u8, payload: &[u8]) -> Result<Option<Self>, FrameError>;
}

impl Frame for ClientFrame {
    fn encode(&self, output: &mut Vec<u8>) {
        match self {
            Self::Data(data) => encode_data(DATA, data, output),
            Self::Resize { rows, columns } => {
                let [a, b] = rows.to_be_bytes();
                let [c, d] = columns.to_be_bytes();
                encode_one(RESIZE, &[a, b, c, d], output);
            }
            Self::EndOfInput => encode_one(END_OF_INPUT, &[], output),
        }
    }

    fn decode(kind: u8, payload: &[u8]) -> Result<Option<Self>, FrameError> {
        match (kind, payload) {
            (DATA, data) => Ok(Some(Self::Data(data.to_vec()))),
            (RESIZE, &[a, b, c, d]) => Ok(Some(Self::Resize {
                rows: u16::from_be_bytes([a, b]),
                columns: u16::from_be_bytes([c, d]),
            })),
            (END_OF_INPUT, []) => Ok(Some(Self::EndOfInput)),
            (RESIZE | END_OF_INPUT, _) => Err(FrameError { kind, length: payload.len() }),
            _ => Ok(None),
        }
    }
}

impl Frame for ServerFrame {
    fn encode(&self, output: &mut Vec<u8>) {
        match self {
            Self::Data(data) => encode_data(DATA, data, output),
            Self::Error(data) => encode_data(ERROR, data, output),
            Self::Exit(status) => encode_one(EXIT, &status.to_be_bytes(), output),
        }
    }

    fn decode(kind: u8, payload: &[u8]) -> Result<Option<Self>, FrameError> {
        match (kind, payload) {
            (DATA, data) => Ok(Some(Self::Data(data.to_vec()))),
            (ERROR, data) => Ok(Some(Self::Error(data.to_vec()))),
            (EXIT, &[a, b, c, d]) => Ok(Some(Self::Exit(i32::from_be_bytes([a, b, c, d])))),
            (EXIT, _) => Err(FrameError { kind, length: payload.len() }),
            _ => Ok(None),
        }
    }
}

fn encode_data(kind: u8, data: &[u8], output: &mut Vec<u8>) {
    for piece in data.chunks(PAYLOAD_LENGTH_MAX) {
        encode_one(kind, piece, output);
    }
}

/// `payload` is at most [`PAYLOAD_LENGTH_MAX`] bytes: `encode_data` cuts, the others are short.
fn encode_one(kind: u8, payload: &[u8], output: &mut Vec<u8>) {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    output.push(kind);
    output.extend_from_slice(&length.to_be_bytes());
    output.extend_from_slice(payload);
}

/// Cuts a stream of bytes into frames. Holds at most one frame and what the last read brought.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    start: usize,
}

impl FrameDecoder {
    /// Adds bytes as they arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame; none until more bytes arrive.
    ///
    /// # Errors
    /// A frame that cannot be what it says; the session is to be ended.
    pub fn next_frame<F: Frame>(&mut self) -> Result<Option<F>, FrameError> {
        loop {
            let rest = self.buffer.get(self.start..).unwrap_or_default();
            let &[kind, high, low, ref body @ ..] = rest else {
                return Ok(None);
            };
            let length = usize::from(u16::from_be_bytes([high, low]));
            let Some(payload) = body.get(..length) else {
                return Ok(None);
            };
            let frame = F::decode(kind, payload)?;
            self.start += HEADER_LENGTH + length;
            if frame.is_some() {
                return Ok(frame);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_all<F: Frame>(bytes: &[u8], step: usize) -> Vec<F> {
        let mut decoder = FrameDecoder::default();
        let mut frames = Vec::new();
        for piece in bytes.chunks(step) {
            decoder.push(piece);
            while let Some(frame) = decoder.next_frame().unwrap() {
                frames.push(frame);
            }
        }
        frames
    }

    #[test]
    fn frames_survive_any_cut() {
        let sent = [
            ClientFrame::Data(b"ls\r".to_vec()),
            ClientFrame::Resize { rows: 50, columns: 400 },
            ClientFrame::EndOfInput,
        ];
        let mut bytes = Vec::new();
        for frame in &sent {
            frame.encode(&mut bytes);
        }
        for step in 1..=bytes.len() {
            assert_eq!(decode_all::<ClientFrame>(&bytes, step), sent);
        }
    }

    #[test]
    fn long_output_is_cut_into_frames_and_the_exit_status_keeps_its_sign() {
        let mut bytes = Vec::new();
        ServerFrame::Data(vec![7; 70_000]).encode(&mut bytes);
        ServerFrame::Exit(-1).encode(&mut bytes);
        let frames = decode_all::<ServerFrame>(&bytes, 1000);
        assert_eq!(
            frames,
            [
                ServerFrame::Data(vec![7; 65_535]),
                ServerFrame::Data(vec![7; 4_465]),
                ServerFrame::Exit(-1)
            ]
        );
    }

    #[test]
    fn a_later_builds_kind_is_skipped_and_a_wrong_length_is_refused() {
        let mut bytes = vec![9, 0, 2, 1, 1];
        ServerFrame::Exit(3).encode(&mut bytes);
        assert_eq!(decode_all::<ServerFrame>(&bytes, 2), [ServerFrame::Exit(3)]);

        let mut decoder = FrameDecoder::default();
        decoder.push(&[EXIT, 0, 1, 5]);
        let refused = decoder.next_frame::<ServerFrame>();
        assert_eq!(refused, Err(FrameError { kind: EXIT, length: 1 }));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic() {
        bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
            let mut decoder = FrameDecoder::default();
            for piece in bytes.chunks(5) {
                decoder.push(piece);
                while let Ok(Some(_)) = decoder.next_frame::<ClientFrame>() {}
            }
            let mut decoder = FrameDecoder::default();
            decoder.push(bytes);
            while let Ok(Some(_)) = decoder.next_frame::<ServerFrame>() {}
        });
    }
}

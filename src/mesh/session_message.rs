//! The bytes of the handshake between two ends, as routed frames carry them.

use crate::mesh::wire::Reader;

const KIND_INITIATION: u8 = 1;
const KIND_RESPONSE: u8 = 2;

/// A message of a handshake between two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionMessage<'a> {
    /// The first message.
    Initiation {
        /// Index under which its sender wants to be answered.
        sender: u32,
        /// Noise message 1.
        noise: &'a [u8],
    },
    /// The second message.
    Response {
        /// Index under which its sender wants to be spoken to.
        sender: u32,
        /// The initiation's index.
        receiver: u32,
        /// Noise message 2.
        noise: &'a [u8],
    },
}

impl<'a> SessionMessage<'a> {
    /// Reads a message.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            KIND_INITIATION => {
                Some(Self::Initiation { sender: reader.u32()?, noise: reader.rest() })
            }
            KIND_RESPONSE => Some(Self::Response {
                sender: reader.u32()?,
                receiver: reader.u32()?,
                noise: reader.rest(),
            }),
            _ => None,
        }
    }

    /// The message's bytes.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        match self {
            Self::Initiation { sender, noise } => {
                bytes.push(KIND_INITIATION);
                bytes.extend_from_slice(&sender.to_be_bytes());
                bytes.extend_from_slice(noise);
            }
            Self::Response { sender, receiver, noise } => {
                bytes.push(KIND_RESPONSE);
                bytes.extend_from_slice(&sender.to_be_bytes());
                bytes.extend_from_slice(&receiver.to_be_bytes());
                bytes.extend_from_slice(noise);
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_can_be_read_and_what_is_read_is_what_was_written() {
        bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
            if let Some(message) = SessionMessage::read(bytes) {
                assert_eq!(message.to_bytes(), bytes);
            }
        });
        let message = SessionMessage::Response { sender: 1, receiver: 2, noise: b"noise" };
        assert_eq!(SessionMessage::read(&message.to_bytes()), Some(message));
    }
}

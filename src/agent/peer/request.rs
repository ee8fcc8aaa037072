//! The header of a request between members, and the frames of a running program.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::agent::api::ExecStream;
use crate::agent::api::TerminalRequest;
use crate::agent::process::ProcessEvent;

/// Largest header, in bytes.
pub const HEADER_SIZE_MAX: usize = 256 * 1024;

/// Largest body frame, in bytes: a gossip exchange of thousands of members, or a batch of updates.
pub const BODY_SIZE_MAX: usize = 8 * 1024 * 1024;

/// Largest frame of a running program's output.
pub const PROCESS_FRAME_SIZE_MAX: usize = 64 * 1024;

/// Largest frame of an artefact.
pub const ARTEFACT_FRAME_SIZE: usize = 256 * 1024;

/// What a member asks of another. Unknown fields are ignored; an unknown kind is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Gossip push-pull: a frame of the asking side and one of the answering side in turn, until
    /// the asking side ends its stream.
    Exchange,
    /// Document sync: a digest of what the asking side holds, answered by an empty frame when the
    /// other holds the same, else by its versions; then versions and missing updates of the asking
    /// side, then missing updates of the other.
    Sync,
    /// The mesh as the asked member sees it: answered by a frame of JSON.
    Mesh,
    /// New updates of the document: a body of blobs, answered by an empty frame once on disk.
    Push,
    /// Run a program: answered by process frames.
    Exec {
        /// The program and its arguments.
        argv: Vec<String>,
        /// How long it may run, in milliseconds.
        timeout_ms: u64,
    },
    /// A terminal: from here on terminal frames, both ways.
    Terminal(TerminalRequest),
    /// A file that the members keep: answered by a frame that is empty where it is not there, then by
    /// its bytes from `offset` on in frames of at most [`ARTEFACT_FRAME_SIZE`], to the stream's end.
    Artefact {
        /// SHA-256 of its bytes.
        sha256: String,
        /// Bytes that the asking side has.
        offset: u64,
    },
    /// A TCP connection to a port of the machine itself: answered by a frame of [`Connected`], and
    /// once that says `open` by the connection's bytes, both ways.
    Connect {
        /// The port on the machine's loopback, or at its mesh address.
        port: u16,
    },
}

/// What became of [`Request::Connect`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Connected {
    /// The connection stands.
    Open,
    /// Nobody listens on that port.
    Refused,
    /// Something else is in the way.
    Failed {
        /// What.
        reason: String,
    },
}

impl Connected {
    /// The frame's payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // A text of ours always has a JSON form; an empty frame is refused by its reader.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Request {
    /// Whether only members that hold everything may ask this.
    #[must_use]
    pub fn needs_full_role(&self) -> bool {
        match self {
            Self::Exchange | Self::Sync => false,
            Self::Mesh
            | Self::Artefact { .. }
            | Self::Push
            | Self::Exec { .. }
            | Self::Terminal(_)
            | Self::Connect { .. } => true,
        }
    }
}

/// Writes a process event as a frame's payload: kind (1) and data.
#[must_use]
pub fn encode_event(event: &ProcessEvent) -> Vec<u8> {
    let (kind, data): (u8, &[u8]) = match event {
        ProcessEvent::Started => (0, &[]),
        ProcessEvent::Output(ExecStream::Stdout, bytes) => (1, bytes),
        ProcessEvent::Output(ExecStream::Stderr, bytes) => (2, bytes),
        ProcessEvent::Exited(status) => (3, &status.to_be_bytes()),
        ProcessEvent::Failed(reason) => (4, reason.as_bytes()),
    };
    [&[kind], data].concat()
}

/// Reads what [`encode_event`] wrote; none for an unknown kind.
#[must_use]
pub fn decode_event(payload: &Bytes) -> Option<ProcessEvent> {
    let (&kind, _) = payload.split_first()?;
    let data = payload.slice(1..);
    match kind {
        0 => Some(ProcessEvent::Started),
        1 => Some(ProcessEvent::Output(ExecStream::Stdout, data)),
        2 => Some(ProcessEvent::Output(ExecStream::Stderr, data)),
        3 => Some(ProcessEvent::Exited(i32::from_be_bytes(data.as_ref().try_into().ok()?))),
        4 => Some(ProcessEvent::Failed(String::from_utf8_lossy(&data).into_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_events_round_trip() {
        for event in [
            ProcessEvent::Started,
            ProcessEvent::Output(ExecStream::Stdout, "a".into()),
            ProcessEvent::Output(ExecStream::Stderr, "".into()),
            ProcessEvent::Exited(-7),
            ProcessEvent::Failed("gone".to_owned()),
        ] {
            assert_eq!(decode_event(&encode_event(&event).into()), Some(event));
        }
    }

    #[test]
    fn a_header_of_a_later_build_is_understood_or_refused() {
        let known = r#"{"request":"connect","port":22,"later":true}"#;
        assert_eq!(serde_json::from_str::<Request>(known).unwrap(), Request::Connect { port: 22 });
        assert!(serde_json::from_str::<Request>(r#"{"request":"dance"}"#).is_err());
    }

    #[test]
    fn any_bytes_can_arrive_as_header_or_event() {
        bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
            let _ = serde_json::from_slice::<Request>(bytes);
            let _ = serde_json::from_slice::<Connected>(bytes);
            let _ = decode_event(&Bytes::copy_from_slice(bytes));
        });
    }
}

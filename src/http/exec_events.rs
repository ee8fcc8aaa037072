//! The answer to `POST /v1/exec`: one [`ExecEvent`] a line, as it happens.

use crate::agent::api::ExecEvent;
use crate::http::client::ClientError;

/// Longest line that is accepted, in bytes: a piece of output of 64 KiB is 88 KiB as base64.
const LINE_LENGTH_MAX: usize = 1024 * 1024;

/// Cuts bytes into lines of bounded length.
#[derive(Debug, Default)]
struct Lines {
    buffer: Vec<u8>,
    start: usize,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    fn next_line(&mut self) -> Option<&[u8]> {
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == b'\n')?;
        let start = self.start;
        self.start += length + 1;
        self.buffer.get(start..start + length)
    }

    fn pending(&self) -> usize {
        self.buffer.len().saturating_sub(self.start)
    }
}

/// The events of one run, in the order in which the agent tells them.
#[derive(Debug)]
pub struct ExecEvents {
    response: reqwest::Response,
    lines: Lines,
}

impl ExecEvents {
    pub(crate) fn new(response: reqwest::Response) -> Self {
        Self { response, lines: Lines::default() }
    }

    /// The next event; none at the end.
    ///
    /// # Errors
    /// [`ClientError::BrokenOff`] when the agent went away, [`ClientError::Malformed`] when a line
    /// is no event.
    pub async fn next(&mut self) -> Result<Option<ExecEvent>, ClientError> {
        loop {
            if let Some(line) = self.lines.next_line() {
                if line.is_empty() {
                    continue;
                }
                return read_event(line).map(Some);
            }
            if self.lines.pending() > LINE_LENGTH_MAX {
                return Err(malformed("a line is longer than 1 MiB".to_owned()));
            }
            match self.response.chunk().await {
                Ok(Some(bytes)) => self.lines.push(&bytes),
                Ok(None) if self.lines.pending() > 0 => {
                    return Err(malformed("the last line is cut off".to_owned()));
                }
                Ok(None) => return Ok(None),
                Err(error) => return Err(ClientError::broken_off("exec", &error)),
            }
        }
    }
}

fn read_event(line: &[u8]) -> Result<ExecEvent, ClientError> {
    serde_json::from_slice(line).map_err(|error| malformed(error.to_string()))
}

fn malformed(why: String) -> ClientError {
    ClientError::Malformed { request: "exec".to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_across_any_cut() {
        let text = b"one\n\ntwo\nthr";
        for step in 1..=text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for piece in text.chunks(step) {
                lines.push(piece);
                while let Some(line) = lines.next_line() {
                    found.push(String::from_utf8(line.to_vec()).unwrap());
                }
            }
            assert_eq!(found, ["one", "", "two"]);
            assert_eq!(lines.pending(), 3);
        }
    }

    #[test]
    fn no_line_makes_the_reader_panic() {
        bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
            let _ = read_event(bytes);
        });
    }
}

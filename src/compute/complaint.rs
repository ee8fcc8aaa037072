//! What a program said before it failed: the end of it, fit to be shown.

use std::io;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;

/// How much of the end of what a program complains is kept.
const COMPLAINT_SIZE_MAX: usize = 8 * 1024;
/// How many of its last lines are shown.
const COMPLAINT_LINES_MAX: usize = 12;

/// The last [`COMPLAINT_SIZE_MAX`] bytes that `source` says.
pub(super) async fn last_bytes(source: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    keep_end(source, &mut bytes).await?;
    Ok(bytes)
}

/// The same, there also for whoever does not wait for the end.
pub(super) async fn keep_end(
    source: Option<impl AsyncRead + Unpin>,
    kept: &mut Vec<u8>,
) -> io::Result<()> {
    let Some(mut source) = source else { return Ok(()) };
    let mut chunk = [0u8; 4096];
    loop {
        let count = source.read(&mut chunk).await?;
        if count == 0 {
            return Ok(());
        }
        kept.extend_from_slice(&chunk[..count]);
        kept.drain(..kept.len().saturating_sub(COMPLAINT_SIZE_MAX));
    }
}

/// A program's pointer to its own help, which says nothing about what failed.
fn advice(line: &str) -> bool {
    (line.starts_with("See '") || line.starts_with("Run '")) && line.contains("--help")
}

/// The last lines that say something, without control characters.
pub(super) fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> =
        text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !advice(line)).collect();
    let shown = &lines[lines.len().saturating_sub(COMPLAINT_LINES_MAX)..];
    shown.join("\n").chars().filter(|letter| *letter == '\n' || !letter.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_cut_to_their_last_lines_and_cleaned() {
        let long =
            (0..50).fold(String::new(), |text, line| text + &format!("line \x1b[31m{line}\n"));
        let shown = last_lines(format!("{long}See 'docker run --help'.\n").as_bytes());
        assert_eq!(shown.lines().count(), COMPLAINT_LINES_MAX);
        assert!(shown.ends_with("line [31m49") && !shown.contains('\x1b'));
    }
}

//! Secrets typed by hand.

use std::io::{BufRead, IsTerminal, Write};

use zeroize::Zeroizing;

use crate::cli::error::CliError;
use crate::cli::terminal::raw::ChangedTerminal;

/// Reads one line: unseen from the terminal, or from standard input where no terminal is.
///
/// # Errors
/// Nothing was entered, or the terminal is gone.
pub fn ask(prompt: &str) -> Result<Zeroizing<String>, CliError> {
    let mut stdin = std::io::stdin().lock();
    if !stdin.is_terminal() {
        return read(&mut stdin);
    }
    let mut stderr = std::io::stderr();
    stderr.write_all(prompt.as_bytes())?;
    stderr.flush()?;
    let hidden = ChangedTerminal::hidden()?;
    let secret = read(&mut stdin);
    drop(hidden);
    stderr.write_all(b"\n")?;
    secret
}

fn read(input: &mut impl BufRead) -> Result<Zeroizing<String>, CliError> {
    let mut line = Zeroizing::new(String::new());
    input.read_line(&mut line)?;
    let secret = Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned());
    if secret.is_empty() {
        return Err(CliError::user("nothing was entered"));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_read_without_its_end() {
        assert_eq!(read(&mut "pass word \r\nnext".as_bytes()).unwrap().as_str(), "pass word ");
        assert!(read(&mut "\n".as_bytes()).is_err());
    }
}

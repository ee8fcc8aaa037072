//! Secrets typed by hand.

use std::io::{BufRead, IsTerminal, Read, Write};

use zeroize::Zeroizing;

use crate::cli::error::CliError;
use crate::cli::terminal::raw::ChangedTerminal;

/// Longest secret that is typed, in bytes.
const TYPED_LENGTH_MAX: usize = 4096;

/// Keys that a terminal without signals and lines of its own gives as they are.
const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const CTRL_U: u8 = 0x15;
const DELETE: u8 = 0x7f;

/// Reads one line: unseen from the terminal, or from standard input where no terminal is.
///
/// # Errors
/// Nothing was entered, Ctrl-C was, or the terminal is gone.
pub fn ask(prompt: &str) -> Result<Zeroizing<String>, CliError> {
    let mut stdin = std::io::stdin().lock();
    if !stdin.is_terminal() {
        return read(&mut stdin);
    }
    let mut stderr = std::io::stderr();
    // Before it is asked for: whoever types at once is not seen either.
    let hidden = ChangedTerminal::hidden()?;
    stderr.write_all(prompt.as_bytes())?;
    stderr.flush()?;
    let secret = read_keys(&mut stdin);
    drop(hidden);
    stderr.write_all(b"\n")?;
    secret
}

/// Reads a text of at most `size_max` bytes: one line, unseen, from the terminal, or all of standard
/// input where no terminal is, without the end of its last line.
///
/// # Errors
/// As [`ask`]; or the text is longer.
pub fn ask_text(prompt: &str, size_max: usize) -> Result<Zeroizing<String>, CliError> {
    if std::io::stdin().is_terminal() {
        return ask(prompt);
    }
    read_text(&mut std::io::stdin().lock(), size_max)
}

fn read_text(input: &mut impl Read, size_max: usize) -> Result<Zeroizing<String>, CliError> {
    // It never grows, so no part of it is left elsewhere in memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(size_max + 2));
    let limit = u64::try_from(size_max + 1).unwrap_or(u64::MAX);
    input.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > size_max {
        return Err(CliError::user(format!("what was entered is longer than {size_max} bytes")));
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| CliError::user("what was entered is no text (UTF-8)"))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    checked(Zeroizing::new(text.strip_suffix('\r').unwrap_or(text).to_owned()))
}

/// Reads keys up to the end of the line. Ctrl-C comes as a key, so that the terminal is put right
/// before the program ends.
fn read_keys(input: &mut impl Read) -> Result<Zeroizing<String>, CliError> {
    // It never grows, so no part of it is left elsewhere in memory.
    let mut typed = Zeroizing::new(Vec::with_capacity(TYPED_LENGTH_MAX));
    let mut key = [0];
    while input.read(&mut key)? > 0 {
        match key[0] {
            b'\r' | b'\n' | CTRL_D => break,
            CTRL_C => return Err(CliError::interrupted()),
            CTRL_U => typed.clear(),
            BACKSPACE | DELETE => {
                // The bytes of one character go together.
                while typed.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            byte if typed.len() < TYPED_LENGTH_MAX => typed.push(byte),
            _ => return Err(CliError::user("what was entered is too long")),
        }
    }
    let text = std::str::from_utf8(&typed)
        .map_err(|_| CliError::user("what was entered is no text (UTF-8)"))?;
    checked(Zeroizing::new(text.to_owned()))
}

fn read(input: &mut impl BufRead) -> Result<Zeroizing<String>, CliError> {
    let mut line = Zeroizing::new(String::new());
    input.read_line(&mut line)?;
    checked(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}

fn checked(secret: Zeroizing<String>) -> Result<Zeroizing<String>, CliError> {
    if secret.is_empty() {
        return Err(CliError::user("nothing was entered"));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit_status::ExitStatus;

    #[test]
    fn one_line_is_read_without_its_end() {
        assert_eq!(read(&mut "pass word \r\nnext".as_bytes()).unwrap().as_str(), "pass word ");
        assert!(read(&mut "\n".as_bytes()).is_err());
    }

    #[test]
    fn a_text_may_have_many_lines_and_loses_only_the_last_end() {
        let read = |text: &str| read_text(&mut text.as_bytes(), 8).map(|text| text.to_string());
        assert_eq!(read("a\nb\n\n").unwrap(), "a\nb\n");
        assert_eq!(read(" a\r\n").unwrap(), " a");
        assert_eq!(read("12345678").unwrap(), "12345678");
        assert!(read("123456789").is_err() && read("\n").is_err() && read("").is_err());
        assert!(read_text(&mut [0xff, 0xfe].as_slice(), 8).is_err());
    }

    #[test]
    fn keys_are_edited_as_on_a_terminal() {
        for (keys, expected) in [
            ("open\r", "open"),
            ("opem\u{7f}n\nrest", "open"),
            ("é\u{8}ö\u{4}", "ö"),
            ("wrong\u{15}right\r", "right"),
            ("\u{7f}a", "a"),
        ] {
            assert_eq!(read_keys(&mut keys.as_bytes()).unwrap().as_str(), expected, "{keys:?}");
        }
        let interrupted = read_keys(&mut "ope\u{3}n\r".as_bytes()).unwrap_err();
        assert_eq!(interrupted.exit_status(), ExitStatus::INTERRUPTED);
        assert!(read_keys(&mut "\r".as_bytes()).is_err());
        assert!(read_keys(&mut vec![b'x'; TYPED_LENGTH_MAX + 1].as_slice()).is_err());
    }
}

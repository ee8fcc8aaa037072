//! The shell text that runs things safely on the other side. Pure.
//!
//! ssh gives the host one string for the login shell, whatever shell that is. So that string is
//! only `exec sh -c 'TEXT' ARGUMENTS` with a TEXT of one line, without quotes or backslashes in it,
//! which sh, bash, fish and csh all read alike; everything else goes through standard input.

use crate::ssh::error::Cause;
use crate::ssh::quote::{quote, quote_all};

/// Ends every program sent: one that was cut short is not begun.
const END: &str = "#raptor-end";

/// Runs the program of `$1` bytes that comes on standard input, in a session (process group) of its
/// own, and ends the group when standard input closes before the program is done: that is how the
/// host learns that the caller dropped the call, was killed, or lost the line.
/// `head -c` must be the only reader before the watching `read`: busybox's reads ahead.
const GUARD: &str = concat!(
    "p=$(head -c \"$1\"); case $p in *\"#raptor-end\") ;; *) exit 255;; esac; exec 3<&0; ",
    "if command -v setsid >/dev/null 2>&1; then s=setsid; g=-; else s=; g=; fi; ",
    "printf %s \"$p\" | $s sh -s 3<&- & c=$!; ",
    "( while read -r x; do :; done; trap \"\" TERM; kill -s TERM -- $g$c; sleep 2; ",
    "kill -s KILL -- $g$c ) <&3 >/dev/null 2>&1 & w=$!; ",
    "exec 3<&-; wait $c; r=$?; kill $w 2>/dev/null; exit $r",
);

/// Receives a file: `$1` path, `$2` mode, `$3` length, `$4` SHA-256. Answers `same`, or `send`
/// and, when it was sent a line `go` and the bytes, `done`. Before that line nothing is changed. A
/// status other than 0 leaves nothing behind.
const RECEIVE: &str = concat!(
    "d=$1; t=; ",
    "sum() { if command -v sha256sum >/dev/null 2>&1; then sha256sum <\"$1\"; ",
    "else shasum -a 256 <\"$1\"; fi | cut -c 1-64; }; ",
    "clean() { test -z \"$t\" || rm -f \"$t\"; }; trap clean EXIT; ",
    "trap \"exit 143\" HUP INT TERM PIPE; ",
    "if test -f \"$d\" && test \"$(sum \"$d\")\" = \"$4\"; then ",
    "chmod \"$2\" \"$d\" && echo same; exit; fi; ",
    "echo send; IFS= read -r g && test \"$g\" = go || exit 75; ",
    "mkdir -p \"$(dirname \"$d\")\" && t=$(mktemp \"$d.XXXXXX\") || exit 73; ",
    "head -c \"$3\" >\"$t\" || exit 74; ",
    "test \"$(($(wc -c <\"$t\")))\" = \"$3\" || exit 75; ",
    "test \"$(sum \"$t\")\" = \"$4\" || exit 75; ",
    "chmod \"$2\" \"$t\" && mv -f \"$t\" \"$d\" || exit 73; t=; echo done",
);

/// Runs `sh -c "$@"` as root: at once when that is who we are, else through `sudo -n`.
const ELEVATE: &str = concat!(
    "if test \"$(id -u)\" = 0; then exec sh -c \"$@\"; fi; ",
    "command -v sudo >/dev/null 2>&1 || { echo raptor:no-sudo >&2; exit 251; }; ",
    "e=$(sudo -n true 2>&1) && exec sudo -n sh -c \"$@\"; ",
    "echo raptor:sudo-needs-password \"$e\" >&2; exit 251",
);

/// As [`ELEVATE`], with a password as the first two lines of standard input. The first is tried on
/// `true`, so that a wrong one makes sudo read no further line as the next try; the second is for
/// sudo itself, which reads a letter at a time and leaves the rest to the program. `-k` makes sure
/// that sudo does read it; where it is not needed it is taken away.
const ELEVATE_WITH_PASSWORD: &str = concat!(
    "IFS= read -r q; ",
    "if test \"$(id -u)\" = 0; then IFS= read -r q; exec sh -c \"$@\"; fi; ",
    "command -v sudo >/dev/null 2>&1 || { echo raptor:no-sudo >&2; exit 251; }; ",
    "sudo -n true 2>/dev/null && { IFS= read -r q; exec sudo -n sh -c \"$@\"; }; ",
    "{ printf %s \"$q\"; echo; } | sudo -k -S -p \"\" true 2>/dev/null || ",
    "{ echo raptor:sudo-refused >&2; exit 251; }; exec sudo -k -S -p \"\" sh -c \"$@\"",
);

/// Waits for its command line as the first line of standard input.
const SPARE: &str = "IFS= read -r t; eval \"$t\"";

/// How a text becomes root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elevation {
    /// It does not.
    None,
    /// Root, or sudo without a password.
    Sudo,
    /// Root, or sudo with the password that comes as the first two lines of standard input.
    SudoWithPassword,
}

/// The program that runs `argv` and feeds it `stdin`.
pub(crate) fn program_of_command(argv: &[String], stdin: &[u8]) -> Result<String, Cause> {
    let invalid = |detail: &str| Cause::Invalid { detail: detail.to_owned() };
    if argv.is_empty() {
        return Err(invalid("there is no program to run"));
    }
    if argv.iter().any(|word| word.contains('\0')) {
        return Err(invalid("an argument holds a NUL byte"));
    }
    if stdin.is_empty() {
        return program_of_script(&quote_all(argv));
    }
    let text = std::str::from_utf8(stdin).map_err(|_| invalid("the input is not UTF-8"))?;
    program_of_script(&format!("printf %s {} | {}", quote(text), quote_all(argv)))
}

/// The program that runs `text`; the braces make the shell read all of it before it begins.
pub(crate) fn program_of_script(text: &str) -> Result<String, Cause> {
    if text.contains('\0') {
        return Err(Cause::Invalid { detail: "the script holds a NUL byte".to_owned() });
    }
    Ok(format!("{{\n{text}\n}} </dev/null\n{END}"))
}

/// The command line that runs a program of `length` bytes.
pub(crate) fn guarded(length: usize, elevation: Elevation) -> String {
    command_line(&[GUARD, "raptor", &length.to_string()], elevation)
}

/// The command line that receives a file.
pub(crate) fn receiving(
    destination: &str,
    mode: u32,
    length: u64,
    sha256: &str,
    elevation: Elevation,
) -> String {
    let (mode, length) = (format!("{:o}", mode & 0o7777), length.to_string());
    command_line(&[RECEIVE, "raptor", destination, &mode, &length, sha256], elevation)
}

/// The command line that runs `argv` on the session's own streams.
pub(crate) fn bridged(argv: &[String], elevation: Elevation) -> Result<String, Cause> {
    program_of_command(argv, b"")?;
    let mut words = vec!["exec \"$@\"", "raptor"];
    words.extend(argv.iter().map(String::as_str));
    Ok(command_line(&words, elevation))
}

/// The command line of a session that is opened before it is known what for: it does what its first
/// line says.
pub(crate) fn spare() -> String {
    command_line(&[SPARE], Elevation::None)
}

/// What is written to a [`spare`] session to have it do `command_line`, where that can be sent as one
/// line. Other letters than those of ASCII are not read alike by all shells.
pub(crate) fn line_for_spare(command_line: &str) -> Option<String> {
    let is_plain = command_line.is_ascii() && !command_line.contains(['\n', '\0']);
    is_plain.then(|| format!("{command_line}\n"))
}

fn command_line(words: &[&str], elevation: Elevation) -> String {
    let words = quote_all(words);
    match elevation {
        Elevation::None => format!("exec sh -c {words}"),
        Elevation::Sudo => format!("exec sh -c {} raptor {words}", quote(ELEVATE)),
        Elevation::SudoWithPassword => {
            format!("exec sh -c {} raptor {words}", quote(ELEVATE_WITH_PASSWORD))
        }
    }
}

/// What the elevation texts say on standard error when there is no way to root.
pub(crate) fn elevation_failure(status: i32, stderr: &[u8]) -> Option<Cause> {
    if status != 251 {
        return None;
    }
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().find_map(|line| line.strip_prefix("raptor:"))?;
    if line.starts_with("no-sudo") {
        return Some(Cause::SudoMissing);
    }
    if line.starts_with("sudo-refused") {
        return Some(Cause::SudoRefused);
    }
    let detail = line.strip_prefix("sudo-needs-password")?.trim();
    Some(Cause::SudoNeedsPassword { detail: detail.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_login_shell_reads_the_texts_alike() {
        for text in [GUARD, RECEIVE, ELEVATE, ELEVATE_WITH_PASSWORD, SPARE] {
            for letter in ['\'', '\\', '\n'] {
                assert!(!text.contains(letter), "{letter:?} in {text}");
            }
        }
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        let word = |text: &str| vec![text.to_owned()];
        assert!(program_of_command(&[], b"").is_err());
        assert!(program_of_command(&word("a\0b"), b"").is_err());
        assert!(program_of_command(&word("cat"), &[0xff]).is_err());
        assert!(program_of_command(&word("cat"), b"a\0b").is_err());
        assert!(bridged(&[], Elevation::None).is_err());
    }
}

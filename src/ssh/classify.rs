//! What `ssh` wrote to standard error, as a [`Cause`]. Pure.
//!
//! The sentences are those of OpenSSH 7 to 10 (`ssh.c`, `sshconnect.c`, `sshconnect2.c`); what is
//! not recognised is passed on in ssh's own words.

use std::path::PathBuf;
use std::time::Duration;

use crate::ssh::error::Cause;

/// Most of ssh's words that an error carries.
const DETAIL_LENGTH_MAX: usize = 600;

/// What the master process was asked for, as far as it decides what its words mean.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The nearest jump host, when there is one.
    pub jump: Option<String>,
    /// ssh's own limit for connecting.
    pub connect_timeout: Duration,
}

/// Reads the words of an `ssh` that ended before the connection stood.
#[must_use]
pub fn classify(stderr: &str, attempt: &Attempt) -> Cause {
    // With a jump host, ssh knows its peer only as the end of a pipe; whose failure it was stands
    // in the words of the inner ssh, which come first.
    if let Some(jump) = &attempt.jump
        && !stderr.contains("open failed:")
        && names_the_pipe(stderr)
    {
        let inner: Vec<&str> = telling(stderr).filter(|line| !names_the_pipe(line)).collect();
        if !inner.is_empty() {
            let cause = direct(&inner.join("\n"), attempt.connect_timeout);
            return Cause::JumpHost { jump: jump.clone(), cause: Box::new(cause) };
        }
    }
    direct(stderr, attempt.connect_timeout)
}

fn names_the_pipe(text: &str) -> bool {
    text.contains("by UNKNOWN") || text.contains("kex_exchange_identification:")
}

/// The lines that say something about a failure.
fn telling(stderr: &str) -> impl Iterator<Item = &str> {
    let lines = stderr.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with("Warning: Permanently added"))
}

fn direct(stderr: &str, connect_timeout: Duration) -> Cause {
    let has = |words: &str| stderr.contains(words);
    let detail = || detail_of(stderr);
    if has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        return changed_key(stderr);
    }
    if has("Host key verification failed") || has("host key is known for") {
        return Cause::HostKeyUnknown;
    }
    if let Some(methods) = between(stderr, "Permission denied (", ")") {
        return Cause::LoginRefused { methods: methods.to_owned() };
    }
    if has("Too many authentication failures") {
        return Cause::LoginRefused { methods: "too many keys were offered".to_owned() };
    }
    if let Some(host) = between(stderr, "Could not resolve hostname ", ":") {
        return Cause::UnknownHost { host: host.to_owned() };
    }
    if has("Name or service not known") {
        return Cause::UnknownHost { host: "(as the jump host was told)".to_owned() };
    }
    if has("Connection timed out") || has("Operation timed out") || has("timed out") {
        return Cause::ConnectTimeout { after: connect_timeout };
    }
    if has("Connection refused") {
        return Cause::Refused { detail: detail() };
    }
    if has("No route to host") || has("Network is unreachable") || has("Host is down") {
        return Cause::Unreachable { detail: detail() };
    }
    if has("Bad configuration option")
        || has("Bad owner or permissions")
        || has("Can't open user config file")
        || has("command-line line 0")
        || has("terminating,")
        || has("UNPROTECTED PRIVATE KEY FILE")
    {
        return Cause::Client { detail: detail() };
    }
    if has("Connection closed by") || has("Connection reset by") || has("Broken pipe") {
        return Cause::Disconnected { detail: detail() };
    }
    Cause::Other { detail: detail() }
}

fn changed_key(stderr: &str) -> Cause {
    // "Offending ED25519 key in /home/me/.ssh/known_hosts:3"
    let offending = between(stderr, "Offending ", "\n").unwrap_or_default();
    let (key_type, place) = offending.split_once(" key in ").unwrap_or((offending, ""));
    let (file, line) = place.trim().rsplit_once(':').unwrap_or((place.trim(), "0"));
    Cause::HostKeyChanged {
        file: PathBuf::from(file),
        line: line.parse().unwrap_or_default(),
        key_type: key_type.to_owned(),
    }
}

/// The text between the first `start` and the next `end` (or the text's end).
fn between<'text>(text: &'text str, start: &str, end: &str) -> Option<&'text str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end).map_or(rest, |(inner, _)| inner))
}

/// ssh's words on one line, cut to what an error should hold.
pub(crate) fn detail_of(stderr: &str) -> String {
    let text = telling(stderr).collect::<Vec<_>>().join("; ");
    let text = text.strip_prefix("ssh: ").unwrap_or(&text);
    match text.char_indices().nth(DETAIL_LENGTH_MAX) {
        _ if text.is_empty() => "ssh gave no reason".to_owned(),
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(jump: Option<&str>) -> Attempt {
        Attempt { jump: jump.map(str::to_owned), connect_timeout: Duration::from_secs(10) }
    }

    fn shown(stderr: &str, jump: Option<&str>) -> String {
        classify(stderr, &attempt(jump)).to_string()
    }

    #[test]
    fn each_sentence_of_ssh_has_its_cause() {
        for (stderr, expected) in [
            (
                "ssh: connect to host db1 port 22: Connection refused\r\n",
                "the connection was refused (connect to host db1 port 22: Connection refused)",
            ),
            (
                "ssh: Could not resolve hostname nope: Name or service not known\r\n",
                "the host name nope is not known",
            ),
            ("ssh: connect to host db1 port 22: Connection timed out\r\n", "no answer within 10 s"),
            (
                "root@db1: Permission denied (publickey,password).\r\n",
                "the login was refused; the host accepts: publickey,password",
            ),
            (
                "ssh: connect to host db1 port 22: No route to host\r\n",
                "the host cannot be reached (connect to host db1 port 22: No route to host)",
            ),
            (
                "command-line: line 0: Bad configuration option: nonsense\r\n",
                "ssh cannot be started: command-line: line 0: Bad configuration option: nonsense",
            ),
            (
                "Host key verification failed.\r\n",
                "the host key is none of the keys known beforehand",
            ),
            (
                "Connection closed by 10.0.0.1 port 22\r\n",
                "the connection was lost (Connection closed by 10.0.0.1 port 22)",
            ),
            ("", "ssh gave no reason"),
        ] {
            assert_eq!(shown(stderr, None), expected);
        }
    }

    #[test]
    fn a_changed_key_names_file_and_line() {
        let stderr = "@@@@@\r\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\r\n\
            Offending ED25519 key in /home/me/.ssh/known_hosts:3\r\n\
            Host key for db1 has changed.\r\nHost key verification failed.\r\n";
        let cause = classify(stderr, &attempt(None));
        assert_eq!(
            cause.to_string(),
            "the host key has changed: /home/me/.ssh/known_hosts line 3 holds another ED25519 key"
        );
        assert!(cause.hint("db1").contains("remove line 3 of /home/me/.ssh/known_hosts"));
    }

    #[test]
    fn the_jump_host_is_told_from_the_host_behind_it() {
        let jump_down = "ssh: connect to host hop port 22: Connection refused\r\n\
            kex_exchange_identification: Connection closed by remote host\r\n\
            Connection closed by UNKNOWN port 65535\r\n";
        let cause = classify(jump_down, &attempt(Some("hop")));
        assert_eq!(cause.to_string(), "the jump host hop failed");
        assert!(matches!(cause, Cause::JumpHost { cause, .. }
            if matches!(*cause, Cause::Refused { .. })));

        let target_down = "channel 0: open failed: connect failed: Connection refused\r\n\
            stdio forwarding failed\r\nConnection closed by UNKNOWN port 65535\r\n";
        assert!(matches!(classify(target_down, &attempt(Some("hop"))), Cause::Refused { .. }));
    }

    #[test]
    fn any_text_is_classified_without_panic() {
        bolero::check!().with_iterations(2000).with_type::<Vec<u8>>().for_each(|bytes| {
            let text = String::from_utf8_lossy(bytes);
            let _cause = classify(&text, &attempt(Some("hop"))).to_string();
            let _cause = changed_key(&text).to_string();
        });
    }
}

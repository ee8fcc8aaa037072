//! The door: every room's error becomes one of four kinds, with a hint and an exit status.

use std::error::Error;
use std::fmt::Write as _;
use std::io;

use serde_json::json;

use crate::cli::exit_status::ExitStatus;
use crate::config::error::nearest;
use crate::http::client::ClientError;

/// Whose turn it is to act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The user asked for something that cannot be had.
    User,
    /// A file of configuration is wrong.
    Config,
    /// A machine, or the way to it, failed.
    Remote,
    /// raptor is wrong.
    Bug,
    /// The reader of our output went away: nothing to say, nothing wrong.
    ClosedPipe,
    /// Ctrl-C, or "no" at the question.
    Stopped,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Config => "config",
            Self::Remote => "remote",
            Self::Bug => "bug",
            Self::ClosedPipe => "closed_pipe",
            Self::Stopped => "stopped",
        }
    }
}

/// What is told to the user when a command fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    kind: Kind,
    message: String,
    details: Vec<String>,
    hint: Option<String>,
    exit_status: ExitStatus,
}

impl CliError {
    fn new(kind: Kind, message: String, exit_status: ExitStatus) -> Self {
        Self { kind, message, details: Vec::new(), hint: None, exit_status }
    }

    /// The command line asks for something that makes no sense.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::User, message.into(), ExitStatus::USAGE)
    }

    /// The user asked for something that cannot be had.
    #[must_use]
    pub fn user(message: impl Into<String>) -> Self {
        Self::new(Kind::User, message.into(), ExitStatus::FAILED)
    }

    /// There is no `what` of that name among those `known`; `list` is the command that shows them.
    #[must_use]
    pub fn unknown<'a>(
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
        list: &str,
    ) -> Self {
        let hint = match nearest(name, known) {
            Some(nearest) => format!("did you mean {nearest:?}?"),
            None => format!("`{list}` lists them"),
        };
        Self::user(format!("there is no {what} {name:?}")).with_hint(hint)
    }

    /// A configuration is wrong.
    #[must_use]
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Kind::Config, message.into(), ExitStatus::FAILED)
    }

    /// A machine, or the way to it, failed.
    #[must_use]
    pub fn remote(message: impl Into<String>) -> Self {
        Self::new(Kind::Remote, message.into(), ExitStatus::FAILED)
    }

    /// raptor is wrong.
    #[must_use]
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Kind::Bug, message.into(), ExitStatus::FAILED)
            .with_hint("this is a fault of raptor: please report it with this message")
    }

    /// The user said no.
    #[must_use]
    pub fn declined() -> Self {
        Self::new(Kind::Stopped, "nothing was changed".to_owned(), ExitStatus::FAILED)
    }

    /// Ctrl-C.
    #[must_use]
    pub fn interrupted() -> Self {
        Self::new(Kind::Stopped, "interrupted".to_owned(), ExitStatus::INTERRUPTED)
    }

    /// Folds any error with its causes into one line.
    #[must_use]
    pub fn caused(kind: Kind, error: &dyn Error) -> Self {
        let folded = Self::new(kind, with_causes(error), ExitStatus::FAILED);
        if kind == Kind::Bug { Self::bug(folded.message) } else { folded }
    }

    /// A file that could not be read or written.
    #[must_use]
    pub fn file(what: &str, path: &std::path::Path, error: &io::Error) -> Self {
        let told = Self::user(format!("cannot {what} {}: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::NotFound => told.with_hint("check the path"),
            io::ErrorKind::PermissionDenied => {
                told.with_hint("check who owns it; another home folder is named with --home DIR")
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                told.with_hint("make room there; repeating is safe")
            }
            _ => told,
        }
    }

    /// Says what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Ends the program with another status.
    #[must_use]
    pub fn with_exit_status(mut self, exit_status: ExitStatus) -> Self {
        self.exit_status = exit_status;
        self
    }

    /// Adds a line below the message: one of several causes.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.details.push(detail.into());
        self
    }

    /// Whose turn it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How the program ends.
    #[must_use]
    pub fn exit_status(&self) -> ExitStatus {
        if self.kind == Kind::ClosedPipe { ExitStatus::DONE } else { self.exit_status }
    }

    /// What is written to standard error; empty when there is nothing to say.
    #[must_use]
    pub fn render(&self, as_json: bool) -> String {
        if self.kind == Kind::ClosedPipe {
            return String::new();
        }
        if as_json {
            let error = json!({
                "kind": self.kind.word(),
                "message": self.message,
                "details": self.details,
                "hint": self.hint,
                "exit_status": self.exit_status.code(),
            });
            return format!("{}\n", json!({ "error": error }));
        }
        let mut text = format!("error: {}\n", self.message);
        for detail in &self.details {
            let _ = writeln!(text, "  - {detail}");
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "  hint: {hint}");
        }
        text
    }
}

/// An error and its causes in one line. A cause that its parent's text already holds is left out.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            let _ = write!(text, ": {words}");
        }
        cause = error.source();
    }
    text
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Refused { error: refusal, .. } => {
                let kind = match refusal.code.as_str() {
                    "not_found" | "conflict" | "forbidden" | "refused" => Kind::User,
                    "invalid" => Kind::Config,
                    "unavailable" => Kind::Remote,
                    _ => Kind::Bug,
                };
                let folded = Self::caused(kind, &error);
                match &refusal.hint {
                    Some(hint) => folded.with_hint(hint),
                    None => folded,
                }
            }
            ClientError::Unreachable { .. } => Self::caused(Kind::Remote, &error)
                .with_hint("`raptor agent status` tells whether the agent runs"),
            ClientError::TimedOut { .. } | ClientError::BrokenOff { .. } => {
                Self::caused(Kind::Remote, &error).with_hint(
                    "repeating is safe; the agent's log is `agent/agent.log` in its home",
                )
            }
            ClientError::Malformed { .. } => Self::caused(Kind::Remote, &error).with_hint(
                "the agent's build may differ: compare `raptor version` with `raptor members`",
            ),
        }
    }
}

/// Failures of standard output and input; files are folded with [`CliError::file`].
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => {
                Self::new(Kind::ClosedPipe, String::new(), ExitStatus::DONE)
            }
            _ => Self::user(format!("cannot write the output: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::agent::api::ApiError;

    fn refused(code: &str) -> CliError {
        let error = ApiError {
            code: code.to_owned(),
            message: "no member web-9".to_owned(),
            hint: Some("`raptor members` lists them".to_owned()),
        };
        ClientError::Refused { status: 404, error }.into()
    }

    #[test]
    fn refusals_are_folded_by_their_code() {
        for (code, kind) in [
            ("not_found", Kind::User),
            ("invalid", Kind::Config),
            ("unavailable", Kind::Remote),
            ("bug", Kind::Bug),
            ("some_later_word", Kind::Bug),
        ] {
            assert_eq!(refused(code).kind(), kind, "{code}");
        }
        let text = "error: no member web-9\n  hint: `raptor members` lists them\n";
        assert_eq!(refused("not_found").render(false), text);
    }

    #[test]
    fn json_is_one_line_with_stable_keys() {
        let text = CliError::remote("dead").with_detail("a: refused").render(true);
        assert_eq!(
            text,
            "{\"error\":{\"details\":[\"a: refused\"],\"exit_status\":1,\"hint\":null,\
             \"kind\":\"remote\",\"message\":\"dead\"}}\n"
        );
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        let error = CliError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((error.exit_status(), error.render(false)), (ExitStatus::DONE, String::new()));
    }

    #[test]
    fn causes_follow_in_one_line_and_are_not_repeated() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot start web-1")]
        struct Outer(#[source] io::Error);
        let error = Outer(io::Error::other("no space left"));
        assert_eq!(with_causes(&error), "cannot start web-1: no space left");

        let error = ClientError::Unreachable { socket: PathBuf::from("/x"), why: "gone".into() };
        let error = CliError::from(error);
        assert!(error.render(false).starts_with("error: no agent answers at /x: gone\n"));
    }
}

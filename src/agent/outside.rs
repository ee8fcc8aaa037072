//! Programs of users, outside the agent's own confinement: where systemd confines the agent, it
//! starts them as units of their own, which are bound by nothing that binds the agent.

use std::path::Path;
use std::process::Stdio;

use data_encoding::HEXLOWER;
use rustix::process::Signal;
use tokio::process::Command;
use tokio::runtime::Handle;

use crate::agent::clock;

/// Set to [`SYSTEMD`] by the agent's unit: see `provision::service`.
pub const RUN_THROUGH: &str = "RAPTOR_RUN_THROUGH";

/// The value of [`RUN_THROUGH`] where systemd starts users' programs.
pub const SYSTEMD: &str = "systemd";

/// What a program reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel<'a> {
    Pipes,
    /// A terminal, by the caller's `TERM`.
    Terminal(&'a str),
}

/// A shell around the program that counts its death by a signal as shells do; systemd-run tells no
/// number. What the shell itself says of it goes nowhere.
const COUNTING: &str = r#"{ (exec 2>&3 3>&-; exec "$@"); exit $?; } 3>&2 2>/dev/null"#;

/// A program as it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outside {
    /// The command that starts it and lives as long as it does.
    pub(super) argv: Vec<String>,
    /// The unit it runs in; none where it runs as the agent's own child.
    pub(super) unit: Option<String>,
}

/// How `argv` is started here.
///
/// # Errors
/// There is no such program.
pub(super) fn program(argv: &[String], channel: Channel<'_>) -> std::io::Result<Outside> {
    let is_confined = std::env::var_os(RUN_THROUGH).is_some_and(|through| through == SYSTEMD);
    if !is_confined {
        return Ok(Outside { argv: argv.to_vec(), unit: None });
    }
    if argv.first().is_some_and(|program| !is_there(program)) {
        return Err(std::io::ErrorKind::NotFound.into());
    }
    let number = clock::random::<8>().map_err(std::io::Error::other)?;
    let unit = format!("raptor-run-{}.service", HEXLOWER.encode(&number));
    Ok(Outside { argv: through_systemd(argv, channel, &unit), unit: Some(unit) })
}

/// A name without a folder can be looked for; a path may be one that only the program will see.
fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    program.contains('/')
        || std::env::split_paths(&path).any(|folder| folder.join(Path::new(program)).is_file())
}

fn through_systemd(argv: &[String], channel: Channel<'_>, unit: &str) -> Vec<String> {
    let mut words: Vec<String> = [
        "systemd-run",
        "--quiet",
        "--collect",
        "--wait",
        "--service-type=exec",
        // The default one, the command line, would stand in the journal.
        "--description=a program run by raptor",
        // What it leaves running in the background was meant to stay.
        "--property=KillMode=process",
    ]
    .map(str::to_owned)
    .to_vec();
    words.push(format!("--unit={unit}"));
    match channel {
        Channel::Pipes => words.push("--pipe".to_owned()),
        Channel::Terminal(term) => {
            words.extend(["--pty".to_owned(), format!("--setenv=TERM={term}")]);
        }
    }
    words.push("--".to_owned());
    if channel == Channel::Pipes {
        words.extend(["/bin/sh", "-c", COUNTING, "sh"].map(|word| word.replace('$', "$$")));
    }
    if let Some((program, arguments)) = argv.split_first() {
        words.push(program.clone());
        // systemd puts variables of its own in the place of `$NAME`, and `$` in that of `$$`.
        words.extend(arguments.iter().map(|argument| argument.replace('$', "$$")));
    }
    words
}

/// Sends a signal to everything in a unit, without waiting for it.
pub(super) fn signal(unit: &str, signal: Signal) {
    // Outside the runtime the agent is ending, and nobody could wait for the answer.
    let Ok(runtime) = Handle::try_current() else { return };
    let mut command = Command::new("systemctl");
    command
        .args(["kill", "--quiet", &format!("--signal={}", signal.as_raw()), "--", unit])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    runtime.spawn(async move {
        // A unit that is gone needs no signal.
        let _ = command.status().await;
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_its_own_unit_keeps_its_words_and_stays_out_of_the_journal() {
        let argv = ["sh", "-c", "echo $HOME $$"].map(str::to_owned);
        let words = through_systemd(&argv, Channel::Pipes, "u.service");
        let sent = ["sh", "sh", "-c", "echo $$HOME $$$$"].map(str::to_owned);
        assert!(words.ends_with(&sent), "{words:?}");
        assert!(words.contains(&"--pipe".to_owned()));
        assert!(words.iter().any(|word| word.starts_with("--description=")));
        let words = through_systemd(&argv, Channel::Terminal("xterm"), "u.service");
        assert!(
            words.contains(&"--setenv=TERM=xterm".to_owned())
                && !words.contains(&"--pipe".to_owned())
        );
    }

    #[test]
    fn names_are_looked_for_and_paths_are_not() {
        assert!(is_there("sh") && is_there("/tmp/only/it/sees/this"));
        assert!(!is_there("no-such-program-anywhere"));
    }

    #[test]
    fn an_agent_that_is_not_confined_starts_programs_itself() {
        let argv = ["no-such-program-anywhere".to_owned()];
        let outside = program(&argv, Channel::Pipes).unwrap();
        assert_eq!(outside, Outside { argv: argv.to_vec(), unit: None });
    }
}

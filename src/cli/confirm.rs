//! Questions before something is taken away.

use std::io::{BufRead, IsTerminal, Write};

use crate::cli::error::CliError;
use crate::cli::invocation::Invocation;

/// Asks `question` on the terminal, unless `--yes` answers it. Ctrl-C is an answer, too.
///
/// # Errors
/// Declined, interrupted, or nobody is there to be asked.
pub async fn confirm(invocation: &Invocation, question: &str) -> Result<(), CliError> {
    if invocation.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(CliError::user(format!("{question}? Nobody is there to say yes"))
            .with_hint("add --yes, or set RAPTOR_YES=1"));
    }
    let question = question.to_owned();
    // The terminal is read beside the runtime, which hears Ctrl-C meanwhile.
    let answer = tokio::task::spawn_blocking(move || {
        ask(&question, &mut std::io::stdin().lock(), &mut std::io::stderr())
    });
    tokio::select! {
        answer = answer => {
            answer.map_err(|error| CliError::bug(format!("asking was broken off: {error}")))?
        }
        _ = tokio::signal::ctrl_c() => Err(CliError::interrupted()),
    }
}

fn ask(question: &str, input: &mut impl BufRead, output: &mut impl Write) -> Result<(), CliError> {
    write!(output, "{question}? [y/N] ")?;
    output.flush()?;
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(CliError::declined()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, sure) in [("y\n", true), ("YES\n", true), ("\n", false), ("", false)] {
            let mut shown = Vec::new();
            let result = ask("destroy 3 machines", &mut answer.as_bytes(), &mut shown);
            assert_eq!(result.is_ok(), sure, "{answer:?}");
            assert_eq!(shown, b"destroy 3 machines? [y/N] ");
        }
    }
}

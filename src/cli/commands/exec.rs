//! `raptor exec`

use std::io::Write;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::agent::api::ExecRequest;
use crate::cli::connection;
use crate::cli::connection::Connection;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::cli::output::duration;
use crate::cli::output::exec::ExecPrinter;
use crate::cli::output::exec::Printed;
use crate::model::label::Selector;
use crate::model::member::Status;
use crate::ssh::quote::quote_all;

/// Run a program on all members, or on some
///
/// Each line of output stands behind the name of its member. One argument alone that holds blanks is
/// a line for each member's `sh`; otherwise no shell is between. Members that have failed are
/// left out unless they are named. The exit status is 3 where any run failed.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor exec -- uname -a
  raptor exec 'cat /etc/*release'
  raptor exec --on zone=home,status=alive 'df -h | tail -1'
  raptor exec --on web-1,web-2 --timeout 30s -o json -- uptime")]
pub struct ExecArguments {
    /// Which members: NAME, KEY=VALUE or KEY!=VALUE, joined by commas [default: all]
    #[arg(long, value_name = "SELECTOR")]
    pub on: Option<Selector>,

    /// How long each run may take
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration::parse)]
    pub timeout: Duration,

    /// The program and its arguments
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true,
        value_name = "CMD"
    )]
    pub argv: Vec<String>,
}

/// What is run for `argv`: a line alone is the shell's.
fn in_shell(argv: Vec<String>) -> Vec<String> {
    match argv.as_slice() {
        [line] if line.trim().contains([' ', '\t', '\n']) => {
            ["sh", "-c", line].map(str::to_owned).to_vec()
        }
        _ => argv,
    }
}

/// Runs, printing as the output comes.
///
/// # Errors
/// No agent answers, no member is meant, or the agent went away.
pub async fn run(
    invocation: &Invocation,
    arguments: ExecArguments,
) -> Result<ExitStatus, CliError> {
    let on = arguments.on.unwrap_or_default();
    let timeout_ms = u64::try_from(arguments.timeout.as_millis())
        .map_err(|_| CliError::usage("--timeout is too long"))?;
    let argv = in_shell(arguments.argv);
    let connection = connection::open(invocation).await?;
    if invocation.dry_run {
        let place = if on.is_empty() { "all members".to_owned() } else { on.to_string() };
        let text = format!("run on {place}: {}\n", quote_all(&argv));
        invocation.print_plan(&text, &json!({ "on": on, "argv": argv }))?;
        return Ok(ExitStatus::DONE);
    }
    let request = ExecRequest { on: on.clone(), argv, timeout_ms };
    let mut events = connection.client.exec(&request).await?;
    let mut printer = ExecPrinter::new(invocation.format.is_json());
    loop {
        match events.next().await {
            Ok(Some(event)) => write(&printer.handle(event))?,
            Ok(None) => break,
            Err(error) => {
                // What was told so far is not lost: each member is accounted for first.
                write(&printer.end())?;
                return Err(error.into());
            }
        }
    }
    if printer.is_empty() {
        return Err(CliError::user(format!("no member is meant by {on:?}", on = on.to_string()))
            .with_hint("`raptor members` lists them"));
    }
    write(&printer.end())?;
    if on.is_empty() {
        tell_left_out(invocation, &connection).await;
    }
    Ok(printer.exit_status())
}

/// Nothing is run on members that have failed, unless they are named: who meant all hears of them.
async fn tell_left_out(invocation: &Invocation, connection: &Connection) {
    let members = connection.client.members().await.unwrap_or_default();
    let failed = members.iter().filter(|member| member.status == Status::Failed);
    let names: Vec<&str> = failed.map(|member| member.name.as_str()).collect();
    if !names.is_empty() {
        invocation.note(&format!("left out, for they have failed: {}", names.join(", ")));
    }
}

fn write(printed: &Printed) -> Result<(), CliError> {
    std::io::stderr().lock().write_all(&printed.stderr)?;
    if !printed.stdout.is_empty() {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(&printed.stdout)?;
        stdout.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_argument_with_blanks_is_a_line_for_the_shell() {
        let run = |argv: &[&str]| in_shell(argv.iter().map(|word| (*word).to_owned()).collect());
        assert_eq!(run(&["cat /etc/*release"]), ["sh", "-c", "cat /etc/*release"]);
        assert_eq!(run(&["uptime"]), ["uptime"]);
        assert_eq!(run(&["/opt/a b/c", "d e"]), ["/opt/a b/c", "d e"]);
    }
}

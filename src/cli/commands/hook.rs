//! `raptor hook`

use std::io::IsTerminal;
use std::io::Read;

use clap::Args;
use serde_json::Value;
use serde_json::json;

use crate::agent::hooks;
use crate::agent::hooks::HookOutcome;
use crate::agent::hooks::HookRun;
use crate::cli::commands::config::Sources;
use crate::cli::configuration;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::cli::output::print;
use crate::cli::output::print_json;
use crate::cli::output::tell;
use crate::config::error::nearest;
use crate::config::home::Home;
use crate::model::hook::Event;
use crate::model::hook::Hook;

/// Longest payload that is read.
const PAYLOAD_SIZE_MAX: u64 = 16 * 1024 * 1024;

/// Run hooks here and now: one by its name, or all of an event
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor config set hooks.tell '{\"event\": \"cluster_change\", \"command\": \"cat >>/tmp/changes\"}'
  raptor hook tell
  raptor hook cluster_change
  echo '{\"event\": \"after_mesh\"}' | raptor hook after_mesh")]
pub struct HookArguments {
    /// A hook's name, or an event's: `after_start_instance`, `after_slave`, `after_mesh`,
    /// `after_assimilate`, `cluster_change`
    pub name: String,
}

/// Runs them, with what is on standard input as what has happened.
///
/// # Errors
/// There is no hook and no event of that name.
pub async fn run(
    invocation: &Invocation,
    arguments: &HookArguments,
) -> Result<ExitStatus, CliError> {
    let document = Sources::open(invocation).await?.document;
    let all = configuration::loaded(invocation, document.as_ref())?.config.hooks;
    let name = arguments.name.as_str();
    let event = Event::ALL.into_iter().find(|event| event.name() == name);
    if event.is_none() && !all.contains_key(name) {
        let names = all.keys().map(String::as_str).chain(Event::ALL.map(Event::name));
        let error = CliError::user(format!("there is no hook and no event named {name}"));
        return Err(match nearest(name, names) {
            Some(nearest) => error.with_hint(format!("did you mean {nearest}?")),
            None => error,
        });
    }
    let meant = |(hook, it): &(&String, &Hook)| *hook == name || Some(it.event) == event;
    let chosen: Vec<_> = all.iter().filter(meant).collect();
    if invocation.dry_run {
        let line = |(name, hook): &(&String, &Hook)| format!("{name}: {}\n", hook.command);
        let row = |(name, hook): &(&String, &Hook)| {
            json!({"hook": name, "event": hook.event, "predicate": hook.predicate,
                "command": hook.command})
        };
        let rows: Vec<Value> = chosen.iter().map(row).collect();
        invocation.print_plan(&chosen.iter().map(line).collect::<String>(), &rows)?;
        return Ok(ExitStatus::DONE);
    }
    let given = payload()?;
    let home = Home::new(&invocation.home);
    let mut runs = Vec::new();
    for (name, hook) in chosen {
        let payload = given.clone().unwrap_or_else(|| json!({"event": hook.event}));
        runs.push(hooks::run(name, hook, &payload, &home).await);
    }
    if invocation.format.is_json() {
        print_json(&runs)?;
    } else {
        for run in &runs {
            match &run.outcome {
                HookOutcome::Skipped => print(&format!("{}{}: skipped\n", run.output, run.hook))?,
                HookOutcome::Done => print(&format!("{}{}: done\n", run.output, run.hook))?,
                HookOutcome::Failed { why } => {
                    print(&run.output)?;
                    tell(&format!("error: hook {}: {why}", run.hook));
                }
            }
        }
    }
    Ok(exit_status(&runs))
}

fn exit_status(runs: &[HookRun]) -> ExitStatus {
    let has_failed = |run: &&HookRun| matches!(run.outcome, HookOutcome::Failed { .. });
    match runs.iter().filter(has_failed).count() {
        0 => ExitStatus::DONE,
        all if all == runs.len() => ExitStatus::FAILED,
        _ => ExitStatus::PARTIAL,
    }
}

/// What has happened, by whoever calls; none from a terminal or when nothing is given.
fn payload() -> Result<Option<Value>, CliError> {
    let input = std::io::stdin();
    if input.is_terminal() {
        return Ok(None);
    }
    let mut text = String::new();
    let read = input.lock().take(PAYLOAD_SIZE_MAX).read_to_string(&mut text);
    read.map_err(|error| CliError::user(format!("standard input cannot be read: {error}")))?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    let value = serde_json::from_str(&text);
    value.map(Some).map_err(|error| CliError::user(format!("standard input is no JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_of_one_is_a_failure_and_of_several_a_part() {
        let run = |failed: bool| {
            let failure = HookOutcome::Failed { why: "no".to_owned() };
            let outcome = if failed { failure } else { HookOutcome::Done };
            HookRun { hook: "it".to_owned(), outcome, output: String::new() }
        };
        assert_eq!(exit_status(&[run(true)]), ExitStatus::FAILED);
        assert_eq!(exit_status(&[run(true), run(false)]), ExitStatus::PARTIAL);
        assert_eq!(exit_status(&[run(false)]), ExitStatus::DONE);
    }
}

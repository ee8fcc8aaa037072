//! `raptor hook`

use std::io::IsTerminal;
use std::io::Read;

use clap::Args;
use serde_json::Value;
use serde_json::json;

use crate::agent::hooks;
use crate::agent::hooks::HookOutcome;
use crate::cli::commands::config::Sources;
use crate::cli::configuration;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::cli::output::print;
use crate::cli::output::print_json;
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
        for (name, hook) in chosen {
            print(&format!("{name}: {}\n", hook.command))?;
        }
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
            let became = match &run.outcome {
                HookOutcome::Skipped => "skipped",
                HookOutcome::Done => "done",
                HookOutcome::Failed { why } => why,
            };
            print(&format!("{}{}: {became}\n", run.output, run.hook))?;
        }
    }
    let has_failed = |run: &hooks::HookRun| matches!(run.outcome, HookOutcome::Failed { .. });
    Ok(if runs.iter().any(has_failed) { ExitStatus::PARTIAL } else { ExitStatus::DONE })
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

//! Running hooks: the predicate, then the command, with what has happened on standard input.

use std::fs::File;
use std::io::Seek;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use serde_json::json;
use tokio::sync::mpsc;

use crate::agent::process;
use crate::agent::process::EVENT_QUEUE;
use crate::agent::process::ProcessEvent;
use crate::config::home::Home;
use crate::model::hook::Event;
use crate::model::hook::Hook;
use crate::model::hook::Hooks;
use crate::model::machine::IntentId;
use crate::model::machine::MachineRecord;

/// What is kept of a command's words, from their beginning.
const OUTPUT_LENGTH_MAX: usize = 64 * 1024;

/// What became of a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum HookOutcome {
    /// Its predicate said no.
    Skipped,
    /// Its command ended well.
    Done,
    /// Its predicate or its command could not run, took too long, or its command ended badly.
    Failed {
        /// Why.
        why: String,
    },
}

/// One run of a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HookRun {
    /// The hook.
    pub hook: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: HookOutcome,
    /// What its command wrote, both ways.
    pub output: String,
}

/// A machine as hooks are told of it: what it is, and how it is reached.
#[must_use]
pub fn machine(intent: IntentId, record: &MachineRecord) -> Value {
    json!({
        "intent": intent,
        "name": record.name,
        "compute_type": record.compute_type,
        "server_type": record.server_type,
        "labels": record.labels,
        "node": record.node,
        "address": record.node.map(|node| node.address()),
        "access": record.access,
    })
}

/// Runs those of `hooks` that are for `event`, one after the other, with `payload` on standard
/// input. `home` is what `raptor` finds there.
pub async fn run_all(hooks: &Hooks, event: Event, payload: &Value, home: &Home) -> Vec<HookRun> {
    let mut runs = Vec::new();
    for (name, hook) in hooks.iter().filter(|(_, hook)| hook.event == event) {
        let run = run(name, hook, payload, home).await;
        let output = run.output.trim();
        match &run.outcome {
            HookOutcome::Skipped => tracing::debug!(hook = name, "its predicate says no"),
            HookOutcome::Done => tracing::info!(hook = name, output, "hook done"),
            HookOutcome::Failed { why } => tracing::warn!(hook = name, why, output, "hook failed"),
        }
        runs.push(run);
    }
    runs
}

/// Runs one hook; whoever asks tells what became of it.
pub async fn run(name: &str, hook: &Hook, payload: &Value, home: &Home) -> HookRun {
    let mut output = String::new();
    let outcome = carry_out(hook, payload, home, &mut output).await;
    HookRun { hook: name.to_owned(), outcome, output }
}

async fn carry_out(hook: &Hook, payload: &Value, home: &Home, output: &mut String) -> HookOutcome {
    if !hook.predicate.is_empty() {
        match shell(&hook.predicate, hook.timeout(), payload, home).await {
            Ok((0, _)) => {}
            Ok(_) => return HookOutcome::Skipped,
            Err(why) => return HookOutcome::Failed { why: format!("its predicate: {why}") },
        }
    }
    match shell(&hook.command, hook.timeout(), payload, home).await {
        Ok((status, words)) => {
            *output = words;
            let why = format!("it ended with exit status {status}");
            if status == 0 { HookOutcome::Done } else { HookOutcome::Failed { why } }
        }
        Err(why) => HookOutcome::Failed { why },
    }
}

/// Exit status and words of a command line of the user's.
async fn shell(
    text: &str,
    limit: Duration,
    payload: &Value,
    home: &Home,
) -> Result<(i32, String), String> {
    let input = input(payload).map_err(|error| format!("cannot hand it what happened: {error}"))?;
    let home = format!("RAPTOR_HOME={}", home.root().display());
    let argv = ["env", home.as_str(), "sh", "-c", text].map(str::to_owned);
    let (sender, mut events) = mpsc::channel(EVENT_QUEUE);
    let mut words = Vec::new();
    let mut ended = Err("it never ran".to_owned());
    let listen = async {
        while let Some(event) = events.recv().await {
            match event {
                ProcessEvent::Started => {}
                ProcessEvent::Output(_, bytes) => {
                    let room = OUTPUT_LENGTH_MAX.saturating_sub(words.len());
                    words.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                ProcessEvent::Exited(status) => ended = Ok(status),
                ProcessEvent::Failed(why) => ended = Err(why),
            }
        }
    };
    tokio::join!(process::run_with(&argv, Stdio::from(input), limit, sender), listen);
    ended.map(|status| (status, String::from_utf8_lossy(&words).into_owned()))
}

/// A file in memory: a command that does not read it is no reason to wait.
fn input(payload: &Value) -> std::io::Result<File> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::memfd_create("raptor-hook", flags)?);
    serde_json::to_writer(&file, payload)?;
    file.write_all(b"\n")?;
    file.rewind()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn outcome(predicate: &str, command: &str, timeout_ms: u64) -> HookRun {
        let (predicate, command) = (predicate.to_owned(), command.to_owned());
        let hook = Hook { predicate, command, timeout_ms, ..Hook::default() };
        run("it", &hook, &json!({"event": "cluster_change"}), &Home::new("/h")).await
    }

    #[tokio::test]
    async fn a_command_reads_what_happened_and_finds_its_raptor() {
        let run = outcome("grep -q cluster_change", "cat; echo \"$RAPTOR_HOME\"", 60_000).await;
        assert_eq!(run.outcome, HookOutcome::Done);
        assert_eq!(run.output, "{\"event\":\"cluster_change\"}\n/h\n");
        // It need not read.
        assert_eq!(outcome("", "true", 60_000).await.outcome, HookOutcome::Done);
    }

    #[tokio::test]
    async fn a_predicate_decides_and_failures_are_told() {
        assert_eq!(outcome("false", "echo never", 60_000).await.outcome, HookOutcome::Skipped);
        let failed = outcome("", "echo said; exit 3", 60_000).await;
        let why = "it ended with exit status 3".to_owned();
        assert_eq!(
            (failed.outcome, failed.output.as_str()),
            (HookOutcome::Failed { why }, "said\n")
        );
        let HookOutcome::Failed { why } = outcome("", "sleep 600", 50).await.outcome else {
            panic!("it outlives its time");
        };
        assert!(why.contains("did not end within 50ms"), "{why}");
        let HookOutcome::Failed { why } = outcome("sleep 600", "true", 50).await.outcome else {
            panic!("its predicate outlives its time");
        };
        assert!(why.starts_with("its predicate: "), "{why}");
    }

    #[tokio::test]
    async fn only_the_hooks_of_an_event_run() {
        let hook = |event| Hook { event, command: "true".to_owned(), ..Hook::default() };
        let hooks = Hooks::from([
            ("a".to_owned(), hook(Event::AfterMesh)),
            ("b".to_owned(), hook(Event::ClusterChange)),
        ]);
        let runs = run_all(&hooks, Event::AfterMesh, &json!({}), &Home::new("/h")).await;
        assert_eq!(runs.into_iter().map(|run| run.hook).collect::<Vec<_>>(), ["a"]);
    }
}

//! Telling hooks of machines that a person got: they run here, where that was done from.

use serde_json::json;

use crate::agent::hooks;
use crate::agent::hooks::HookOutcome;
use crate::agent::perform::job::Outcome;
use crate::cli::invocation::Invocation;
use crate::config::home::Home;
use crate::model::hook::Event;
use crate::model::hook::Hooks;

/// Has the hooks run for every machine that was made or taken over. One that fails is noted.
pub(super) async fn tell(invocation: &Invocation, all: &Hooks, outcomes: &[Outcome]) {
    let home = Home::new(&invocation.home);
    for outcome in outcomes.iter().filter(|outcome| outcome.failure.is_none()) {
        for event in [Event::AfterStartInstance, Event::AfterSlave, Event::AfterAssimilate] {
            let happened = match event {
                Event::AfterStartInstance => !outcome.is_adopted,
                Event::AfterAssimilate => outcome.node.is_some(),
                _ => true,
            };
            if !happened {
                continue;
            }
            let payload = json!({"event": event, "machine": {
                "name": outcome.machine, "intent": outcome.intent, "node": outcome.node}});
            for run in hooks::run_all(all, event, &payload, &home).await {
                if let HookOutcome::Failed { why } = run.outcome {
                    invocation.note(&format!("hook {}: {why}", run.hook));
                }
            }
        }
    }
}

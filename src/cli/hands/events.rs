//! Telling hooks of machines that a person got: they run here, where that was done from.

use serde_json::json;

use crate::agent::hooks;
use crate::agent::hooks::HookOutcome;
use crate::agent::perform::job::Outcome;
use crate::cli::invocation::Invocation;
use crate::config::home::Home;
use crate::model::hook::Event;
use crate::model::hook::Hooks;
use crate::model::machine::MachineRecord;
use crate::model::machine::MachineRecords;
use crate::model::member::Member;
use crate::model::name::Name;

/// Has the hooks run for every machine that was made or taken over, with the `members` as they are
/// after it. `wished` says what each was to be. A hook that fails is noted.
pub(super) async fn tell(
    invocation: &Invocation,
    all: &Hooks,
    wished: &MachineRecords,
    outcomes: &[Outcome],
    members: Option<&[Member]>,
) {
    let home = Home::new(&invocation.home);
    for outcome in outcomes.iter().filter(|outcome| outcome.failure.is_none()) {
        let made = outcome.intent.and_then(|intent| Some((intent, wished.get(&intent)?)));
        let machine =
            made.map(|(intent, record)| hooks::machine(intent, &as_it_is(record, outcome)));
        for event in [Event::AfterStartInstance, Event::AfterSlave, Event::AfterAssimilate] {
            let happened = match event {
                Event::AfterStartInstance => !outcome.is_adopted,
                Event::AfterAssimilate => outcome.node.is_some(),
                _ => true,
            };
            if !happened {
                continue;
            }
            // Who tells is no member.
            let payload =
                json!({"event": event, "node": null, "machine": machine, "members": members});
            for run in hooks::run_all(all, event, &payload, &home).await {
                if let HookOutcome::Failed { why } = run.outcome {
                    invocation.note(&format!("hook {}: {why}", run.hook));
                }
            }
        }
    }
}

/// A record with what became of the machine: the name the cluster gave it, its key, the way to it.
fn as_it_is(record: &MachineRecord, outcome: &Outcome) -> MachineRecord {
    let name = outcome.machine.parse::<Name>().unwrap_or_else(|_| record.name.clone());
    let (node, access) = (outcome.node, outcome.access.clone());
    MachineRecord { name, access, node, ..record.clone() }
}

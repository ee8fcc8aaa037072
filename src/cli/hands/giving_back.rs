//! `destroy` of machines that were taken over: raptor goes off them, through SSH.

use futures_util::StreamExt;

use crate::agent::error::chain;
use crate::agent::perform::job::Outcome;
use crate::agent::perform::settings::Performer;
use crate::cli::hands::RETIRE_CONCURRENT;
use crate::model::action::Action;
use crate::model::action::Plan;
use crate::model::machine::Access;
use crate::model::machine::IntentId;
use crate::model::machine::MachineRecord;
use crate::model::machine::MachineRecords;
use crate::provision::layout::Layout;
use crate::provision::uninstall;
use crate::ssh::host::Host;
use crate::ssh::host::Script;
use crate::ssh::openssh::OpenSshHost;

/// Takes raptor off the machines of `plan` that are members no more and that no back-end made. What
/// cannot be done is added to the machine's summary: it is out of the cluster all the same.
pub async fn take_off(
    performer: &Performer,
    plan: &Plan,
    records: &MachineRecords,
    outcomes: &mut [Outcome],
) {
    let leaving = outcomes.iter_mut().filter(|it| it.is_adopted && it.failure.is_none());
    let work = leaving.map(|outcome| async move {
        let name = outcome.machine.clone();
        performer.progress().stage(&name, "taking raptor off it");
        let record = wish(plan, &name).and_then(|intent| Some((intent, records.get(&intent)?)));
        match take_off_one(performer, record).await {
            Ok(()) => "evicted, raptor taken off it".clone_into(&mut outcome.summary),
            Err(why) => {
                outcome.summary =
                    format!("evicted, but raptor is still on it ({why}); there: `raptor clean`");
            }
        }
        performer.progress().done(&name, &outcome.summary);
    });
    futures_util::stream::iter(work).buffer_unordered(RETIRE_CONCURRENT).collect::<()>().await;
}

/// The wish behind a machine that was taken over.
fn wish(plan: &Plan, machine: &str) -> Option<IntentId> {
    plan.steps.iter().find_map(|step| match &step.action {
        Action::Forget { intent, name } if name.as_str() == machine => Some(*intent),
        _ => None,
    })
}

async fn take_off_one(
    performer: &Performer,
    record: Option<(IntentId, &MachineRecord)>,
) -> Result<(), String> {
    let Some((intent, record)) = record else {
        return Err("it joined by itself: no way to it through SSH is known".to_owned());
    };
    let Some(Access::Ssh { destination, via, identity_file, host_keys }) = &record.access else {
        return Err("no way to it through SSH is known".to_owned());
    };
    let title = record.name.to_string();
    let mut target = performer.adopted_login(title, intent, destination, via.as_ref(), host_keys);
    target.identity_file = identity_file.clone().or(target.identity_file);
    let host = OpenSshHost::connect(target).await.map_err(|error| chain(&error.cause))?;
    let script = uninstall::uninstall_script(&Layout::default());
    let mut script = Script::new("taking raptor off", script);
    script.sudo = !destination.is_root();
    let output = host.script(script).await.map_err(|error| chain(&error.cause))?;
    match uninstall::left(&output.stdout) {
        Some(left) if left.is_empty() => Ok(()),
        Some(left) => Err(format!("could not remove {}", left.join(", "))),
        None => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

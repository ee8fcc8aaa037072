//! Work on machines: the request, its plan, its outcome. The same plan is printed by `--dry-run`
//! and performed.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::agent::lock;
use crate::agent::lock::StateLock;
use crate::agent::perform::job::INTERRUPTED;
use crate::cli::confirm::confirm;
use crate::cli::connection;
use crate::cli::error::CliError;
use crate::cli::error::Kind;
use crate::cli::exit_status::ExitStatus;
use crate::cli::hands;
use crate::cli::interrupt::Interrupt;
use crate::cli::invocation::Invocation;
use crate::cli::output;
use crate::cli::output::table::printable;
use crate::model::action::Plan;
use crate::model::destination::Destination;
use crate::model::label::Labels;
use crate::model::member::Member;
use crate::model::name::Name;

/// What is asked for.
#[derive(Debug, Clone)]
pub enum Request {
    /// `spawn`.
    Spawn(SpawnRequest),
    /// `slave`.
    Slave(SlaveRequest),
    /// `join`.
    Join(JoinRequest),
    /// `destroy`.
    Destroy(DestroyRequest),
    /// `prune`.
    Prune,
}

/// New machines of a back-end.
#[derive(Debug, Clone)]
pub struct SpawnRequest {
    /// The back-end; none takes the configured one.
    pub compute_type: Option<String>,
    /// What they will be; none takes the configured one.
    pub server_type: Option<String>,
    /// How many.
    pub count: u32,
    /// The name of the only one.
    pub name: Option<Name>,
    /// Their labels.
    pub labels: Labels,
    /// How long they live; none for as long as nobody destroys them.
    pub ttl: Option<Duration>,
    /// Whether provisioning runs.
    pub provision: bool,
    /// Whether they become members.
    pub join: bool,
}

/// Existing machines to take over.
#[derive(Debug, Clone)]
pub struct SlaveRequest {
    /// The machines.
    pub targets: Vec<SlaveTarget>,
    /// The secret key file to offer.
    pub identity_file: Option<PathBuf>,
    /// How many at once.
    pub concurrent: usize,
    /// Whether provisioning runs.
    pub provision: bool,
    /// Whether they become members.
    pub join: bool,
    /// Take machines that belong to another cluster, too.
    pub force: bool,
}

/// One existing machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlaveTarget {
    /// Where it is.
    pub destination: Destination,
    /// The host to jump over.
    pub via: Option<Destination>,
    /// What it will be; none takes the configured one.
    pub server_type: Option<String>,
    /// Its name; none keeps its host name.
    pub name: Option<Name>,
    /// Its labels.
    pub labels: Labels,
}

/// How this machine enters a cluster.
#[derive(Debug, Clone)]
pub enum JoinRequest {
    /// A member admits it through SSH.
    Host(Destination),
    /// It shows an invitation.
    Ticket(Zeroizing<String>),
}

/// Machines to give back.
#[derive(Debug, Clone)]
pub struct DestroyRequest {
    /// All of the cluster's.
    pub all: bool,
    /// Names, ids or unique id prefixes.
    pub nodes: Vec<String>,
}

/// What became of one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Its name, or where it is while it has none.
    pub machine: String,
    /// What was done; or, when it failed, at which step.
    pub step: String,
    /// Why it failed; none when it was done.
    pub error: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// Exit status, last lines, what was put back; a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// What was performed.
#[derive(Debug)]
pub struct Performed {
    /// One a machine.
    pub outcomes: Vec<Outcome>,
    /// The members as the cluster named them afterwards, when it was asked: who shows them need not
    /// log in once more.
    pub members: Option<Vec<Member>>,
}

impl From<Vec<Outcome>> for Performed {
    fn from(outcomes: Vec<Outcome>) -> Self {
        Self { outcomes, members: None }
    }
}

/// How a run ended.
#[derive(Debug)]
pub enum Done {
    /// The plan was printed, or there was nothing to do.
    Nothing,
    /// It was performed.
    Performed(Performed),
}

/// Plans, shows, asks where something is taken away, and performs.
///
/// # Errors
/// Planning failed, the user declined, or nothing could be begun.
pub async fn run(
    invocation: &Invocation,
    request: &Request,
    interrupt: Interrupt,
) -> Result<Done, CliError> {
    let _founding = match request {
        Request::Spawn(_) | Request::Slave(_) if !invocation.dry_run => {
            founding_turn(invocation).await?
        }
        _ => None,
    };
    let plan = hands::plan(invocation, request).await?;
    if invocation.dry_run {
        print_plan(invocation, &plan)?;
        return Ok(Done::Nothing);
    }
    if plan.steps.is_empty() {
        invocation.note("nothing to do");
        if invocation.format.is_json() {
            output::print_json(&[(); 0])?;
        }
        return Ok(Done::Nothing);
    }
    if matches!(request, Request::Destroy(_) | Request::Prune) {
        if !invocation.yes {
            output::tell(plan.to_string().trim_end());
        }
        confirm(invocation, &format!("do these {} steps", plan.steps.len())).await?;
    }
    let progress = output::progress::progress(invocation);
    hands::perform(invocation, request, plan, progress, interrupt).await.map(Done::Performed)
}

/// One cluster is founded at a time in a home: who comes second finds that of the first. Where a
/// cluster is known already nobody waits.
async fn founding_turn(invocation: &Invocation) -> Result<Option<StateLock>, CliError> {
    let contexts = connection::read_contexts(invocation)?;
    let wanted = invocation.cluster.as_ref().or(contexts.current.as_ref());
    if invocation.connect.is_some()
        || wanted.is_some_and(|name| contexts.contexts.contains_key(name))
    {
        return Ok(None);
    }
    let home = invocation.home.clone();
    tokio::task::spawn_blocking(move || lock::wait_for_folder(&home))
        .await
        .map_err(|error| CliError::bug(format!("waiting was broken off: {error}")))?
        .map(Some)
        .map_err(|error| CliError::caused(Kind::User, &error))
}

fn print_plan(invocation: &Invocation, plan: &Plan) -> Result<(), CliError> {
    if invocation.format.is_json() {
        return output::print_json(plan);
    }
    if plan.steps.is_empty() {
        invocation.note("nothing to do");
    }
    output::print(&plan.to_string())
}

/// Tells what failed on standard error, prints JSON outcomes, and gives the exit status.
///
/// # Errors
/// Standard output is gone.
pub fn report(invocation: &Invocation, outcomes: &[Outcome]) -> Result<ExitStatus, CliError> {
    if invocation.format.is_json() {
        output::print_json(&outcomes)?;
    } else {
        let (undone, told): (Vec<_>, Vec<_>) =
            outcomes.iter().partition(|outcome| is_undone(outcome));
        told.into_iter().for_each(tell_failure);
        if !undone.is_empty() {
            let names: Vec<_> = undone.iter().map(|outcome| printable(&outcome.machine)).collect();
            output::tell(&format!("interrupted: nothing is left of {}", names.join(", ")));
        }
    }
    Ok(exit_status(outcomes))
}

fn tell_failure(outcome: &Outcome) {
    let Some(error) = &outcome.error else { return };
    let (machine, step) = (printable(&outcome.machine), printable(&outcome.step));
    output::tell(&format!("error: {machine}: {step}: {error}"));
    for detail in &outcome.details {
        output::tell(&format!("  {}", printable(detail)));
    }
    if let Some(hint) = &outcome.hint {
        output::tell(&format!("  hint: {hint}"));
    }
}

/// What a detail that tells of something put back starts with.
pub const UNDONE: &str = "undone: ";

fn is_interrupted(outcome: &Outcome) -> bool {
    outcome.error.is_some() && outcome.step == INTERRUPTED
}

/// Whether Ctrl-C stopped it and all that was begun has been put back.
fn is_undone(outcome: &Outcome) -> bool {
    is_interrupted(outcome) && outcome.details.iter().all(|detail| detail.starts_with(UNDONE))
}

fn exit_status(outcomes: &[Outcome]) -> ExitStatus {
    let failed = outcomes.iter().filter(|outcome| outcome.error.is_some()).count();
    if outcomes.iter().any(is_interrupted) {
        return ExitStatus::INTERRUPTED;
    }
    match failed {
        0 => ExitStatus::DONE,
        all if all == outcomes.len() => ExitStatus::FAILED,
        _ => ExitStatus::PARTIAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(error: Option<&str>) -> Outcome {
        Outcome {
            machine: "web-1".to_owned(),
            step: "copy".to_owned(),
            error: error.map(str::to_owned),
            hint: None,
            details: Vec::new(),
        }
    }

    #[test]
    fn some_failures_are_partial_and_all_are_a_failure() {
        assert_eq!(exit_status(&[]), ExitStatus::DONE);
        assert_eq!(exit_status(&[outcome(None)]), ExitStatus::DONE);
        assert_eq!(exit_status(&[outcome(Some("x"))]), ExitStatus::FAILED);
        assert_eq!(exit_status(&[outcome(None), outcome(Some("x"))]), ExitStatus::PARTIAL);
    }
}

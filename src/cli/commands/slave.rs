//! `raptor slave`

use std::path::PathBuf;

use clap::Args;

use crate::cli::commands::members;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::interrupt::Interrupt;
use crate::cli::inventory;
use crate::cli::invocation::Invocation;
use crate::cli::outfit::OutfitArguments;
use crate::cli::perform;
use crate::cli::perform::Done;
use crate::cli::perform::Request;
use crate::cli::perform::SlaveRequest;
use crate::cli::perform::SlaveTarget;
use crate::model::destination::Destination;
use crate::model::label::Labels;
use crate::model::name::Name;

/// Take existing machines over through SSH
///
/// A machine that is taken over again is repaired, not doubled. Logins, jump hosts and keys of
/// ssh_config hold.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor slave root@10.0.0.7
  raptor slave admin@[2001:db8::7]:2222 other-host -i ~/.ssh/id_ed25519
  raptor slave --via jump.example.org root@10.0.0.7
  raptor slave --inventory hosts.toml --concurrent 32")]
pub struct SlaveArguments {
    /// The machines: [USER@]HOST[:PORT]
    #[arg(value_name = "HOST", required_unless_present = "inventory")]
    pub hosts: Vec<Destination>,

    /// Offer this secret key
    #[arg(short, long, value_name = "KEY")]
    pub identity_file: Option<PathBuf>,

    /// Jump over this host
    #[arg(long, value_name = "HOST")]
    pub via: Option<Destination>,

    /// Read machines from a JSON or TOML file, too
    #[arg(long, value_name = "FILE")]
    pub inventory: Option<PathBuf>,

    /// How many machines at once
    #[arg(
        long,
        value_name = "N",
        default_value_t = 32,
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    pub concurrent: u16,

    /// The name of the machine [default: its host name]
    #[arg(long)]
    pub name: Option<Name>,

    /// What they will be.
    #[command(flatten)]
    pub outfit: OutfitArguments,

    /// Take machines that belong to another cluster, too
    #[arg(long)]
    pub force: bool,
}

/// Slaves, then shows the members.
///
/// # Errors
/// The arguments contradict each other, or nothing could be begun.
pub async fn run(
    invocation: &Invocation,
    arguments: SlaveArguments,
    interrupt: Interrupt,
) -> Result<ExitStatus, CliError> {
    let targets = targets(&arguments)?;
    // It is remembered as the way to the machines, whatever folder the next command runs in.
    let identity_file = arguments.identity_file.as_ref().map(|path| {
        let failed = |error| CliError::file("read", path, &error);
        std::fs::File::open(path).and_then(|_| std::path::absolute(path)).map_err(failed)
    });
    let request = SlaveRequest {
        targets,
        identity_file: identity_file.transpose()?,
        concurrent: arguments.concurrent.into(),
        provision: !arguments.outfit.no_provision,
        join: !arguments.outfit.no_join,
        force: arguments.force,
    };
    match perform::run(invocation, &Request::Slave(request), interrupt).await? {
        Done::Nothing => Ok(ExitStatus::DONE),
        Done::Performed(done) => {
            let status = perform::report(invocation, &done.outcomes)?;
            if !arguments.outfit.no_join {
                members::show_after_change(invocation, status, done.members).await?;
            }
            Ok(status)
        }
    }
}

/// The machines of the command line and of the inventory; options fill what an entry leaves open.
fn targets(arguments: &SlaveArguments) -> Result<Vec<SlaveTarget>, CliError> {
    let labels = arguments.outfit.labels();
    let mut targets: Vec<SlaveTarget> = arguments
        .hosts
        .iter()
        .map(|destination| SlaveTarget {
            destination: destination.clone(),
            via: None,
            server_type: None,
            name: None,
            labels: Labels::new(),
        })
        .collect();
    if let Some(path) = &arguments.inventory {
        targets.extend(inventory::read(path)?);
    }
    if arguments.name.is_some() && targets.len() > 1 {
        return Err(CliError::usage("--name names one machine, and several are given")
            .with_hint("names of several machines stand in an --inventory"));
    }
    for target in &mut targets {
        target.via = target.via.take().or_else(|| arguments.via.clone());
        target.server_type =
            target.server_type.take().or_else(|| arguments.outfit.server_type.clone());
        target.name = target.name.take().or_else(|| arguments.name.clone());
        for (key, value) in &labels {
            target.labels.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    targets.retain(|target| seen.insert(target.destination.clone()));
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: SlaveArguments,
    }

    fn parse(text: &str) -> SlaveArguments {
        Line::parse_from(text.split_whitespace()).arguments
    }

    #[test]
    fn a_machine_named_twice_is_taken_once_and_options_fill_the_gaps() {
        let targets = targets(&parse("slave a b a --via jump --label zone=home")).unwrap();
        assert_eq!(targets.len(), 2);
        assert!(targets.iter().all(|target| target.via.as_ref().unwrap().host == "jump"));
        assert_eq!(targets[1].labels["zone"], "home");
    }

    #[test]
    fn one_name_is_for_one_machine() {
        let error = targets(&parse("slave a b --name web-1")).unwrap_err();
        assert_eq!(error.exit_status(), ExitStatus::USAGE);
    }
}

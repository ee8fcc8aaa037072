//! `raptor context`

use clap::Subcommand;
use serde_json::{Value, json};

use crate::cli::connection::read_contexts;
use crate::cli::contexts::Contexts;
use crate::cli::error::CliError;
use crate::cli::error::Kind;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::cli::output::print;
use crate::cli::output::print_json;
use crate::cli::output::table::Table;
use crate::model::name::Name;

/// Connections of a cluster that `context ls` shows; `context show` has all.
const SHOWN: usize = 2;

/// The clusters this user knows, and how each is reached
#[derive(Debug, Subcommand)]
#[command(after_long_help = "Examples:
  raptor context ls
  raptor context use lab
  raptor context use lab --connect root@10.0.0.7    another way to reach it, tried first
  raptor context rm lab")]
pub enum ContextCommand {
    /// List them
    #[command(after_long_help = "Examples:
  raptor context ls")]
    Ls,
    /// Mean this cluster when none is named
    #[command(after_long_help = "Examples:
  raptor context use lab
  raptor context use lab --connect root@10.0.0.7    another way to reach it, tried first")]
    Use {
        /// The cluster
        name: Name,
    },
    /// Show one, with the ways to reach it
    #[command(after_long_help = "Examples:
  raptor context show
  raptor context show lab -o json")]
    Show {
        /// The cluster [default: the current one]
        name: Option<Name>,
    },
    /// Forget one; the cluster itself lives on
    #[command(after_long_help = "Examples:
  raptor context rm lab")]
    Rm {
        /// The cluster
        name: Name,
    },
}

/// Runs one of the commands.
///
/// # Errors
/// The cluster is not known, or the file cannot be read or written.
pub fn run(invocation: &Invocation, command: ContextCommand) -> Result<ExitStatus, CliError> {
    let mut contexts = read_contexts(invocation)?;
    if contexts.forget_gone() && !invocation.dry_run {
        contexts.save(&invocation.home).map_err(|error| CliError::caused(Kind::User, &error))?;
    }
    match command {
        ContextCommand::Ls => list(invocation, &contexts)?,
        ContextCommand::Show { name } => {
            let name = name.or_else(|| invocation.cluster.clone()).or(contexts.current.clone());
            let Some(name) = name else {
                return Err(CliError::user("there is no cluster yet")
                    .with_hint("`raptor spawn` founds one"));
            };
            show(invocation, &contexts, &name)?;
        }
        ContextCommand::Use { name } => {
            if let Some(endpoint) = &invocation.connect {
                contexts.remember(&name, None, endpoint);
            }
            if !contexts.contexts.contains_key(&name) {
                return Err(unknown(&name));
            }
            contexts.current = Some(name.clone());
            if invocation.dry_run {
                let plan = json!({ "use": name });
                invocation.print_plan(&format!("use cluster {name}\n"), &plan)?;
            } else {
                save(invocation, &contexts, &json!({ "current": name }))?;
            }
        }
        ContextCommand::Rm { name } => {
            let before = contexts.current.clone();
            if !contexts.remove(&name) {
                return Err(unknown(&name));
            }
            let next = contexts.current.as_ref();
            let switch = match next {
                _ if before.as_ref() == next => None,
                Some(next) => Some(format!("cluster {next} is the current one then")),
                None => Some("no cluster is the current one then".to_owned()),
            };
            if invocation.dry_run {
                let lines = [Some(format!("forget cluster {name}")), switch];
                let text: String = lines.into_iter().flatten().map(|line| line + "\n").collect();
                invocation.print_plan(&text, &json!({ "remove": name, "current": next }))?;
            } else {
                save(invocation, &contexts, &json!({ "removed": name, "current": next }))?;
                if let Some(switch) = switch {
                    invocation.note(switch.trim_end_matches(" then"));
                }
            }
        }
    }
    Ok(ExitStatus::DONE)
}

fn unknown(name: &Name) -> CliError {
    CliError::user(format!("no cluster named {name} is known here"))
        .with_hint("`raptor context ls` lists the known ones")
}

fn save(invocation: &Invocation, contexts: &Contexts, done: &Value) -> Result<(), CliError> {
    contexts.save(&invocation.home).map_err(|error| CliError::caused(Kind::User, &error))?;
    if invocation.format.is_json() { print_json(done) } else { Ok(()) }
}

fn list(invocation: &Invocation, contexts: &Contexts) -> Result<(), CliError> {
    if invocation.format.is_json() {
        return print_json(contexts);
    }
    let mut table = Table::new(["Current", "Cluster", "Connections"]);
    for (name, context) in &contexts.contexts {
        let mark = if contexts.current.as_ref() == Some(name) { "*" } else { "" };
        let ways: Vec<String> = context.connections.iter().map(ToString::to_string).collect();
        let more = match ways.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let shown = ways.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        table.push([mark.to_owned(), name.to_string(), format!("{shown}{more}")]);
    }
    print(&table.render())
}

fn show(invocation: &Invocation, contexts: &Contexts, name: &Name) -> Result<(), CliError> {
    let context = contexts.contexts.get(name).ok_or_else(|| unknown(name))?;
    let id = context.genesis.as_ref().map(crate::model::cluster::Genesis::cluster_id);
    if invocation.format.is_json() {
        return print_json(&json!({
            "name": name,
            "cluster_id": id,
            "genesis": context.genesis,
            "connections": context.connections,
        }));
    }
    let id = id.map_or_else(|| "id unknown".to_owned(), |id| id.to_string());
    let ways: String = context
        .connections
        .iter()
        .flat_map(|way| ["  ".to_owned(), way.to_string(), "\n".to_owned()])
        .collect();
    print(&format!("{name} ({id})\n{ways}"))
}

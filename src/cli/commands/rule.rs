//! `raptor rule`: what must hold about the fleet.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::commands::config::Sources;
use crate::cli::commands::config::write;
use crate::cli::configuration;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::cli::output::duration;
use crate::cli::output::print;
use crate::cli::output::print_json;
use crate::cli::output::table::Table;
use crate::config::change::Change;
use crate::config::path::Path;
use crate::model::label::Selector;
use crate::model::name::Name;
use crate::model::rule::Rule;
use crate::model::rule::Rules;

/// What must hold about the fleet: the members see to it by themselves
#[derive(Debug, Subcommand)]
#[command(after_long_help = "Examples:
  raptor rule add default --min 3 --max 5
  raptor rule add home --select zone=home --min 2 --compute-type docker --compute-type local
  raptor rule add builders --select purpose=build --min 4 --ttl 2h --note 'ends by itself'
  raptor rule ls
  raptor rule rm builders")]
pub enum RuleCommand {
    /// Write a rule; one of that name is replaced
    #[command(after_long_help = "Examples:
  raptor rule add default --min 3 --max 5
  raptor rule add home --select zone=home --min 2 --compute-type docker")]
    Add(Box<AddArguments>),
    /// Show the rules
    #[command(after_long_help = "Examples:
  raptor rule ls")]
    Ls,
    /// Take a rule away; the machines it asked for stay
    #[command(after_long_help = "Examples:
  raptor rule rm builders")]
    Rm {
        /// The rule
        name: Name,
    },
}

/// A rule to write.
#[derive(Debug, Args)]
pub struct AddArguments {
    /// Its name
    pub name: Name,

    /// Which machines count: KEY=VALUE and KEY!=VALUE joined by commas [default: all]
    #[arg(long, value_name = "SELECTOR")]
    pub select: Option<Selector>,

    /// Fewest that must live
    #[arg(long, value_name = "N")]
    pub min: u32,

    /// Most that may live; the youngest go first
    #[arg(long, value_name = "N")]
    pub max: Option<u32>,

    /// Where to get a machine, best first; may be repeated [default: default_compute_type]
    #[arg(long = "compute-type", value_name = "T")]
    pub compute_types: Vec<String>,

    /// Least time between two decisions to get machines
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub cooldown: Option<Duration>,

    /// Most machines that are asked for in an hour
    #[arg(long, value_name = "N")]
    pub spawns_per_hour: Option<u32>,

    /// How long each machine lives
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub ttl: Option<Duration>,

    /// What it costs and who pays, for people
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub note: String,
}

impl From<AddArguments> for Rule {
    fn from(arguments: AddArguments) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let default = Self::default();
        Self {
            select: arguments.select.unwrap_or_default(),
            min: arguments.min,
            max: arguments.max,
            compute_types: arguments.compute_types,
            cooldown_ms: arguments.cooldown.map_or(default.cooldown_ms, millis),
            spawns_per_hour: arguments.spawns_per_hour.unwrap_or(default.spawns_per_hour),
            ttl_ms: arguments.ttl.map(millis),
            note: arguments.note,
        }
    }
}

/// Runs one of the commands.
///
/// # Errors
/// No agent answers, or the rule makes no sense.
pub async fn run(invocation: &Invocation, command: RuleCommand) -> Result<ExitStatus, CliError> {
    let sources = Sources::of_cluster(invocation).await?;
    let rules = configuration::loaded(invocation, sources.document.as_ref())?.config.rules;
    match command {
        RuleCommand::Ls if invocation.format.is_json() => print_json(&rules)?,
        RuleCommand::Ls => print(&table(&rules))?,
        RuleCommand::Add(arguments) => {
            let name = arguments.name.clone();
            let value = json!(Rule::from(*arguments));
            let change = Change::Set { path: path(&name), value: without_nulls(value) };
            write::with(invocation, sources, vec![change], Some(format!("add rule {name}")))
                .await?;
        }
        RuleCommand::Rm { name } => {
            if !rules.contains_key(name.as_str()) {
                let known = rules.keys().map(String::as_str);
                return Err(CliError::unknown("rule", name.as_str(), known, "raptor rule ls"));
            }
            let change = Change::Unset { path: path(&name) };
            write::with(invocation, sources, vec![change], Some(format!("remove rule {name}")))
                .await?;
        }
    }
    Ok(ExitStatus::DONE)
}

/// Where a rule stands in the configuration.
pub(super) fn path(name: &Name) -> Path {
    Path::root().join("rules").join(name.as_str())
}

/// In the configuration a null takes a key away: what is absent is not written.
fn without_nulls(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(map) => {
            map.into_iter().filter(|(_, value)| !value.is_null()).collect()
        }
        other => other,
    }
}

fn table(rules: &Rules) -> String {
    let mut table = Table::new(["Rule", "Select", "Min", "Max", "From", "TTL", "Note"]);
    for (name, rule) in rules {
        let ttl = rule.ttl_ms.map(|ttl| duration::show(Duration::from_millis(ttl)));
        table.push([
            name.clone(),
            rule.select.to_string(),
            rule.min.to_string(),
            rule.max.map(|max| max.to_string()).unwrap_or_default(),
            rule.compute_types.join(","),
            ttl.unwrap_or_default(),
            rule.note.clone(),
        ]);
    }
    table.render()
}

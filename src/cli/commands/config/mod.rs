//! `raptor config`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::configuration;
use crate::cli::configuration::DOCUMENT_KEY;
use crate::cli::configuration::Layer;
use crate::cli::connection;
use crate::cli::connection::Connection;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::cli::output::print;
use crate::cli::output::print_json;
use crate::cli::output::table::Table;
use crate::config::change::Change;
use crate::config::path::Path;

mod difference;
mod edit;
pub(super) mod write;

/// The configuration: what is wanted, on every machine the same
///
/// Layers, later wins: bundled modules, installed modules, mutable_config.json, the replicated
/// document. Changes go into the document; before there is a cluster, into mutable_config.json.
#[derive(Debug, Subcommand)]
#[command(after_long_help = "Examples:
  raptor config show
  raptor config get default_compute_type
  raptor config set default_compute_type '\"docker\"'
  raptor config set mesh '{\"rings\": 4}' --note 'more links'
  raptor config unset mesh.rings
  raptor config edit
  raptor config apply site.json --dry-run")]
pub enum ConfigCommand {
    /// Print the whole configuration as JSON
    #[command(after_long_help = "Examples:
  raptor config show
  raptor config show --layer document")]
    Show(LayerArguments),
    /// Print the value at a path as JSON
    #[command(after_long_help = "Examples:
  raptor config get default_compute_type
  raptor config get mesh")]
    Get {
        /// `a.b.c` or `/a/b/c`
        path: Path,
        /// Which layer.
        #[command(flatten)]
        layer: LayerArguments,
    },
    /// Set the value at a path
    #[command(after_long_help = "Examples:
  raptor config set default_compute_type '\"docker\"'
  raptor config set mesh '{\"rings\": 4}' --note 'more links'")]
    Set {
        /// `a.b.c` or `/a/b/c`
        path: Path,
        /// Any JSON; a text needs its quotes
        #[arg(value_name = "JSON", allow_hyphen_values = true)]
        value: String,
        /// What the log will say.
        #[command(flatten)]
        note: NoteArguments,
    },
    /// Remove the value at a path
    #[command(after_long_help = "Examples:
  raptor config unset mesh.rings")]
    Unset {
        /// `a.b.c` or `/a/b/c`
        path: Path,
        /// What the log will say.
        #[command(flatten)]
        note: NoteArguments,
    },
    /// Change the configuration with $VISUAL or $EDITOR
    #[command(after_long_help = "Examples:
  EDITOR=nano raptor config edit")]
    Edit(NoteArguments),
    /// Merge a file into the configuration; null deletes
    #[command(after_long_help = "Examples:
  raptor config apply site.json --dry-run
  raptor config apply site.json")]
    Apply {
        /// A JSON file
        file: PathBuf,
        /// What the log will say.
        #[command(flatten)]
        note: NoteArguments,
    },
    /// Print what was set here, as a mutable_config.json that `apply` reads
    #[command(after_long_help = "Examples:
  raptor config export > site.json")]
    Export,
    /// Print who changed what, newest first
    #[command(after_long_help = "Examples:
  raptor config log
  raptor config log --limit 5")]
    Log {
        /// How many changes
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u32,
    },
    /// Validate a file, and change nothing
    #[command(after_long_help = "Examples:
  raptor config check
  raptor config check site.json")]
    Check {
        /// A JSON file [default: mutable_config.json]
        file: Option<PathBuf>,
    },
    /// Print the JSON Schema of the configuration
    #[command(after_long_help = "Examples:
  raptor config schema > schema.json")]
    Schema,
}

/// Which layer.
#[derive(Debug, Args)]
pub struct LayerArguments {
    /// All layers merged; what is printed when no layer is named
    #[arg(long, conflicts_with = "layer")]
    effective: bool,

    /// Only this layer
    #[arg(long, value_enum, value_name = "LAYER")]
    layer: Option<Layer>,
}

/// What the log will say.
#[derive(Debug, Args)]
pub struct NoteArguments {
    /// What for, in a few words; kept in the log
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// Runs one of the commands.
///
/// # Errors
/// The configuration is wrong, or the agent refuses.
pub async fn run(invocation: &Invocation, command: ConfigCommand) -> Result<ExitStatus, CliError> {
    match command {
        ConfigCommand::Show(layer) => print_json(&read(invocation, &layer).await?)?,
        ConfigCommand::Get { path, layer } => {
            let tree = read(invocation, &layer).await?;
            let value = path.find(&tree).ok_or_else(|| {
                CliError::user(format!("nothing is set at {path}"))
                    .with_hint("`raptor config show` prints all")
            })?;
            print_json(value)?;
        }
        ConfigCommand::Set { path, value, note } => {
            let value = parse_value(&value)?;
            let change = Change::Set { path, value };
            write::run(invocation, vec![change], note.note).await?;
        }
        ConfigCommand::Unset { path, note } => {
            write::run(invocation, vec![Change::Unset { path }], note.note).await?;
        }
        ConfigCommand::Edit(note) => edit::run(invocation, note.note).await?,
        ConfigCommand::Apply { file, note } => {
            let patch = configuration::check_file(invocation, &file)?;
            let note = note.note.unwrap_or_else(|| format!("apply {}", file.display()));
            write::run(invocation, difference::patch(&patch), Some(note)).await?;
        }
        ConfigCommand::Export => {
            let mut own = Sources::open(invocation).await?;
            print_json(&own.own_layer(invocation)?)?;
        }
        ConfigCommand::Log { limit } => log(invocation, limit).await?,
        ConfigCommand::Check { file } => {
            match file {
                Some(file) => {
                    let checked = configuration::check_file(invocation, &file);
                    checked.map_err(|error| {
                        if file.exists() {
                            return error;
                        }
                        error.with_hint(
                            "without FILE, mutable_config.json of the home folder is checked",
                        )
                    })?;
                }
                None => drop(configuration::load(invocation, None)?),
            }
            if invocation.format.is_json() {
                print_json(&json!({ "sound": true }))?;
            } else {
                invocation.note("the configuration is sound");
            }
        }
        ConfigCommand::Schema => print_json(&configuration::schema())?,
    }
    Ok(ExitStatus::DONE)
}

/// Where the configuration is read from: the cluster's document where there is a cluster.
pub(super) struct Sources {
    pub(super) connection: Option<Connection>,
    pub(super) document: Option<Value>,
}

impl Sources {
    /// Those of the cluster that is meant, if there is one.
    pub(super) async fn open(invocation: &Invocation) -> Result<Self, CliError> {
        let connection = connection::open_if_any(invocation).await?;
        let document = match &connection {
            Some(connection) => Some(connection.client.document().await?),
            None => None,
        };
        Ok(Self { connection, document })
    }

    /// Those of a cluster that must be there.
    pub(super) async fn of_cluster(invocation: &Invocation) -> Result<Self, CliError> {
        let connection = connection::open(invocation).await?;
        let document = connection.client.document().await?;
        Ok(Self { connection: Some(connection), document: Some(document) })
    }

    /// The layer that changes go into.
    fn own_layer(&mut self, invocation: &Invocation) -> Result<Value, CliError> {
        let layer = if self.document.is_some() { Layer::Document } else { Layer::File };
        configuration::layer(invocation, layer, self.document.as_ref())
    }
}

async fn read(invocation: &Invocation, arguments: &LayerArguments) -> Result<Value, CliError> {
    let layer = arguments.layer.filter(|_| !arguments.effective).unwrap_or(Layer::Effective);
    let document = match layer {
        Layer::Document | Layer::Effective => Sources::open(invocation).await?.document,
        Layer::Bundled | Layer::Installed | Layer::File => None,
    };
    configuration::layer(invocation, layer, document.as_ref())
}

fn parse_value(text: &str) -> Result<Value, CliError> {
    serde_json::from_str(text).map_err(|error| {
        CliError::usage(format!("{text:?} is no JSON: {error}"))
            .with_hint("a text needs JSON's quotes inside the shell's: '\"docker\"'")
    })
}

async fn log(invocation: &Invocation, limit: u32) -> Result<(), CliError> {
    let lines = connection::open(invocation).await?.client.document_log(limit).await?;
    if invocation.format.is_json() {
        return print_json(&lines);
    }
    let mut table = Table::new(["Time", "Author", "Note", "Paths"]);
    for line in lines {
        let author = line.name.map_or_else(|| line.author.short(), |name| name.to_string());
        table.push([line.time.to_string(), author, line.note, line.paths.join(" ")]);
    }
    print(&table.render())
}

/// A path of the configuration as a path of the document.
fn in_document(path: &Path) -> Path {
    path.under(&Path::root().join(DOCUMENT_KEY))
}

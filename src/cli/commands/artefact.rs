//! `raptor artefact`

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;
use zeroize::Zeroizing;

use crate::agent::api::WriteRequest;
use crate::agent::clock;
use crate::cli::commands::config::Sources;
use crate::cli::commands::config::write;
use crate::cli::commands::secret;
use crate::cli::configuration;
use crate::cli::connection::Connection;
use crate::cli::error::CliError;
use crate::cli::error::Kind;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::cli::output::mesh::bytes as readable;
use crate::cli::output::print;
use crate::cli::output::print_json;
use crate::cli::output::table::Table;
use crate::cli::secrets;
use crate::config::artefacts::Artefacts;
use crate::config::artefacts::digest_of;
use crate::config::change::Change;
use crate::config::files;
use crate::config::home::Home;
use crate::config::path::Path;
use crate::config::schema::artefact::ARTEFACT_BYTES_MAX;
use crate::config::schema::artefact::Artefact;
use crate::model::name::Name;
use crate::model::secret::SecretRecord;
use crate::provision::elf;
use crate::seal::age;
use crate::seal::key::Identity;

/// Files that all members keep
///
/// A file that is added reaches every member, also those that come later: it is called by its SHA-256,
/// and members fetch what they lack from each other. With --target it is raptor itself for machines of
/// another architecture, which `slave` and `spawn` then put on them.
#[derive(Debug, Subcommand)]
#[command(after_long_help = "Examples:
  raptor artefact add --target aarch64 ./raptor-aarch64
  raptor artefact add --seal vault ./customers.db
  raptor artefact ls
  raptor artefact get customers-db /srv/customers.db
  raptor artefact rm customers-db")]
pub enum ArtefactCommand {
    /// Give all members a file
    #[command(after_long_help = "Examples:
  raptor artefact add --target aarch64 ./raptor-aarch64
  raptor artefact add --seal vault ./customers.db")]
    Add(AddArguments),
    /// Show which there are
    #[command(after_long_help = "Examples:
  raptor artefact ls
  raptor artefact ls -o json")]
    Ls,
    /// Write one to a file
    #[command(after_long_help = "Examples:
  raptor artefact get customers-db /srv/customers.db")]
    Get {
        /// Its name
        name: Name,
        /// Where to
        file: PathBuf,
    },
    /// Take one away from all members
    #[command(after_long_help = "Examples:
  raptor artefact rm customers-db")]
    Rm {
        /// Its name
        name: Name,
    },
}

/// A file to add.
#[derive(Debug, Args)]
pub struct AddArguments {
    /// The file
    pub file: PathBuf,

    /// What it is called [default: after the file, or raptor-ARCHITECTURE]
    #[arg(long)]
    pub name: Option<Name>,

    /// It is a static raptor for machines that call themselves so (`uname -m`)
    #[arg(long, value_name = "ARCHITECTURE", conflicts_with = "seal")]
    pub target: Option<String>,

    /// Seal it with this secret of the cluster, made when it is not there: members keep it, and those
    /// that may hold the secret read it
    #[arg(long, value_name = "SECRET")]
    pub seal: Option<Name>,
}

/// Runs one of the commands.
///
/// # Errors
/// No agent answers, a file cannot be read or written, or what is asked for makes no sense.
pub async fn run(
    invocation: &Invocation,
    command: ArtefactCommand,
) -> Result<ExitStatus, CliError> {
    let sources = Sources::open(invocation).await?;
    match command {
        ArtefactCommand::Add(arguments) => add(invocation, sources, arguments).await?,
        ArtefactCommand::Ls => list(invocation, &artefacts(invocation, &sources)?)?,
        ArtefactCommand::Get { name, file } => get(invocation, &sources, &name, &file).await?,
        ArtefactCommand::Rm { name } => {
            known(&artefacts(invocation, &sources)?, &name)?;
            let note = format!("remove artefact {name}");
            let change = Change::Unset { path: path_of(&name) };
            write::with(invocation, sources, vec![change], Some(note)).await?;
        }
    }
    Ok(ExitStatus::DONE)
}

fn path_of(name: &Name) -> Path {
    Path::root().join("artefacts").join(name.as_str())
}

fn artefacts(
    invocation: &Invocation,
    sources: &Sources,
) -> Result<BTreeMap<String, Artefact>, CliError> {
    Ok(configuration::loaded(invocation, sources.document.as_ref())?.config.artefacts)
}

fn known<'a>(
    artefacts: &'a BTreeMap<String, Artefact>,
    name: &Name,
) -> Result<&'a Artefact, CliError> {
    artefacts.get(name.as_str()).ok_or_else(|| {
        let names: Vec<&str> = artefacts.keys().map(String::as_str).collect();
        CliError::user(format!("there is no artefact {:?}", name.as_str()))
            .with_hint(format!("there are: {}", names.join(", ")))
    })
}

async fn add(
    invocation: &Invocation,
    sources: Sources,
    arguments: AddArguments,
) -> Result<(), CliError> {
    let AddArguments { file, name, target, seal } = arguments;
    let bytes = files::read_bounded(&file, ARTEFACT_BYTES_MAX)
        .map_err(|error| CliError::caused(Kind::User, &error))?;
    if let Some(target) = &target {
        check_program(&file, &bytes, target)?;
    }
    let name = name.unwrap_or_else(|| match &target {
        Some(target) => Name::from_hostname(&format!("raptor-{target}")),
        None => Name::from_hostname(&file.file_name().unwrap_or_default().to_string_lossy()),
    });
    if invocation.dry_run {
        let text = format!("give all members {} as {name}\n", file.display());
        return invocation.print_plan(&text, &json!({ "artefact": name, "file": file }));
    }
    let bytes = match &seal {
        Some(secret) => sealed(invocation, &sources, secret, &bytes).await?,
        None => bytes,
    };
    let artefact = Artefact {
        sha256: digest_of(&bytes),
        bytes: bytes.len() as u64,
        target,
        sealed_with: seal.map(|secret| secret.to_string()),
    };
    match &sources.connection {
        Some(connection) => connection.client.put_artefact(&artefact.sha256, bytes).await?,
        // The members get it when it is added again, once there is a cluster.
        None => Artefacts::new(&Home::new(&invocation.home))
            .keep(&bytes)
            .map(drop)
            .map_err(|error| CliError::caused(Kind::User, &error))?,
    }
    let note = format!("add artefact {name}");
    let change = Change::Set { path: path_of(&name), value: json!(artefact) };
    write::with(invocation, sources, vec![change], Some(note)).await
}

/// Refuses a program that would not run on machines that call themselves `target`.
fn check_program(file: &FilePath, bytes: &[u8], target: &str) -> Result<(), CliError> {
    let refuse = |why: String| {
        Err(CliError::user(format!("{}: {why}", file.display()))
            .with_hint("build raptor for it with a static C library (its target *-linux-musl)"))
    };
    // What is no such file is a script, and the user's affair.
    let Some(header) = elf::header(bytes) else { return Ok(()) };
    match header.architecture {
        Some(found) if found != target => refuse(format!("it is for {found}, not for {target}")),
        _ if header.is_dynamic => {
            refuse("it needs the C library of the machine that it runs on".to_owned())
        }
        _ => Ok(()),
    }
}

/// `bytes`, sealed with the key that the secret holds, which is made when it is not there.
async fn sealed(
    invocation: &Invocation,
    sources: &Sources,
    name: &Name,
    bytes: &[u8],
) -> Result<Vec<u8>, CliError> {
    let failed = |error: &dyn std::error::Error| CliError::caused(Kind::User, error);
    let (Some(connection), Some(document)) = (&sources.connection, &sources.document) else {
        return Err(CliError::user("there is no cluster that could keep a secret"));
    };
    let draw = || clock::random::<32>().map(Zeroizing::new).map_err(|error| failed(&error));
    let identity = if secrets::records(document).contains_key(name) {
        key(invocation, connection, document, name.as_str())?
    } else {
        let identity = Identity::draw(&*draw()?);
        let record = SecretRecord { note: "opens artefacts".to_owned(), ..SecretRecord::default() };
        let text = || Ok(identity.to_text());
        let change = secret::sealed(invocation, connection, document, name, record, text).await?;
        let note = format!("set secret {name}");
        connection.client.write(&WriteRequest { note, changes: vec![change] }).await?;
        identity
    };
    age::seal(bytes, &[identity.recipient()], &*draw()?).map_err(|error| failed(&error))
}

/// The key in the secret `name`.
fn key(
    invocation: &Invocation,
    connection: &Connection,
    document: &serde_json::Value,
    name: &str,
) -> Result<Identity, CliError> {
    let open = secrets::open(invocation, document, connection.status.cluster_id)?;
    let text = open(name).map_err(|why| CliError::user(format!("the secret {name:?}: {why}")))?;
    Identity::from_file(&text).map_err(|_| {
        CliError::user(format!("the secret {name:?} holds no key that files are sealed with"))
            .with_hint("name another: it is made when it is not there")
    })
}

async fn get(
    invocation: &Invocation,
    sources: &Sources,
    name: &Name,
    file: &FilePath,
) -> Result<(), CliError> {
    let failed = |error: &dyn std::error::Error| CliError::caused(Kind::User, error);
    let all = artefacts(invocation, sources)?;
    let artefact = known(&all, name)?;
    let (Some(connection), Some(document)) = (&sources.connection, &sources.document) else {
        return Err(CliError::user("there is no cluster that keeps it"));
    };
    let bytes = Zeroizing::new(connection.client.artefact(&artefact.sha256).await?);
    if digest_of(&bytes) != artefact.sha256 {
        return Err(CliError::user(format!("the artefact {name} came damaged")));
    }
    let open = match &artefact.sealed_with {
        None => bytes,
        Some(secret) => {
            let key = key(invocation, connection, document, secret)?;
            age::open(&bytes, &[key]).map_err(|error| failed(&error))?
        }
    };
    files::write_atomic(file, &open).map_err(|error| failed(&error))
}

fn list(invocation: &Invocation, artefacts: &BTreeMap<String, Artefact>) -> Result<(), CliError> {
    if invocation.format.is_json() {
        let row = |(name, artefact): (&String, &Artefact)| {
            json!({
                "name": name, "bytes": artefact.bytes, "sha256": artefact.sha256,
                "target": artefact.target, "sealed_with": artefact.sealed_with,
            })
        };
        return print_json(&artefacts.iter().map(row).collect::<Vec<_>>());
    }
    let mut table = Table::new(["Artefact", "Size", "Target", "Sealed", "Sha256"]);
    for (name, artefact) in artefacts {
        table.push([
            name.clone(),
            readable(artefact.bytes),
            artefact.target.clone().unwrap_or_default(),
            artefact.sealed_with.clone().unwrap_or_default(),
            artefact.sha256.chars().take(12).collect(),
        ]);
    }
    print(&table.render())
}

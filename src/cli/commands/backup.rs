//! `raptor backup`

use std::path::PathBuf;

use clap::Args;
use futures_util::StreamExt;
use serde::Serialize;
use serde_json::json;

use crate::agent::backup;
use crate::agent::error::chain;
use crate::agent::recovery;
use crate::backup::credentials::Credentials;
use crate::backup::keep;
use crate::backup::store;
use crate::backup::store::Access;
use crate::backup::store::Target;
use crate::cli::configuration;
use crate::cli::connection;
use crate::cli::error::CliError;
use crate::cli::error::Kind;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::cli::output::print;
use crate::cli::output::print_json;
use crate::cli::output::tell;
use crate::cli::secrets;
use crate::compute::Secrets;
use crate::config::home::Home;
use crate::config::identity_file;
use crate::config::schema::Config;
use crate::seal::proof::PROOF_SECRET;
use crate::seal::proof::ProofKey;

/// Places that are written at the same time.
const CONCURRENT: usize = 4;

/// Write all that is needed to found the cluster again
///
/// An archive for the recovery key alone: the document with its sealed secrets, and installed modules.
/// TARGET is a folder, or a file that ends in .raptor, here or at http(s)://, webdav(s)://,
/// s3://BUCKET/FOLDER?region=R&endpoint=https://HOST, sftp://USER@HOST/FOLDER, couchdb(s)://HOST/DATABASE.
/// Without one, the places of the configuration (backup.targets). What was written is read back.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor backup /mnt/backups
  raptor backup s3://my-backups/raptor?region=eu-central-1 --secret s3-key
  raptor backup webdavs://cloud.example.org/dav/raptor --secret dav --keep 30
  raptor config set backup.targets.nas '{\"url\": \"sftp://me@nas/backups\"}' && raptor backup")]
pub struct BackupArguments {
    /// Where to; may be repeated
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,

    /// How many of the cluster's backups a folder keeps [default: backup.keep]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: Option<u32>,

    /// The cluster's secret with the credentials: USER:PASSWORD, a token, or, of S3, ID and SECRET
    #[arg(long, value_name = "NAME")]
    pub secret: Option<String>,

    /// A file of mode 0600 with the credentials
    #[arg(long, value_name = "FILE", conflicts_with = "secret")]
    pub credentials_file: Option<PathBuf>,
}

/// What became of one place.
#[derive(Debug, Serialize)]
struct Outcome {
    target: String,
    name: Option<String>,
    bytes: Option<usize>,
    removed: Vec<String>,
    error: Option<String>,
}

/// Backs up to every place.
///
/// # Errors
/// No agent answers, or no place can be opened.
pub async fn run(
    invocation: &Invocation,
    arguments: BackupArguments,
) -> Result<ExitStatus, CliError> {
    let connection = connection::open(invocation).await?;
    let document = connection.client.document().await?;
    let config = configuration::loaded(invocation, Some(&document))?.config;
    let secrets = secrets::open(invocation, &document, connection.status.cluster_id)?;
    let targets = targets(invocation, &arguments, &config, &secrets)?;
    if invocation.dry_run {
        let titles: Vec<&str> = targets.iter().map(|target| target.title.as_str()).collect();
        let line = |title: &&str| format!("write a backup to {title}\n");
        let text: String = titles.iter().map(line).collect();
        invocation.print_plan(&text, &json!({ "write_backup_to": titles }))?;
        return Ok(ExitStatus::DONE);
    }
    let home = Home::new(&invocation.home);
    let user = |error: &dyn std::error::Error| CliError::caused(Kind::User, error);
    let recovery = recovery::load(&home.recovery_file(connection.status.cluster_id));
    let proof = match recovery.map_err(|error| user(&error))? {
        Some(key) => Some(ProofKey::of(&key)),
        None => secrets(PROOF_SECRET).ok().and_then(|text| ProofKey::from_text(&text)),
    };
    if proof.is_none() {
        invocation.note("no key here proves that the backup is the cluster's own");
    }
    let made = backup::make(&document, &connection.status, &home, proof.as_ref());
    let (head, archive) = made.map_err(|error| {
        CliError::caused(Kind::User, &error).with_hint("`raptor secret recovery --new` makes one")
    })?;
    let keep = arguments.keep.unwrap_or(config.backup.keep);
    let writing = targets.iter().map(|target| async {
        let written = keep::write(target, &head, &archive, keep).await;
        let target = target.title.clone();
        match written {
            Ok(written) => Outcome {
                target,
                name: Some(written.name),
                bytes: Some(written.bytes),
                removed: written.removed,
                error: None,
            },
            Err(error) => Outcome {
                target,
                name: None,
                bytes: None,
                removed: Vec::new(),
                error: Some(chain(&error)),
            },
        }
    });
    let outcomes: Vec<Outcome> =
        futures_util::stream::iter(writing).buffered(CONCURRENT).collect().await;
    report(invocation, &outcomes)
}

fn report(invocation: &Invocation, outcomes: &[Outcome]) -> Result<ExitStatus, CliError> {
    if invocation.format.is_json() {
        print_json(&outcomes)?;
    }
    for outcome in outcomes {
        match (&outcome.error, &outcome.name, outcome.bytes) {
            (Some(error), _, _) => tell(&format!("error: {error}")),
            (None, Some(name), Some(bytes)) if !invocation.format.is_json() => {
                print(&format!("{}: {name}, {bytes} bytes, read back\n", outcome.target))?;
            }
            _ => {}
        }
    }
    let failed = outcomes.iter().filter(|outcome| outcome.error.is_some()).count();
    Ok(match failed {
        0 => ExitStatus::DONE,
        all if all == outcomes.len() => ExitStatus::FAILED,
        _ => ExitStatus::PARTIAL,
    })
}

fn targets(
    invocation: &Invocation,
    arguments: &BackupArguments,
    config: &Config,
    secrets: &Secrets,
) -> Result<Vec<Target>, CliError> {
    let given = arguments.targets.iter().map(|url| (url, arguments.secret.as_ref()));
    let configured =
        config.backup.targets.values().map(|target| (&target.url, target.secret.as_ref()));
    let wanted: Vec<_> =
        if arguments.targets.is_empty() { configured.collect() } else { given.collect() };
    if wanted.is_empty() {
        return Err(CliError::usage("no TARGET was named, and backup.targets is empty"));
    }
    let from_file = credentials(arguments.credentials_file.as_ref())?;
    let open = |(url, secret): (&String, Option<&String>)| {
        let credentials = match secret {
            Some(name) => {
                let text = secrets(name).map_err(|why| {
                    CliError::user(format!("the secret {name:?} cannot be used: {why}"))
                        .with_hint("`raptor secret ls` tells who holds what")
                })?;
                Some(Credentials::new(&text))
            }
            None => from_file.clone(),
        };
        let access = access(invocation, config, credentials);
        store::open(url, access).map_err(|error| CliError::caused(Kind::User, &error))
    };
    wanted.into_iter().map(open).collect()
}

/// What opening a place needs.
pub(super) fn access(
    invocation: &Invocation,
    config: &Config,
    credentials: Option<Credentials>,
) -> Access {
    Access {
        credentials,
        known_hosts: invocation.known_hosts(),
        identity_file: config.ssh.identity_file.clone(),
    }
}

/// The credentials in a file that nobody else may read.
pub(super) fn credentials(file: Option<&PathBuf>) -> Result<Option<Credentials>, CliError> {
    let Some(path) = file else { return Ok(None) };
    let content = identity_file::read_private(path)
        .map_err(|error| CliError::caused(Kind::User, &error))?
        .ok_or_else(|| CliError::user(format!("there is no file {}", path.display())))?;
    let text = std::str::from_utf8(&content)
        .map_err(|_| CliError::user(format!("{} is no text", path.display())))?;
    Ok(Some(Credentials::new(text)))
}

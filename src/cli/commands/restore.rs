//! `raptor restore`

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use crate::agent::api::WriteRequest;
use crate::agent::backup;
use crate::agent::clock::wall_clock;
use crate::agent::perform::founding::Founding;
use crate::agent::recovery;
use crate::agent::restore::restored;
use crate::backup::archive::Archive;
use crate::backup::archive::Head;
use crate::backup::keep;
use crate::backup::store;
use crate::cli::commands::backup::access;
use crate::cli::commands::backup::credentials;
use crate::cli::commands::members;
use crate::cli::configuration;
use crate::cli::connection;
use crate::cli::connection::Connection;
use crate::cli::error::CliError;
use crate::cli::error::Kind;
use crate::cli::exit_status::ExitStatus;
use crate::cli::interrupt::Interrupt;
use crate::cli::invocation::Invocation;
use crate::cli::output::duration;
use crate::cli::perform;
use crate::cli::perform::Done;
use crate::cli::perform::Request;
use crate::cli::perform::SpawnRequest;
use crate::config::home::Home;
use crate::config::schema::Config;
use crate::model::label::Labels;
use crate::model::machine::MachineRecords;
use crate::model::member::Status;
use crate::model::name::Name;
use crate::seal::key::Identity;

/// Found a cluster again from a backup and the recovery key
///
/// The same cluster id and the same document; one machine is made, which founds it, and its rules
/// make the others. Machines of before count as lost: what a back-end still lists of them is given
/// back. A cluster that still lives is left alone.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor restore /mnt/backups --key recovery.key
  raptor restore s3://my-backups/raptor?region=eu-central-1 --key k --credentials-file c
  raptor restore /mnt/backups/default-20261121T180000.000Z.raptor --dry-run")]
pub struct RestoreArguments {
    /// Where the backup is: a place, of which the latest is taken, or one archive
    pub target: String,

    /// The recovery key [default: the one in this home]
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,

    /// How the first machine is got [default: as the backup's configuration says]
    #[arg(long, value_name = "T")]
    pub compute_type: Option<String>,

    /// A file of mode 0600 with the credentials of the place
    #[arg(long, value_name = "FILE")]
    pub credentials_file: Option<PathBuf>,

    /// The secret SSH key to offer, where the place is reached by sftp
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,

    /// Restore a backup of which nothing proves that a member of the cluster made it
    #[arg(long)]
    pub unproven: bool,

    /// Restore although this home knows the cluster; over the document of one that lives
    #[arg(long)]
    pub force: bool,
}

/// Restores.
///
/// # Errors
/// The backup cannot be read or opened, the cluster still lives, or nothing could be begun.
pub async fn run(
    invocation: &Invocation,
    arguments: RestoreArguments,
    interrupt: Interrupt,
) -> Result<ExitStatus, CliError> {
    let (name, archive, key) = read(invocation, &arguments).await?;
    let Archive { head, content } = &archive;
    let mut invocation = invocation.clone();
    invocation.cluster = Some(head.cluster.clone());
    let living = find_living(&invocation, head, arguments.force).await?;
    let age = duration::show(wall_clock().since(head.created_at));
    let maker = content.document.pointer(&format!("/members/{}/name", content.written_by));
    let maker = maker.and_then(|name| name.as_str()?.parse::<Name>().ok());
    let maker = maker.map_or_else(|| content.written_by.short(), |name| name.to_string());
    let told = format!(
        "cluster {} ({}) from {name}, made {age} ago by {maker} ({} updates)",
        head.cluster, head.cluster_id, content.document_updates
    );
    if let Some(connection) = &living {
        check_living(connection, head, content.document_updates, arguments.force).await?;
    }
    if invocation.dry_run {
        let (verb, does) = match living {
            Some(_) => ("write the document of", "write_document"),
            None => ("found", "found"),
        };
        let plan = json!({
            "restore": does, "cluster": head.cluster, "cluster_id": head.cluster_id,
            "from": name, "made_at": head.created_at,
            "document_updates": content.document_updates,
        });
        invocation.print_plan(&format!("{verb} {told}\n"), &plan)?;
        return Ok(ExitStatus::DONE);
    }
    invocation.note(&format!("restoring {told}"));
    let user = |error: &dyn std::error::Error| CliError::caused(Kind::User, error);
    let home = Home::new(&invocation.home);
    backup::install_modules(&content.modules, &home).map_err(|error| user(&error))?;
    recovery::keep(&home, head.cluster_id, &head.cluster, &key).map_err(|error| user(&error))?;
    let is_founded = living.is_none();
    let connection = match living {
        Some(connection) => connection,
        None => match found(&mut invocation, &arguments, &archive, &key, interrupt).await? {
            Ok(connection) => connection,
            Err(status) => return Ok(status),
        },
    };
    write(&invocation, &connection, &archive, &key, is_founded).await?;
    let members = connection.client.members().await.ok();
    members::show_after_change(&invocation, ExitStatus::DONE, members).await?;
    Ok(ExitStatus::DONE)
}

/// The archive that is meant, opened, its name and the key.
async fn read(
    invocation: &Invocation,
    arguments: &RestoreArguments,
) -> Result<(String, Archive, Identity), CliError> {
    let credentials = credentials(arguments.credentials_file.as_ref())?;
    let mut access = access(invocation, &Config::default(), credentials);
    access.identity_file.clone_from(&arguments.identity);
    let user = |error: &dyn std::error::Error| CliError::caused(Kind::User, error);
    let target = store::open(&arguments.target, access).map_err(|error| user(&error))?;
    let found = keep::read(&target, invocation.cluster.as_ref()).await;
    let (name, bytes) = found.map_err(|error| user(&error))?;
    let refuse =
        |error| CliError::user(format!("{name}: {}", crate::cli::error::with_causes(&error)));
    let head = Head::read(&bytes).map_err(&refuse)?;
    let path = match &arguments.key {
        Some(path) => path.clone(),
        None => Home::new(&invocation.home).recovery_file(head.cluster_id),
    };
    let key = recovery::load(&path).map_err(|error| user(&error))?.ok_or_else(|| {
        CliError::user(format!("there is no recovery key at {}", path.display()))
            .with_hint("--key FILE names it; it was made when the cluster was founded")
    })?;
    let (archive, is_proven) = Archive::open(&bytes, &key).map_err(&refuse)?;
    if !is_proven && !arguments.unproven {
        let error = format!(
            "{name}: nothing proves that a member of {} made it: whoever knows the recovery key's \
             public half can write such a backup",
            archive.head.cluster
        );
        return Err(CliError::user(error).with_hint("--unproven restores it all the same"));
    }
    Ok((name, archive, key))
}

/// An agent of the cluster, if one answers. One that this home knows, and that does not answer, may
/// only be switched off.
async fn find_living(
    invocation: &Invocation,
    head: &Head,
    force: bool,
) -> Result<Option<Connection>, CliError> {
    let error = match connection::open_if_known(invocation).await {
        Ok(connection) => return Ok(connection),
        Err(error) => error,
    };
    if !force {
        return Err(error
            .with_detail(format!(
                "this home knows cluster {}: members that are only switched off may know more than \
             the backup",
                head.cluster
            ))
            .with_hint("--force restores all the same, and gives them up"));
    }
    let mut contexts = connection::read_contexts(invocation)?;
    contexts.remove(&head.cluster);
    contexts.save(&invocation.home).map_err(|error| CliError::caused(Kind::User, &error))?;
    Ok(None)
}

/// Refuses to write over what lives, unless that is asked for.
async fn check_living(
    connection: &Connection,
    head: &Head,
    updates: u64,
    force: bool,
) -> Result<(), CliError> {
    let status = &connection.status;
    if status.cluster_id != head.cluster_id {
        return Err(CliError::user(format!(
            "another cluster is named {} here ({})",
            status.cluster, status.cluster_id
        ))
        .with_hint("restore it with another home folder: --home DIR"));
    }
    if force {
        return Ok(());
    }
    let members = connection.client.members().await?;
    let alive = members.iter().filter(|member| member.status == Status::Alive).count();
    Err(CliError::user(format!(
        "cluster {} lives: {alive} of {} members answer; its document has {} updates, the backup {updates}",
        status.cluster,
        members.len(),
        status.document_updates,
    ))
    .with_hint("--force writes the backup's document over it"))
}

/// Makes the machine that founds the cluster, under its old id.
async fn found(
    invocation: &mut Invocation,
    arguments: &RestoreArguments,
    archive: &Archive,
    key: &Identity,
    interrupt: Interrupt,
) -> Result<Result<Connection, ExitStatus>, CliError> {
    let content = &archive.content;
    let founding = Founding {
        version: 1,
        cluster: archive.head.cluster.clone(),
        nonce: content.genesis.nonce,
        recovery: Some(key.recipient().to_string()),
        machines: MachineRecords::new(),
        founder: None,
    };
    let home = Home::new(&invocation.home);
    founding.save(&home).map_err(|error| CliError::caused(Kind::User, &error))?;
    invocation.assumed_document = Some(Arc::new(content.document.clone()));
    // Said before anything is made, should the configuration need what this computer lacks.
    configuration::loaded(invocation, Some(&content.document))?;
    let request = Request::Spawn(SpawnRequest {
        compute_type: arguments.compute_type.clone(),
        server_type: None,
        count: 1,
        name: None,
        labels: Labels::new(),
        ttl: None,
        provision: true,
        join: true,
    });
    match perform::run(invocation, &request, interrupt).await? {
        Done::Nothing => return Ok(Err(ExitStatus::FAILED)),
        Done::Performed(done) => {
            let status = perform::report(invocation, &done.outcomes)?;
            if status != ExitStatus::DONE {
                return Ok(Err(status));
            }
        }
    }
    connection::open(invocation).await.map(Ok)
}

/// Writes the backup's document, what makes machines last.
async fn write(
    invocation: &Invocation,
    connection: &Connection,
    archive: &Archive,
    key: &Identity,
    is_founded: bool,
) -> Result<(), CliError> {
    let document = &archive.content.document;
    let (founder, now) = (connection.status.node, wall_clock());
    let restored = restored(document, key, founder, now, is_founded)
        .map_err(|error| CliError::caused(Kind::User, &error))?;
    for changes in restored.batches {
        let note = format!("restore the backup of {}", archive.head.created_at);
        connection.client.write(&WriteRequest { note, changes }).await?;
    }
    for name in restored.lost {
        invocation.note(&format!("the secret {name} is sealed to another key: set it again"));
    }
    Ok(())
}

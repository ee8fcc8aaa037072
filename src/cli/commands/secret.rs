//! `raptor secret`: values that only those may read who are meant to.

use std::collections::BTreeMap;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;
use serde_json::json;

use crate::agent::api::DocumentChange;
use crate::agent::api::WriteRequest;
use crate::agent::clock;
use crate::agent::clock::wall_clock;
use crate::agent::cluster_key;
use crate::agent::cluster_key::CLUSTER_KEY;
use crate::agent::perform::proof::proof_of;
use crate::agent::recovery;
use crate::cli::connection;
use crate::cli::connection::Connection;
use crate::cli::error::CliError;
use crate::cli::error::Kind;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::cli::output::duration;
use crate::cli::output::print;
use crate::cli::output::print_json;
use crate::cli::output::table::Table;
use crate::cli::secrets;
use crate::cli::terminal::password;
use crate::config::document::views::MEMBERS;
use crate::config::document::views::RECOVERY;
use crate::config::document::views::SECRETS;
use crate::config::home::Home;
use crate::config::path::Path;
use crate::model::identity::NodeId;
use crate::model::label::Selector;
use crate::model::member::Member;
use crate::model::member::Role;
use crate::model::name::Name;
use crate::model::secret::SecretRecord;
use crate::model::secret::SecretRecords;
use crate::model::time::Timestamp;
use crate::reconcile::sealing::Candidate;
use crate::seal::key::Recipient;
use crate::seal::proof::PROOF_SECRET;
use crate::seal::secret::VALUE_SIZE_MAX;
use crate::seal::secret::seal;

/// Values that only the members meant may read: tokens, passwords, keys
///
/// They are part of the cluster's document, sealed to each member that may hold them and to the
/// recovery key. A value is read from standard input, or asked for; it never stands on a command
/// line. `token_secret` of a rented compute type names one.
#[derive(Debug, Subcommand)]
#[command(after_long_help = "Examples:
  raptor secret set hetzner < token.txt
  raptor secret set do-token --select zone=home --note 'DigitalOcean, may make droplets'
  raptor secret ls
  raptor secret rotate hetzner < new-token.txt
  raptor secret rm hetzner
  raptor secret recovery")]
pub enum SecretCommand {
    /// Set a secret to what standard input holds
    #[command(after_long_help = "Examples:
  raptor secret set hetzner < token.txt
  raptor secret set do-token --select zone=home --note 'DigitalOcean'")]
    Set(SetArguments),
    /// Show which secrets there are, who holds them, and which should be changed at their source
    #[command(after_long_help = "Examples:
  raptor secret ls")]
    Ls,
    /// Take a secret away
    #[command(after_long_help = "Examples:
  raptor secret rm hetzner")]
    Rm {
        /// The secret
        name: Name,
    },
    /// Give a secret the new value that standard input holds, for the same members
    ///
    /// For `cluster-ssh`, the cluster's own SSH key, a new one is made.
    #[command(after_long_help = "Examples:
  raptor secret rotate hetzner < new-token.txt
  raptor secret rotate cluster-ssh")]
    Rotate {
        /// The secret
        name: Name,
    },
    /// Say where the recovery key is; with --new, make another in its place
    #[command(after_long_help = "Examples:
  raptor secret recovery
  raptor secret recovery --new")]
    Recovery {
        /// Make a new key; the old one opens nothing that is sealed from then on
        #[arg(long)]
        new: bool,
    },
}

/// A secret to set.
#[derive(Debug, Args)]
pub struct SetArguments {
    /// Its name
    pub name: Name,

    /// Which full members may hold it: KEY=VALUE and KEY!=VALUE joined by commas [default: all]
    #[arg(long, value_name = "SELECTOR")]
    pub select: Option<Selector>,

    /// What it is for
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub note: String,
}

/// One row of `secret ls`.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a Name,
    select: String,
    note: &'a str,
    set_at: Option<Timestamp>,
    /// Names of the members that can open it.
    holders: Vec<String>,
    /// Whether the recovery key opens it.
    recoverable: bool,
    /// Who knows the value and may not hold it: it should be changed at its source.
    rotate: Vec<Value>,
}

/// Runs one of the commands.
///
/// # Errors
/// No agent answers, or what is asked for makes no sense.
pub async fn run(invocation: &Invocation, command: SecretCommand) -> Result<ExitStatus, CliError> {
    let connection = connection::open(invocation).await?;
    let document = connection.client.document().await?;
    let records = secrets::records(&document);
    match command {
        SecretCommand::Ls => {
            let names = names(&document);
            let rows = rows(&records, &names);
            if invocation.format.is_json() { print_json(&rows)? } else { print(&table(&rows))? }
        }
        SecretCommand::Set(arguments) => {
            let SetArguments { name, select, note } = arguments;
            if [CLUSTER_KEY, PROOF_SECRET].contains(&name.as_str()) {
                let error = CliError::user(format!("{name} is the members' own secret"));
                return Err(error.with_hint(
                    "`raptor secret rotate cluster-ssh` and `raptor secret recovery --new` make new ones",
                ));
            }
            let select = select.unwrap_or_default();
            if select.keys().any(|key| key == "status") {
                return Err(CliError::usage("--select takes what stays: status changes"));
            }
            let record = SecretRecord { select, note, ..SecretRecord::default() };
            let verb = if records.contains_key(&name) { "replace" } else { "set" };
            write(invocation, &connection, &document, &name, record, verb).await?;
        }
        SecretCommand::Rotate { name } if name.as_str() == CLUSTER_KEY => {
            let change = cluster_key::new_one(&document, wall_clock());
            let change = change.map_err(|error| CliError::caused(Kind::User, &error))?;
            change_document(invocation, &connection, format!("rotate secret {name}"), vec![change])
                .await?;
        }
        SecretCommand::Rotate { name } if name.as_str() == PROOF_SECRET => {
            let error = CliError::user(format!("{name} follows from the recovery key"));
            return Err(error.with_hint("`raptor secret recovery --new` makes both anew"));
        }
        SecretCommand::Rotate { name } => {
            let known = records.get(&name).ok_or_else(|| unknown(&name, &records))?;
            let record = SecretRecord {
                select: known.select.clone(),
                note: known.note.clone(),
                rest: known.rest.clone(),
                ..SecretRecord::default()
            };
            write(invocation, &connection, &document, &name, record, "rotate").await?;
        }
        SecretCommand::Rm { name } => {
            if !records.contains_key(&name) {
                return Err(unknown(&name, &records));
            }
            let path = Path::root().join(SECRETS).join(name.as_str()).to_string();
            let change = DocumentChange::Unset { path };
            change_document(invocation, &connection, format!("remove secret {name}"), vec![change])
                .await?;
        }
        SecretCommand::Recovery { new } => {
            recovery_key(invocation, &connection, &document, new).await?;
        }
    }
    Ok(ExitStatus::DONE)
}

/// Seals a new value, and writes it in the place of those before.
async fn write(
    invocation: &Invocation,
    connection: &Connection,
    document: &Value,
    name: &Name,
    record: SecretRecord,
    verb: &str,
) -> Result<(), CliError> {
    let note = format!("{verb} secret {name}");
    if invocation.dry_run {
        let plan = json!({ "note": note, "secret": name, "select": record.select.to_string() });
        return invocation.print_plan(&format!("{note}\n"), &plan);
    }
    let text = || password::ask_text(&format!("value of {name}: "), VALUE_SIZE_MAX);
    let change = sealed(invocation, connection, document, name, record, text).await?;
    change_document(invocation, connection, note, vec![change]).await
}

/// The change that makes `record` a secret with what `text` gives as its only value.
pub(in crate::cli::commands) async fn sealed(
    invocation: &Invocation,
    connection: &Connection,
    document: &Value,
    name: &Name,
    mut record: SecretRecord,
    text: impl FnOnce() -> Result<zeroize::Zeroizing<String>, CliError>,
) -> Result<DocumentChange, CliError> {
    let members = connection.client.members().await?;
    let holders = holders(document, &members, &record.select);
    let recovery = recipients(document)?;
    if holders.is_empty() && recovery.is_empty() {
        return Err(CliError::user("no member may hold it, and there is no recovery key")
            .with_hint("`raptor members -o wide` shows labels; `raptor secret recovery --new`"));
    }
    if holders.is_empty() {
        invocation.note("no member may hold it yet: the recovery key alone opens it");
    }
    let text = text()?;
    let random = |error| CliError::caused(Kind::User, &error);
    let seed = zeroize::Zeroizing::new(clock::random::<32>().map_err(random)?);
    let value = seal(&text, holders, &recovery, wall_clock(), &seed)
        .map_err(|error| CliError::caused(Kind::User, &error))?;
    let id = clock::value_id().map_err(random)?;
    record.values = [(id, value)].into();
    let path = Path::root().join(SECRETS).join(name.as_str()).to_string();
    Ok(DocumentChange::Set { path, value: json!(record) })
}

async fn change_document(
    invocation: &Invocation,
    connection: &Connection,
    note: String,
    changes: Vec<DocumentChange>,
) -> Result<(), CliError> {
    if invocation.dry_run {
        let request = WriteRequest { note, changes };
        return invocation.print_plan(&format!("{}\n", request.note), &request);
    }
    let done = json!({ "done": note });
    connection.client.write(&WriteRequest { note, changes }).await?;
    if invocation.format.is_json() { print_json(&done) } else { Ok(()) }
}

/// The members that may hold a secret for `select`, as far as that can be told.
fn holders(document: &Value, members: &[Member], select: &Selector) -> Vec<NodeId> {
    let may_hold = |member: &&Member| {
        let role =
            document.get(MEMBERS).and_then(|all| all.get(member.id.to_string())?.get("role"));
        let role = role.and_then(|role| serde_json::from_value::<Role>(role.clone()).ok());
        let candidate =
            Candidate { name: &member.name, role: role.unwrap_or_default(), seen: Some(member) };
        candidate.may_hold(select) == Some(true)
    };
    members.iter().filter(may_hold).map(|member| member.id).collect()
}

/// Public halves of the document's recovery keys.
fn recipients(document: &Value) -> Result<Vec<Recipient>, CliError> {
    recovery::recipients(document).map_err(|error| {
        CliError::caused(Kind::User, &error)
            .with_hint("`raptor secret recovery --new` makes another")
    })
}

async fn recovery_key(
    invocation: &Invocation,
    connection: &Connection,
    document: &Value,
    new: bool,
) -> Result<(), CliError> {
    let home = Home::new(&invocation.home);
    let (cluster, name) = (connection.status.cluster_id, &connection.status.cluster);
    let path = home.recovery_file(cluster);
    let known = recipients(document);
    if new {
        if invocation.dry_run {
            let plan = json!({ "note": "make a new recovery key", "path": path });
            let text = format!("make a new recovery key in {}\n", path.display());
            return invocation.print_plan(&text, &plan);
        }
        let failed = |error| CliError::caused(Kind::User, &error);
        let public = recovery::create(&home, cluster, name).map_err(failed)?.to_string();
        let value = json!({ (&public): { "added_at": wall_clock() } });
        let mut changes = vec![DocumentChange::Set { path: RECOVERY.to_owned(), value }];
        // What proved backups for the old one proves nothing for the new one.
        if let Some(key) = recovery::load(&path).map_err(failed)? {
            let proof = proof_of(&key, document);
            changes.push(proof.map_err(|failure| CliError::user(failure.cause))?);
        }
        let note = "take a new recovery key".to_owned();
        connection.client.write(&WriteRequest { note, changes }).await?;
        return tell_key(invocation, &path, Some(&public), true);
    }
    let ours = recovery::load(&path).map_err(|error| CliError::caused(Kind::User, &error))?;
    let ours = ours.map(|identity| identity.recipient());
    let known = known?;
    let is_here = ours.is_some_and(|ours| known.contains(&ours));
    let public = known.first().map(ToString::to_string);
    tell_key(invocation, &path, public.as_deref(), is_here)
}

fn tell_key(
    invocation: &Invocation,
    path: &std::path::Path,
    public: Option<&str>,
    is_here: bool,
) -> Result<(), CliError> {
    if invocation.format.is_json() {
        let path = is_here.then_some(path);
        return print_json(&json!({ "public": public, "path": path }));
    }
    match public {
        None => Err(CliError::user("the cluster has no recovery key")
            .with_hint("`raptor secret recovery --new` makes one")),
        Some(public) if !is_here => Err(CliError::user(format!(
            "the recovery key {public} is not in this home"
        ))
        .with_hint("it lies where the cluster was founded; `--new` makes another in its place")),
        Some(_) => {
            invocation
                .note("keep a copy of it apart from this computer, where nobody else reads it");
            print(&format!("{}\n", path.display()))
        }
    }
}

fn unknown(name: &Name, records: &SecretRecords) -> CliError {
    let known = records.keys().map(Name::as_str);
    CliError::unknown("secret", name.as_str(), known, "raptor secret ls")
}

/// The members' names, by their keys.
fn names(document: &Value) -> BTreeMap<NodeId, String> {
    let members = document.get(MEMBERS).and_then(Value::as_object);
    let name = |(node, admission): (&String, &Value)| {
        Some((node.parse().ok()?, admission.get("name")?.as_str()?.to_owned()))
    };
    members.into_iter().flatten().filter_map(name).collect()
}

fn rows<'a>(records: &'a SecretRecords, names: &BTreeMap<NodeId, String>) -> Vec<Row<'a>> {
    let row = |(name, record): (&'a Name, &'a SecretRecord)| {
        let value = record.current().map(|(_, value)| value);
        let called = |node: &NodeId| names.get(node).cloned().unwrap_or_else(|| node.short());
        let mut holders: Vec<String> =
            value.iter().flat_map(|value| value.keys.keys()).map(called).collect();
        holders.sort();
        let rotate = record.to_rotate().into_iter().map(|(node, exposure)| {
            json!({
                "id": node,
                "node": exposure.name,
                "reason": exposure.reason,
                "at": exposure.at,
            })
        });
        Row {
            name,
            select: record.select.to_string(),
            note: &record.note,
            set_at: value.map(|value| value.set_at),
            holders,
            recoverable: value.is_some_and(|value| !value.recovery.is_empty()),
            rotate: rotate.collect(),
        }
    };
    records.iter().map(row).collect()
}

fn table(rows: &[Row<'_>]) -> String {
    let mut table = Table::new(["Secret", "For", "Held by", "Set", "Rotate", "Note"]);
    let now: Timestamp = SystemTime::now().into();
    for row in rows {
        let all = if row.select.is_empty() { "all" } else { &row.select };
        let held = match row.holders.len() {
            0 => "nobody".to_owned(),
            count => count.to_string(),
        };
        let set = row.set_at.map(|at| format!("{} ago", duration::show(now.since(at))));
        let knows = row.rotate.iter().filter_map(|it| it["node"].as_str()).collect::<Vec<_>>();
        let rotate =
            if knows.is_empty() { String::new() } else { format!("known to {}", knows.join(", ")) };
        table.push([
            row.name.to_string(),
            all.to_owned(),
            held,
            set.unwrap_or_default(),
            rotate,
            row.note.to_owned(),
        ]);
    }
    table.render()
}

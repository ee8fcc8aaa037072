//! Writing changes: validated first, then through the agent; without a cluster into the file.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path as FilePath;

use serde_json::{Value, json};

use crate::agent::api::DocumentChange;
use crate::agent::api::WriteRequest;
use crate::cli::commands::config::Sources;
use crate::cli::commands::config::in_document;
use crate::cli::configuration;
use crate::cli::configuration::DOCUMENT_KEY;
use crate::cli::configuration::Layer;
use crate::cli::error::CliError;
use crate::cli::error::Kind;
use crate::cli::invocation::Invocation;
use crate::cli::output::print_json;
use crate::config::change::Change;

/// Validates the configuration as it would be, and writes `changes`.
///
/// # Errors
/// The result would be wrong (nothing is written then), or the write failed.
pub async fn run(
    invocation: &Invocation,
    changes: Vec<Change>,
    note: Option<String>,
) -> Result<(), CliError> {
    if changes.is_empty() {
        return tell(invocation, None, "nothing changes");
    }
    let sources = Sources::open(invocation).await?;
    with(invocation, sources, changes, note).await
}

/// As [`run`], where `sources` have been opened already.
///
/// # Errors
/// As [`run`].
pub(in crate::cli::commands) async fn with(
    invocation: &Invocation,
    sources: Sources,
    changes: Vec<Change>,
    note: Option<String>,
) -> Result<(), CliError> {
    if let (Some(connection), Some(document)) = (sources.connection, sources.document) {
        let note = note.unwrap_or_else(|| summary(&changes));
        let layer = document.get(DOCUMENT_KEY).unwrap_or(&Value::Null);
        let asked = changes.clone();
        let changes = tidied(changes, layer);
        let after = validate_document(invocation, &document, &changes)?;
        if after == document {
            return tell(invocation, None, "nothing changes");
        }
        let request = WriteRequest { note, changes: changes.iter().map(document_change).collect() };
        if invocation.dry_run {
            return show(invocation, &request, &asked);
        }
        connection.client.write(&request).await?;
        let told = format!("written: {}", request.note);
        return tell(invocation, Some(&request.note), &told);
    }
    let layer = configuration::layer(invocation, Layer::File, None)?;
    let note = note.unwrap_or_else(|| summary(&changes));
    write_file(invocation, &tidied(changes, &layer), &note)
}

/// Says what was written: a note for people, the answer for programs.
fn tell(invocation: &Invocation, written: Option<&str>, told: &str) -> Result<(), CliError> {
    if invocation.format.is_json() {
        return print_json(&json!({ "written": written }));
    }
    invocation.note(told);
    Ok(())
}

/// What is removed alone takes the objects that held nothing else with it.
fn tidied(mut changes: Vec<Change>, layer: &Value) -> Vec<Change> {
    if let [change @ Change::Unset { .. }] = changes.as_mut_slice() {
        *change = change.clone().without_remains(layer);
    }
    changes
}

/// Checks what the effective configuration would be with `changes` in the document; the document
/// as it would be.
pub fn validate_document(
    invocation: &Invocation,
    document: &Value,
    changes: &[Change],
) -> Result<Value, CliError> {
    let mut after = document.clone();
    for change in changes {
        let moved = match change.clone() {
            Change::Set { path, value } => Change::Set { path: in_document(&path), value },
            Change::Unset { path } => Change::Unset { path: in_document(&path) },
        };
        change.check().map_err(|error| CliError::caused(Kind::User, &error))?;
        moved.apply(&mut after).map_err(|error| CliError::caused(Kind::Config, &error))?;
    }
    configuration::check_document(invocation, document, &after)?;
    Ok(after)
}

fn document_change(change: &Change) -> DocumentChange {
    change_at(change, in_document(change.path()).to_string())
}

fn change_at(change: &Change, path: String) -> DocumentChange {
    match change {
        Change::Set { value, .. } => DocumentChange::Set { path, value: value.clone() },
        Change::Unset { .. } => DocumentChange::Unset { path },
    }
}

/// What the log says when nobody gives a reason.
fn summary(changes: &[Change]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = changes
        .iter()
        .take(SHOWN)
        .map(|change| match change {
            Change::Set { path, .. } => format!("set {path}"),
            Change::Unset { path } => format!("unset {path}"),
        })
        .collect();
    match changes.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn show(
    invocation: &Invocation,
    request: &WriteRequest,
    changes: &[Change],
) -> Result<(), CliError> {
    let line = |change: &Change| match change {
        Change::Set { path, value } => format!("set {path} to {value}\n"),
        Change::Unset { path } => format!("unset {path}\n"),
    };
    invocation.print_plan(&changes.iter().map(line).collect::<String>(), request)
}

/// Before there is a cluster, the user's own file holds what is wanted.
fn write_file(invocation: &Invocation, changes: &[Change], note: &str) -> Result<(), CliError> {
    let path = invocation.mutable_config();
    let mut tree = configuration::layer(invocation, Layer::File, None)?;
    for change in changes {
        change.apply(&mut tree).map_err(|error| CliError::caused(Kind::User, &error))?;
    }
    if invocation.dry_run {
        let told = changes.iter().map(|change| change_at(change, change.path().to_string()));
        let request = WriteRequest { note: note.to_owned(), changes: told.collect() };
        return show(invocation, &request, changes);
    }
    let failed = |error| CliError::file("write", &path, &error);
    let draft = path.with_extension(format!("json.{}", std::process::id()));
    let result = write_draft(&draft, &tree).map_err(failed).and_then(|()| {
        // Validated as a file, so that a fault is told with its line; renamed only when sound.
        let checked = Invocation { config_file: Some(draft.clone()), ..invocation.clone() };
        configuration::load(&checked, None)?;
        std::fs::rename(&draft, &path).map_err(failed)
    });
    if result.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    result?;
    tell(invocation, Some(note), &format!("written to {}", path.display()))
}

fn write_draft(draft: &FilePath, tree: &Value) -> io::Result<()> {
    if let Some(folder) = draft.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(draft)?;
    let mut text = serde_json::to_vec_pretty(tree)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::arguments::Arguments;

    fn set(path: &str, value: Value) -> Change {
        Change::Set { path: path.parse().unwrap(), value }
    }

    #[tokio::test]
    async fn without_a_cluster_the_file_is_written_whole_and_private() {
        use std::os::unix::fs::PermissionsExt;

        let home = tempfile::tempdir().unwrap();
        let words = ["raptor", "-q", "--home", home.path().to_str().unwrap(), "members"];
        let invocation = Invocation::new(Arguments::parse_from(words).global).unwrap();
        run(&invocation, vec![set("mesh.rings", json!(4))], None).await.unwrap();
        run(&invocation, vec![set("mesh.ping_interval_ms", json!(900))], None).await.unwrap();
        let typo = vec![set("mesh.ring", json!(1))];
        let error = run(&invocation, typo, None).await.unwrap_err().render(false);
        assert!(error.contains("did you mean \"rings\"?"), "{error}");

        let path = invocation.mutable_config();
        let written: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(written, json!({"mesh": {"rings": 4, "ping_interval_ms": 900}}));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1, "no draft is left");

        let unset = |path: &str| vec![Change::Unset { path: path.parse().unwrap() }];
        for (path, left) in [
            ("mesh.rings", json!({"mesh": {"ping_interval_ms": 900}})),
            ("mesh.ping_interval_ms", json!({})),
        ] {
            run(&invocation, unset(path), None).await.unwrap();
            let written: Value =
                serde_json::from_slice(&std::fs::read(invocation.mutable_config()).unwrap())
                    .unwrap();
            assert_eq!(written, left);
        }
    }

    #[test]
    fn changes_stand_below_the_documents_key_and_are_summed_up() {
        let changes: Vec<Change> = ["a", "b", "c.d", "e"].map(|path| set(path, json!(1))).into();
        let DocumentChange::Set { path, .. } = document_change(&changes[2]) else {
            panic!("a set stays a set");
        };
        assert_eq!(path, "config.c.d");
        assert_eq!(summary(&changes), "set a, set b, set c.d and 1 more");
    }
}

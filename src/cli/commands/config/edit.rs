//! `raptor config edit`

use std::fs::DirBuilder;
use std::io::IsTerminal;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path as FilePath, PathBuf};
use std::process::Command;

use data_encoding::HEXLOWER;
use serde_json::Value;

use crate::cli::commands::config::Sources;
use crate::cli::commands::config::difference;
use crate::cli::commands::config::write;
use crate::cli::confirm::confirm;
use crate::cli::error::CliError;
use crate::cli::invocation::Invocation;
use crate::cli::output::tell;
use crate::config::change::Change;

/// A folder that nobody else can enter, gone at the end.
struct Desk(PathBuf);

impl Desk {
    fn new() -> Result<Self, CliError> {
        let mut random = [0u8; 8];
        getrandom::fill(&mut random)
            .map_err(|error| CliError::bug(format!("no random numbers: {error}")))?;
        let path = std::env::temp_dir().join(format!("raptor-{}", HEXLOWER.encode(&random)));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| CliError::file("make", &path, &error))?;
        Ok(Self(path))
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // Nobody can act on a temporary folder that stays.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Lets the user edit the layer that changes go into, as often as it takes to be sound.
///
/// # Errors
/// The editor failed, the user gave up, or the write failed.
pub async fn run(invocation: &Invocation, note: Option<String>) -> Result<(), CliError> {
    let mut sources = Sources::open(invocation).await?;
    let before = sources.own_layer(invocation)?;
    let desk = Desk::new()?;
    let file = desk.0.join("mutable_config.json");
    let text = serde_json::to_string_pretty(&before)
        .map_err(|error| CliError::bug(format!("the configuration is no JSON: {error}")))?;
    std::fs::write(&file, text + "\n").map_err(|error| CliError::file("write", &file, &error))?;
    loop {
        open_editor(&file)?;
        let result = read(&file, &before)
            .and_then(|changes| check(invocation, &sources, &changes).map(|()| changes));
        match result {
            Ok(changes) => return write::run(invocation, changes, note).await,
            Err(error) if std::io::stdin().is_terminal() => {
                tell(error.render(false).trim_end());
                // `--yes` must not send the user round for ever.
                confirm(&Invocation { yes: false, ..invocation.clone() }, "edit again").await?;
            }
            Err(error) => return Err(error),
        }
    }
}

fn open_editor(file: &FilePath) -> Result<(), CliError> {
    let set = |key| std::env::var(key).ok().filter(|value: &String| !value.trim().is_empty());
    let editor = set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".to_owned());
    // The variable may hold options, so a shell splits it; the file is an argument of its own.
    let status = Command::new("sh")
        .args(["-c", &format!("{editor} \"$1\""), "sh"])
        .arg(file)
        .status()
        .map_err(|error| CliError::user(format!("cannot run {editor}: {error}")))?;
    if status.success() {
        return Ok(());
    }
    let how = match status.code() {
        Some(code) => format!("exit status {code}"),
        None => "a signal".to_owned(),
    };
    Err(CliError::user(format!("{editor} ended with {how}; nothing was changed"))
        .with_hint("choose another with EDITOR"))
}

fn read(file: &FilePath, before: &Value) -> Result<Vec<Change>, CliError> {
    let text =
        std::fs::read_to_string(file).map_err(|error| CliError::file("read", file, &error))?;
    let after: Value = serde_json::from_str(&text)
        .map_err(|error| CliError::config(format!("the configuration is no JSON: {error}")))?;
    if !after.is_object() {
        return Err(CliError::config("a configuration is a JSON object"));
    }
    Ok(difference::between(before, &after))
}

fn check(invocation: &Invocation, sources: &Sources, changes: &[Change]) -> Result<(), CliError> {
    match &sources.document {
        Some(document) => write::validate_document(invocation, document, changes).map(drop),
        // Without a cluster the write itself validates, before it replaces the file.
        None => Ok(()),
    }
}

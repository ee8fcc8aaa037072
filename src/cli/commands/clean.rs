//! `raptor clean`

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::cli::commands::agent;
use crate::cli::confirm::confirm;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::cli::output::print;
use crate::cli::output::print_json;
use crate::http::client::ApiClient;

/// What raptor keeps in its home, and nothing else.
const OWNED: [&str; 9] = [
    "agent",
    "machines",
    "modules",
    "founding",
    "recovery",
    "ssh",
    "contexts.json",
    "known_hosts",
    "mutable_config.json",
];

/// Remove every trace of raptor on this machine
///
/// The agent of this home and the machines of the back-end `local` are ended, then their files go.
/// Other members live on. Files that are not raptor's stay.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor clean --dry-run
  raptor clean --yes")]
pub struct CleanArguments {}

/// Cleans, after a question.
///
/// # Errors
/// Declined, an agent does not end, or files cannot be removed.
pub async fn run(invocation: &Invocation) -> Result<ExitStatus, CliError> {
    let home = &invocation.home;
    let sockets = sockets(home).map_err(|error| CliError::file("read", home, &error))?;
    let paths: Vec<PathBuf> = OWNED
        .iter()
        .map(|name| home.join(name))
        .filter(|path| path.symlink_metadata().is_ok())
        .collect();
    if paths.is_empty() {
        invocation.note(&format!("nothing of raptor's is in {}", home.display()));
        return Ok(ExitStatus::DONE);
    }
    show(invocation, &sockets, &paths)?;
    if invocation.dry_run {
        return Ok(ExitStatus::DONE);
    }
    confirm(invocation, &format!("remove {} entries of {}", paths.len(), home.display())).await?;
    for socket in &sockets {
        agent::stop(&ApiClient::new(socket)?, false).await?;
    }
    for path in &paths {
        remove(path).map_err(|error| CliError::file("remove", path, &error))?;
    }
    // Stays when files of somebody else's are in it.
    let _ = fs::remove_dir(home);
    Ok(ExitStatus::DONE)
}

fn show(invocation: &Invocation, sockets: &[PathBuf], paths: &[PathBuf]) -> Result<(), CliError> {
    if invocation.format.is_json() {
        return print_json(&json!({ "stop": sockets, "remove": paths }));
    }
    let stop = sockets.iter().map(|path| format!("stop the agent at {}\n", path.display()));
    let remove = paths.iter().map(|path| format!("remove {}\n", path.display()));
    let text: String = stop.chain(remove).collect();
    if invocation.dry_run {
        return print(&text);
    }
    invocation.note(text.trim_end());
    Ok(())
}

/// The sockets of this home's agent and of the local machines: `machines/CLUSTER/NAME`.
fn sockets(home: &Path) -> io::Result<Vec<PathBuf>> {
    let mut homes = vec![home.to_owned()];
    for cluster in folders(&home.join("machines"))? {
        homes.extend(folders(&cluster)?);
    }
    let sockets = homes.into_iter().map(|home| home.join("agent/agent.sock"));
    Ok(sockets.filter(|path| path.symlink_metadata().is_ok()).collect())
}

fn folders(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry?;
        // A link leads away from what is raptor's.
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

fn remove(path: &Path) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::arguments::Arguments;

    fn invocation(home: &Path, option: &str) -> Invocation {
        let home = home.display().to_string();
        let words = ["raptor", "--quiet", "--home", &home, option, "clean"];
        Invocation::new(Arguments::parse_from(words).global).unwrap()
    }

    #[tokio::test]
    async fn only_what_is_raptors_goes() {
        let home = tempfile::tempdir().unwrap();
        let machine = home.path().join("machines/default/web-1/agent");
        fs::create_dir_all(&machine).unwrap();
        // The socket of an agent that was killed: nobody answers there.
        drop(std::os::unix::net::UnixListener::bind(machine.join("agent.sock")).unwrap());
        fs::write(home.path().join("contexts.json"), "{}").unwrap();
        fs::write(home.path().join("diary.txt"), "mine").unwrap();

        run(&invocation(home.path(), "--dry-run")).await.unwrap();
        assert!(machine.exists());
        run(&invocation(home.path(), "--yes")).await.unwrap();
        let left: Vec<_> = fs::read_dir(home.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
        assert_eq!(fs::read_to_string(home.path().join("diary.txt")).unwrap(), "mine");
    }
}

//! `raptor clean`

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::Args;
use serde_json::json;

use crate::cli::commands::agent;
use crate::cli::confirm::confirm;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::cli::output::tell;
use crate::compute::local::supervisor;
use crate::config::home::Home;
use crate::provision::layout::Layout;
use crate::provision::uninstall;
use crate::ssh::control;

/// What raptor keeps in its home, and nothing else.
const OWNED: [&str; 10] = [
    "agent",
    "machines",
    "modules",
    "founding",
    "recovery",
    "ssh",
    "contexts.json",
    "known_hosts",
    "known_hosts.lock",
    "mutable_config.json",
];

/// Remove every trace of raptor on this machine
///
/// The agent of this home and the machines of the back-end `local` are ended, then their files go. On
/// a machine that was taken over (`slave`, `join` as root) the program, its start at boot and its log
/// go, too; what modules set up stays. Other members live on. Files that are not raptor's stay.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor clean --dry-run
  raptor clean --yes
  sudo raptor clean                   a machine that was taken over")]
pub struct CleanArguments {}

/// What is to be done.
struct Work {
    /// The homes of agents to end.
    stop: Vec<Home>,
    /// Entries of the home.
    remove: Vec<PathBuf>,
    /// What taking this machine over put there.
    installed: Vec<PathBuf>,
}

/// Cleans, after a question.
///
/// # Errors
/// Declined, an agent does not end, or files cannot be removed.
pub async fn run(invocation: &Invocation) -> Result<ExitStatus, CliError> {
    run_below(invocation, &Layout::default()).await
}

async fn run_below(invocation: &Invocation, layout: &Layout) -> Result<ExitStatus, CliError> {
    let home = &invocation.home;
    let work = work(home, layout).map_err(|error| CliError::file("read", home, &error))?;
    let installed_elsewhere = home != Path::new(&layout.home())
        && Path::new(&layout.library()).symlink_metadata().is_ok();
    if installed_elsewhere {
        let (library, home) = (layout.library(), layout.home());
        invocation.note(&format!(
            "this machine was taken over: {library} and {home} stay; `sudo raptor --home {home} \
             clean` removes them"
        ));
    }
    if work.remove.is_empty() && work.installed.is_empty() {
        invocation.note(&format!("nothing of raptor's is in {}", home.display()));
        if invocation.format.is_json() {
            show(invocation, &work)?;
        }
        return Ok(ExitStatus::DONE);
    }
    if invocation.dry_run {
        show(invocation, &work)?;
        return Ok(ExitStatus::DONE);
    }
    let text = text(&work);
    if invocation.yes {
        invocation.note(text.trim_end());
    } else {
        tell(text.trim_end());
    }
    let count = work.remove.len() + work.installed.len();
    confirm(invocation, &format!("remove these {count} entries")).await?;
    for home in &work.stop {
        agent::stop(home, false).await?;
    }
    let left = if work.installed.is_empty() { Vec::new() } else { uninstall(layout).await? };
    if !left.is_empty() {
        return Err(CliError::user(format!("could not remove {}", left.join(", ")))
            .with_hint("`sudo raptor clean` may"));
    }
    for path in &work.remove {
        remove(path).map_err(|error| CliError::file("remove", path, &error))?;
    }
    // Homes that are named share it.
    if home == Path::new(&Layout::default().home()) {
        control::remove_unused();
    }
    // Stays when files of somebody else's are in it.
    let _ = fs::remove_dir(home);
    if invocation.format.is_json() {
        show(invocation, &work)?;
    }
    Ok(ExitStatus::DONE)
}

fn work(home: &Path, layout: &Layout) -> io::Result<Work> {
    let is_there = |path: &PathBuf| path.symlink_metadata().is_ok();
    let owned = OWNED.iter().map(|name| home.join(name));
    let mut installed = Vec::new();
    if home == Path::new(&layout.home()) {
        installed.extend(uninstall::traces(layout).into_iter().map(PathBuf::from));
        let command = PathBuf::from(layout.command());
        let is_ours = |target: PathBuf| target.starts_with(layout.library());
        installed.extend(fs::read_link(&command).is_ok_and(is_ours).then_some(command));
        installed.retain(is_there);
    }
    let remove = owned.filter(is_there).filter(|path| !installed.contains(path)).collect();
    Ok(Work { stop: running(home)?, remove, installed })
}

/// Takes raptor off this machine; what could not be removed.
async fn uninstall(layout: &Layout) -> Result<Vec<String>, CliError> {
    let mut shell = tokio::process::Command::new("sh");
    shell.args(["-c", &uninstall::uninstall_script(layout)]).stdin(Stdio::null());
    let output = shell.output().await?;
    uninstall::left(&output.stdout).ok_or_else(|| {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        CliError::user(format!("what takes raptor off this machine broke off: {why}"))
            .with_hint("`raptor clean` again goes on")
    })
}

fn text(work: &Work) -> String {
    let stop = work
        .stop
        .iter()
        .map(Home::socket_file)
        .map(|path| format!("stop the agent at {}\n", path.display()));
    let paths = work.remove.iter().chain(&work.installed);
    stop.chain(paths.map(|path| format!("remove {}\n", path.display()))).collect()
}

fn show(invocation: &Invocation, work: &Work) -> Result<(), CliError> {
    let remove: Vec<_> = work.remove.iter().chain(&work.installed).collect();
    let stop: Vec<_> = work.stop.iter().map(Home::socket_file).collect();
    invocation.print_plan(&text(work), &json!({ "stop": stop, "remove": remove }))
}

/// Those of this home and of the local machines (`machines/CLUSTER/NAME`) with an agent that answers, or
/// that its supervisor is about to start.
fn running(home: &Path) -> io::Result<Vec<Home>> {
    let mut homes = vec![home.to_owned()];
    for cluster in folders(&home.join("machines"))? {
        homes.extend(folders(&cluster)?);
    }
    let runs = |home: &Home| {
        home.socket_file().symlink_metadata().is_ok() || supervisor::is_running(home.root())
    };
    Ok(homes.into_iter().map(Home::new).filter(runs).collect())
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
    match path.symlink_metadata() {
        // Went with what was installed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    }
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
    async fn a_machine_that_was_taken_over_keeps_nothing() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::below(root.path().display().to_string());
        let home = PathBuf::from(layout.home());
        let log = PathBuf::from(layout.log());
        let program = PathBuf::from(layout.release("1"));
        for path in [&log, &program, &home.join("steps/a"), &home.join("known_hosts.lock")] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        fs::create_dir_all(root.path().join("usr/local/bin")).unwrap();
        std::os::unix::fs::symlink(layout.program(), layout.command()).unwrap();

        let other = tempfile::tempdir().unwrap();
        run_below(&invocation(other.path(), "--yes"), &layout).await.unwrap();
        assert!(program.exists(), "another home took the program away");
        run_below(&invocation(&home, "--dry-run"), &layout).await.unwrap();
        assert!(program.exists());
        run_below(&invocation(&home, "--yes"), &layout).await.unwrap();
        assert!(!home.exists() && !log.exists() && !program.exists());
        assert!(Path::new(&layout.command()).symlink_metadata().is_err());
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

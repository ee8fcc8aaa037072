//! `raptor install`

use std::path::{Path as FilePath, PathBuf};
use std::process::Command;

use clap::Args;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::commands::config::Sources;
use crate::cli::commands::config::write;
use crate::cli::configuration;
use crate::cli::error::CliError;
use crate::cli::error::Kind;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::cli::output::print;
use crate::cli::output::print_json;
use crate::cli::output::table::Table;
use crate::config::change::Change;
use crate::config::home::Home;
use crate::config::module::carried::CarriedModule;
use crate::config::module::found_in;
use crate::config::path::Path;

/// Give modules to the whole cluster: server types and compute types of your own
///
/// They travel with the configuration: every member has them, one that was away gets them later,
/// and who is left rebuilds with them. What is installed stays as it is, whatever becomes of the
/// place it came from. Without MODULE, shows what is installed.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor install ./modules/web
  raptor install web                        # a folder of that name in the home's modules/
  raptor install owner/repository@v1.2      # from GitHub, at that tag
  raptor install https://git.example.org/modules.git@4f2c91a
  raptor install web --remove")]
pub struct InstallArguments {
    /// A folder, a module's name, OWNER/REPOSITORY or the URL of a git repository, with @REVISION
    #[arg(value_name = "MODULE")]
    module: Option<String>,

    /// Take it away; a bundled module of that name serves again
    #[arg(long, requires = "module")]
    remove: bool,
}

/// Where modules come from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    Folder(PathBuf),
    Git { url: String, revision: Option<String> },
}

/// Runs the command.
///
/// # Errors
/// There is no such module, it is not sound, or the cluster refuses it.
pub async fn run(
    invocation: &Invocation,
    arguments: InstallArguments,
) -> Result<ExitStatus, CliError> {
    let Some(module) = arguments.module else {
        list(invocation).await?;
        return Ok(ExitStatus::DONE);
    };
    if arguments.remove {
        let sources = Sources::open(invocation).await?;
        let known = installed(invocation, &sources)?;
        if known.get(&module).is_none() {
            let names: Vec<&str> = known.keys().map(String::as_str).collect();
            let error = CliError::user(format!("no module {module:?} is installed"));
            return Err(match names.as_slice() {
                [] => error.with_hint("none is installed; bundled modules stay"),
                names => error.with_hint(format!("installed are {}", names.join(", "))),
            });
        }
        let note = format!("remove module {module}");
        if invocation.dry_run && !invocation.format.is_json() {
            print(&format!("{note}\n"))?;
            return Ok(ExitStatus::DONE);
        }
        let change = Change::Unset { path: path_of(&module) };
        write::with(invocation, sources, vec![change], Some(note)).await?;
        return Ok(ExitStatus::DONE);
    }
    let origin = origin(&module, &Home::new(&invocation.home))?;
    let modules = tokio::task::spawn_blocking(move || fetch(&origin))
        .await
        .map_err(|error| CliError::bug(format!("reading modules was broken off: {error}")))??;
    let sources = Sources::open(invocation).await?;
    let plan = plan(&modules, &installed(invocation, &sources)?);
    if invocation.dry_run && !invocation.format.is_json() {
        if plan.is_empty() {
            invocation.note("nothing changes");
        }
        print(&plan.concat())?;
        return Ok(ExitStatus::DONE);
    }
    for (name, carried) in &modules {
        invocation.note(&format!("{name}: {}", told(carried)));
    }
    let set = |(name, carried): &(String, CarriedModule)| Change::Set {
        path: path_of(name),
        value: json!(carried),
    };
    let changes = modules.iter().map(set).collect();
    let names: Vec<&str> = modules.iter().map(|(name, _)| name.as_str()).collect();
    let note = format!("install {}", names.join(", "));
    write::with(invocation, sources, changes, Some(note)).await?;
    Ok(ExitStatus::DONE)
}

fn told(carried: &CarriedModule) -> String {
    let files = match carried.files.len() {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    };
    let revision = carried.revision.as_ref().map(|it| format!(" at {it}"));
    format!("{files}, sha256 {}{}", carried.sha256, revision.unwrap_or_default())
}

/// What would become of `modules`, a line each; those that are installed as they are change nothing.
fn plan(
    modules: &[(String, CarriedModule)],
    installed: &serde_json::Map<String, Value>,
) -> Vec<String> {
    let line = |(name, carried): &(String, CarriedModule)| match installed.get(name) {
        Some(there) if *there == json!(carried) => None,
        Some(_) => Some(format!("replace {name}: {}\n", told(carried))),
        None => Some(format!("install {name}: {}\n", told(carried))),
    };
    modules.iter().filter_map(line).collect()
}

fn path_of(name: &str) -> Path {
    Path::root().join("modules").join(name)
}

/// What the configuration carries, by name.
fn installed(
    invocation: &Invocation,
    sources: &Sources,
) -> Result<serde_json::Map<String, Value>, CliError> {
    let effective = configuration::load(invocation, sources.document.as_ref())?;
    let modules = effective.get("modules").and_then(Value::as_object).cloned();
    let mut modules = modules.unwrap_or_default();
    modules.retain(|name, _| !name.starts_with("_comment"));
    Ok(modules)
}

async fn list(invocation: &Invocation) -> Result<(), CliError> {
    let modules = installed(invocation, &Sources::open(invocation).await?)?;
    let text = |module: &Value, key: &str| module[key].as_str().unwrap_or_default().to_owned();
    if invocation.format.is_json() {
        let rows: Vec<Value> = modules
            .iter()
            .map(|(name, module)| {
                json!({
                    "name": name, "kind": module["kind"], "source": module["source"],
                    "revision": module["revision"], "sha256": module["sha256"],
                })
            })
            .collect();
        return print_json(&rows);
    }
    let mut table = Table::new(["Module", "Kind", "Revision", "Sha256", "Source"]);
    for (name, module) in &modules {
        let short = |key: &str| text(module, key).chars().take(12).collect::<String>();
        table.push([
            name.clone(),
            text(module, "kind"),
            short("revision"),
            short("sha256"),
            text(module, "source"),
        ]);
    }
    print(&table.render())
}

/// What the user means: a folder that is there, a module of the home, or a git repository.
fn origin(module: &str, home: &Home) -> Result<Origin, CliError> {
    let is_address = module.contains("://") || module.starts_with("git@");
    let folder = FilePath::new(module);
    if !is_address && folder.is_dir() {
        return Ok(Origin::Folder(folder.to_owned()));
    }
    for kind in ["provisioning", "compute_types"] {
        let folder = home.modules_folder().join(kind).join(module);
        if !module.contains('/') && !module.starts_with('.') && folder.is_dir() {
            return Ok(Origin::Folder(folder));
        }
    }
    // The revision stands after the last slash: `git@host:path` has an @ of its own.
    let (place, name) = module.rsplit_once('/').unwrap_or(("", module));
    let (name, revision) = match name.split_once('@') {
        Some((name, revision)) => (name, Some(revision.to_owned())),
        None => (name, None),
    };
    let sound = |text: &str| !text.is_empty() && !text.starts_with('-');
    if !sound(name) || !sound(module) || revision.as_deref().is_some_and(|it| !sound(it)) {
        return Err(CliError::usage(format!("{module:?} names no module")));
    }
    if is_address {
        return Ok(Origin::Git { url: format!("{place}/{name}"), revision });
    }
    if place.is_empty() || place.contains(['/', '.']) {
        let folder = home.modules_folder();
        return Err(CliError::user(format!("there is no module {module:?}")).with_hint(format!(
            "a folder, a name below {}, OWNER/REPOSITORY, or a git URL",
            folder.display()
        )));
    }
    Ok(Origin::Git { url: format!("https://github.com/{place}/{name}.git"), revision })
}

/// The modules at `origin`, packed.
fn fetch(origin: &Origin) -> Result<Vec<(String, CarriedModule)>, CliError> {
    let (folder, source, revision, _clone) = match origin {
        Origin::Folder(folder) => (folder.clone(), folder.display().to_string(), None, None),
        Origin::Git { url, revision } => {
            let (clone, commit) = cloned(url, revision.as_deref())?;
            (clone.path().to_owned(), without_login(url), Some(commit), Some(clone))
        }
    };
    let found = found_in(&folder).map_err(|error| CliError::caused(Kind::Config, &error))?;
    if found.is_empty() {
        return Err(CliError::user(format!("{source} holds no module")).with_hint(
            "a module is a folder with module.toml; a repository may hold several below \
             provisioning/ and compute_types/",
        ));
    }
    let pack = |(name, kind, files)| {
        let packed = CarriedModule::pack(kind, &source, revision.clone(), &files);
        let packed = packed.map_err(|error| CliError::user(format!("{name}: {error}")))?;
        Ok((name, packed))
    };
    found.into_iter().map(pack).collect()
}

/// An address as it may be told to everybody: a password in it stays here.
fn without_login(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}/{path}")
        }
        None => url.to_owned(),
    }
}

/// Clones a repository; the folder, and the commit that was checked out.
fn cloned(url: &str, revision: Option<&str>) -> Result<(TempDir, String), CliError> {
    let folder = tempfile::tempdir()
        .map_err(|error| CliError::file("make", FilePath::new("a temporary folder"), &error))?;
    let place = folder.path().display().to_string();
    // Neither what the repository says nor the user's own hooks run anything.
    let quiet = ["-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never"];
    git(&[&quiet[..], &["clone", "--quiet", "--no-checkout", "--", url, &place]].concat(), url)?;
    let wanted = revision.unwrap_or("HEAD");
    let commit = [format!("refs/remotes/origin/{wanted}"), wanted.to_owned()]
        .iter()
        .find_map(|name| {
            let name = format!("{name}^{{commit}}");
            git(&["-C", &place, "rev-parse", "--quiet", "--verify", "--end-of-options", &name], url)
                .ok()
        })
        .ok_or_else(|| CliError::user(format!("{} has no {wanted:?}", without_login(url))))?;
    let commit = commit.lines().last().unwrap_or_default().to_owned();
    git(&[&quiet[..], &["-C", &place, "checkout", "--quiet", "--detach", &commit]].concat(), url)?;
    Ok((folder, commit))
}

/// Runs git; what it said.
fn git(arguments: &[&str], url: &str) -> Result<String, CliError> {
    let failed = |why: &str| CliError::user(format!("git, {}: {why}", without_login(url)));
    let mut command = Command::new("git");
    command.args(arguments).env("GIT_TERMINAL_PROMPT", "0");
    let output = command
        .output()
        .map_err(|error| failed(&error.to_string()).with_hint("install git, or name a folder"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(failed(told.trim().lines().last().unwrap_or("it failed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_is_found_out() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path());
        let own = home.modules_folder().join("provisioning/web");
        std::fs::create_dir_all(&own).unwrap();
        let git = |url: &str, revision: Option<&str>| Origin::Git {
            url: url.to_owned(),
            revision: revision.map(str::to_owned),
        };
        for (module, meant) in [
            ("web", Origin::Folder(own.clone())),
            ("/tmp", Origin::Folder("/tmp".into())),
            ("a/b", git("https://github.com/a/b.git", None)),
            ("a/b@v1.2", git("https://github.com/a/b.git", Some("v1.2"))),
            ("https://u:p@h/x/y.git@4f2", git("https://u:p@h/x/y.git", Some("4f2"))),
            ("git@h:x/y.git@main", git("git@h:x/y.git", Some("main"))),
            ("file:///srv/y", git("file:///srv/y", None)),
        ] {
            assert_eq!(origin(module, &home).ok(), Some(meant), "{module}");
        }
        for module in ["nothing", "./nothing", "a/b/c", "a/", "a/b@", "a/--upload-pack=x", "-a/b"] {
            assert!(origin(module, &home).is_err(), "{module}");
        }
    }

    #[test]
    fn a_plan_says_what_changes() {
        let pack = |text: &str| {
            let files = [("a".to_owned(), text.as_bytes().to_vec().into())].into_iter().collect();
            CarriedModule::pack("server_type", "/m", None, &files).unwrap()
        };
        let new = [("web".to_owned(), pack("1"))];
        let none = serde_json::Map::new();
        assert!(plan(&new, &none)[0].starts_with("install web: 1 file, sha256 "));
        let mut there = none;
        there.insert("web".to_owned(), json!(pack("1")));
        assert!(plan(&new, &there).is_empty());
        there.insert("web".to_owned(), json!(pack("2")));
        assert!(plan(&new, &there)[0].starts_with("replace web: "));
    }

    #[test]
    fn passwords_in_addresses_are_not_told() {
        assert_eq!(without_login("https://u:p@h/x.git"), "https://h/x.git");
        assert_eq!(without_login("git@h:x.git"), "git@h:x.git");
    }
}

//! `raptor provider`

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use crate::agent::perform::settings::own_public_key;
use crate::agent::perform::settings::spawned_key_file;
use crate::cli::error::CliError;
use crate::cli::error::with_causes;
use crate::cli::exit_status::ExitStatus;
use crate::cli::hands::failure;
use crate::cli::invocation::Invocation;
use crate::cli::output::print;
use crate::cli::output::print_json;
use crate::cli::output::table::Table;
use crate::compute::conformance;
use crate::compute::conformance::Finding;
use crate::compute::conformance::Terms;
use crate::compute::error::Cause;
use crate::compute::no_secrets;
use crate::compute::plugin::Plugin;
use crate::compute::plugin::find;
use crate::compute::plugin::settings::PluginSettings;
use crate::config::home::Home;
use crate::model::machine::Access;
use crate::model::machine::Machine;
use crate::ssh::host::Command;
use crate::ssh::host::Host;
use crate::ssh::known_hosts::KnownHosts;
use crate::ssh::openssh::OpenSshHost;
use crate::ssh::target::SshTarget;

/// How long a plug-in may take to say who it is when all are listed.
const DESCRIBE_TIMEOUT_MS: u64 = 10_000;
/// How long a machine of a plug-in that is tested may take to let us in.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(300);
const LOGIN_INTERVAL: Duration = Duration::from_secs(1);

/// Plug-ins that make machines: programs called raptor-provider-NAME
#[derive(Debug, Subcommand)]
#[command(after_long_help = "Examples:
  raptor provider ls
  raptor provider test ./raptor-provider-mine")]
pub enum ProviderCommand {
    /// List the plug-ins that are found: in `providers` of the home folder, then in PATH
    #[command(after_long_help = "Examples:
  raptor provider ls")]
    Ls,
    /// See whether a plug-in keeps what all back-ends promise
    ///
    /// Some fifteen machines are made with it, one or a few at a time, and destroyed again: where
    /// machines are rented that costs money.
    #[command(after_long_help = "Examples:
  raptor provider test ./raptor-provider-mine
  raptor provider test mine --settings mine.json --secret token=/root/mine.token")]
    Test(TestArguments),
}

/// What is tested, and how.
#[derive(Debug, Args)]
pub struct TestArguments {
    /// The plug-in: its path, or its name when it can be found
    #[arg(value_name = "PATH|NAME")]
    pub plugin: String,

    /// A JSON object: what the plug-in gets as its settings
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,

    /// A secret for the plug-in: a file of mode 0600, or $VARIABLE
    #[arg(long, value_name = "NAME=PLACE", value_parser = secret)]
    pub secret: Vec<(String, String)>,

    /// A variable of the environment that the plug-in gets besides the usual ones
    #[arg(long, value_name = "VARIABLE")]
    pub environment: Vec<String>,
}

fn secret(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, place)) if !name.is_empty() && !place.is_empty() => {
            Ok((name.to_owned(), place.to_owned()))
        }
        _ => Err(format!("{text:?} is not NAME=PLACE")),
    }
}

/// Runs one of them.
///
/// # Errors
/// There is no such plug-in, or it cannot be tested.
pub async fn run(
    invocation: &Invocation,
    command: ProviderCommand,
) -> Result<ExitStatus, CliError> {
    match command {
        ProviderCommand::Ls => list(invocation).await,
        ProviderCommand::Test(arguments) => test(invocation, arguments).await,
    }
}

fn folders(invocation: &Invocation) -> Vec<PathBuf> {
    find::folders(None, &Home::new(&invocation.home).providers_folder())
}

async fn list(invocation: &Invocation) -> Result<ExitStatus, CliError> {
    let mut rows = Vec::new();
    for found in find::all(&folders(invocation)) {
        let settings =
            PluginSettings { timeout_ms: DESCRIBE_TIMEOUT_MS, ..PluginSettings::default() };
        let plugin = Plugin::at(&found.name, settings, &found.path);
        let told = plugin.describe().await;
        let problem = told.as_ref().err().map(|error| with_causes(error));
        let (version, description) = told.map_or_else(
            |_| (String::new(), String::new()),
            |told| (told.version.clone(), told.description.clone()),
        );
        rows.push(json!({
            "name": found.name,
            "version": version,
            "path": found.path,
            "sha256": find::digest(&found.path).ok(),
            "description": description,
            "problem": problem,
        }));
    }
    if invocation.format.is_json() {
        print_json(&rows)?;
        return Ok(ExitStatus::DONE);
    }
    let mut table = Table::new(["NAME", "VERSION", "PATH", "DESCRIPTION"]);
    for row in rows {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let description = match row["problem"].as_str() {
            Some(problem) => format!("does not work: {problem}"),
            None => text("description"),
        };
        table.push([text("name"), text("version"), text("path"), description]);
    }
    print(&table.render())?;
    Ok(ExitStatus::DONE)
}

async fn test(invocation: &Invocation, arguments: TestArguments) -> Result<ExitStatus, CliError> {
    let home = Home::new(&invocation.home);
    let plugin = open(invocation, &arguments)?;
    let path = plugin.program().map_err(|error| told(&error.into()))?;
    let public_key = own_public_key(&home).await.map_err(failure)?;
    let terms = Terms {
        authorized_keys: vec![public_key],
        create_time: None,
        log_in: Some(Box::new(|machine| log_in(home.clone(), machine))),
    };
    let findings = conformance::examine(&plugin, terms, |finding| {
        let word = if finding.fault.is_none() { "ok" } else { "FAILED" };
        invocation.note(&format!("{}: {word}", finding.promise));
    })
    .await;
    report(invocation, &path, &findings)
}

fn open(invocation: &Invocation, arguments: &TestArguments) -> Result<Plugin, CliError> {
    let settings = match &arguments.settings {
        None => Map::new(),
        Some(file) => {
            let text =
                fs::read_to_string(file).map_err(|error| CliError::file("read", file, &error))?;
            match serde_json::from_str(&text) {
                Ok(Value::Object(settings)) => settings,
                Ok(_) => {
                    return Err(CliError::config(format!(
                        "{}: expected an object",
                        file.display()
                    )));
                }
                Err(error) => {
                    return Err(CliError::config(format!("{}: {error}", file.display())));
                }
            }
        }
    };
    let mut plugin_settings = PluginSettings {
        settings,
        secrets: arguments.secret.iter().cloned().collect(),
        environment: arguments.environment.clone(),
        ..PluginSettings::default()
    };
    if arguments.plugin.contains('/') {
        let path = std::path::absolute(&arguments.plugin)
            .map_err(|error| CliError::file("find", Path::new(&arguments.plugin), &error))?;
        return Ok(Plugin::at("test", plugin_settings, &path));
    }
    plugin_settings.provider = Some(arguments.plugin.clone());
    plugin_settings.check().map_err(|error| told(&error))?;
    let own = Home::new(&invocation.home).providers_folder();
    Ok(Plugin::new("test", plugin_settings, &own, no_secrets()))
}

fn told(error: &Cause) -> CliError {
    CliError::user(with_causes(error)).with_hint(error.hint())
}

/// Logs in to a machine that was just made, as soon as it lets us, and runs something on it.
fn log_in(home: Home, machine: Machine) -> BoxFuture<'static, Result<(), String>> {
    Box::pin(async move {
        let Some(Access::Ssh { destination, host_keys, .. }) = machine.access else {
            return Err("the plug-in does not say where (`ssh` of the machine)".to_owned());
        };
        let mut target = SshTarget::new(destination, home.known_hosts_file());
        target.identity_file = Some(spawned_key_file(&home));
        target.host_key_alias = Some(machine.intent.to_string());
        target.host_keys = host_keys;
        let start = Instant::now();
        let entered = loop {
            match OpenSshHost::connect(target.clone()).await {
                Ok(host) => break host.run(Command::new(["true"])).await,
                Err(error) if start.elapsed() > LOGIN_TIMEOUT => break Err(error),
                Err(_) => tokio::time::sleep(LOGIN_INTERVAL).await,
            }
        };
        let _ = KnownHosts::new(home.known_hosts_file()).forget(&machine.intent.to_string());
        match entered {
            Ok(output) if output.status == 0 => Ok(()),
            Ok(output) => Err(format!("`true` ended with status {}", output.status)),
            Err(error) => Err(with_causes(&error)),
        }
    })
}

fn report(
    invocation: &Invocation,
    path: &Path,
    findings: &[Finding],
) -> Result<ExitStatus, CliError> {
    let why = |finding: &Finding| finding.fault.as_ref().map(|fault| with_causes(fault));
    let is_sound = findings.iter().all(|finding| finding.fault.is_none());
    if invocation.format.is_json() {
        let rows: Vec<Value> = findings
            .iter()
            .map(|finding| {
                json!({
                    "promise": finding.promise,
                    "kept": finding.fault.is_none(),
                    "took_ms": u64::try_from(finding.took.as_millis()).unwrap_or(u64::MAX),
                    "fault": why(finding),
                })
            })
            .collect();
        print_json(&json!({"plugin": path, "conforms": is_sound, "findings": rows}))?;
    } else {
        let mut table = Table::new(["IT", "RESULT", "SECONDS", "WHY"]);
        for finding in findings {
            let result = if finding.fault.is_none() { "ok" } else { "FAILED" };
            let seconds = format!("{:.1}", finding.took.as_secs_f64());
            let why = why(finding).unwrap_or_default();
            table.push([finding.promise.to_owned(), result.to_owned(), seconds, why]);
        }
        print(&table.render())?;
    }
    Ok(if is_sound { ExitStatus::DONE } else { ExitStatus::FAILED })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_named_and_lies_somewhere() {
        assert_eq!(secret("token=/a=b"), Ok(("token".to_owned(), "/a=b".to_owned())));
        for text in ["token", "=x", "token="] {
            assert!(secret(text).is_err(), "{text}");
        }
    }
}

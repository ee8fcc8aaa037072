//! `raptor version`

use clap::Args;
use serde_json::json;

use crate::agent::api::API_VERSION;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::output::Format;
use crate::cli::output::print;
use crate::cli::output::print_json;

/// Print the version
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor version
  raptor version -o json")]
pub struct VersionArguments {}

/// Prints the version. Touches nothing.
///
/// # Errors
/// Standard output is gone.
pub fn run(format: Format) -> Result<ExitStatus, CliError> {
    let version = env!("CARGO_PKG_VERSION");
    if format.is_json() {
        let mut object = json!({
            "name": "raptor",
            "version": version,
            "protocol": API_VERSION,
            "target": target(),
        });
        if let Some(commit) = option_env!("RAPTOR_GIT") {
            object["git"] = commit.into();
        }
        print_json(&object)?;
    } else {
        print(&format!("raptor {version} ({})\n", target()))?;
    }
    Ok(ExitStatus::DONE)
}

/// The target triple, as far as it matters to whoever copies the binary.
fn target() -> String {
    let libc = if cfg!(target_env = "musl") { "musl" } else { "gnu" };
    format!("{}-{}-{libc}", std::env::consts::ARCH, std::env::consts::OS)
}

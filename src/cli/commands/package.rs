//! `raptor package`

use clap::Args;
use serde_json::json;

use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::hands::package::Wanted;
use crate::cli::hands::package::package;
use crate::cli::interrupt::Interrupt;
use crate::cli::invocation::Invocation;
use crate::cli::output::print;
use crate::cli::output::print_json;
use crate::cli::output::progress::progress;

/// Make an image of a provisioned machine, so that the next spawn is faster
///
/// Boots a machine, provisions it, puts raptor on it, takes off what makes it itself (keys, who may
/// log in, its membership), makes an image, and destroys the machine. For compute types of Docker.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor package --compute-type docker --server-type consul
  raptor config set compute_types.docker.image '\"raptor-consul\"'
  raptor spawn --compute-type docker --server-type consul --count 3")]
pub struct PackageArguments {
    /// The back-end [default: default_compute_type of the configuration]
    #[arg(long, value_name = "T")]
    compute_type: Option<String>,

    /// What it will be [default: default_server_type of the configuration]
    #[arg(long, value_name = "S")]
    server_type: Option<String>,

    /// What the image is called [default: raptor-SERVER_TYPE]
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// A step of it failed.
pub async fn run(
    invocation: &Invocation,
    arguments: PackageArguments,
    interrupt: Interrupt,
) -> Result<ExitStatus, CliError> {
    let is_sound = |image: &String| {
        image.starts_with(|first: char| first.is_ascii_alphanumeric())
            && image.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:".contains(&byte))
    };
    if let Some(image) = arguments.image.as_ref().filter(|image| !is_sound(image)) {
        return Err(CliError::usage(format!("{image:?} is no name of an image")));
    }
    let PackageArguments { compute_type, server_type, image } = arguments;
    let wanted = Wanted { compute_type, server_type, image };
    let (compute_type, image) =
        package(invocation, wanted, progress(invocation), interrupt).await?;
    let value = json!({"compute_type": compute_type, "image": image});
    if invocation.dry_run {
        let text = format!("make the image {image} of a machine of {compute_type}\n");
        invocation.print_plan(&text, &value)?;
    } else if invocation.format.is_json() {
        print_json(&value)?;
    } else {
        print(&format!("{image}\n"))?;
        invocation.note(&format!(
            "to start from it: raptor config set compute_types.{compute_type}.image '\"{image}\"'"
        ));
    }
    Ok(ExitStatus::DONE)
}

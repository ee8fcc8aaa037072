//! A packaged machine: the hands for `raptor package`, and for what it left.

use std::path::PathBuf;
use std::sync::Arc;

use crate::agent::perform::settings::Parts;
use crate::agent::perform::settings::PerformSettings;
use crate::agent::perform::settings::Performer;
use crate::cli::confirm::confirm;
use crate::cli::doors::ApiDoors;
use crate::cli::error::CliError;
use crate::cli::hands::OWN_PROGRAM;
use crate::cli::hands::back_ends;
use crate::cli::hands::check_known;
use crate::cli::hands::failure;
use crate::cli::interrupt::Interrupt;
use crate::cli::invocation::Invocation;
use crate::compute::Secrets;
use crate::config::home::Home;
use crate::config::load::Loaded;
use crate::config::module::Modules;
use crate::config::schema::Config;
use crate::model::progress::Progress;

/// What is packaged: the compute type, the server type, the image's name; as configured where they
/// are not given.
pub struct Wanted {
    /// The back-end.
    pub compute_type: Option<String>,
    /// What the machine will be.
    pub server_type: Option<String>,
    /// What the image is called.
    pub image: Option<String>,
}

/// Packages a machine; the compute type, and the image's name.
///
/// # Errors
/// It could not be made.
pub async fn package(
    invocation: &Invocation,
    wanted: Wanted,
    progress: Arc<dyn Progress>,
    interrupt: Interrupt,
) -> Result<(String, String), CliError> {
    let (Loaded { config, modules, .. }, secrets) = back_ends::cluster(invocation).await?;
    let compute_type = wanted.compute_type.unwrap_or_else(|| config.default_compute_type.clone());
    let server_type = wanted.server_type.unwrap_or_else(|| config.default_server_type.clone());
    check_known("compute type", &compute_type, config.compute_types.keys())?;
    check_known("server type", &server_type, config.server_types.keys())?;
    let image = wanted.image.unwrap_or_else(|| format!("raptor-{server_type}"));
    if invocation.dry_run {
        return Ok((compute_type, image));
    }
    let loaded = (config, modules);
    let performer = performer(invocation, loaded, secrets, progress, interrupt);
    let packaged = Box::pin(performer.package(&compute_type, &server_type, &image));
    packaged.await.map_err(failure)?;
    Ok((compute_type, image))
}

/// Gives back what `package` left when it was killed, after that was confirmed; how many machines that
/// were, or may be.
///
/// # Errors
/// One could not be given back.
pub async fn give_back_left(
    invocation: &Invocation,
    progress: Arc<dyn Progress>,
    interrupt: Interrupt,
) -> Result<usize, CliError> {
    if !Home::new(&invocation.home).passing_folder().exists() {
        return Ok(0);
    }
    let (Loaded { config, modules, .. }, secrets) = back_ends::cluster(invocation).await?;
    let performer = performer(invocation, (config, modules), secrets, progress, interrupt);
    let count = performer.count_left();
    if invocation.dry_run || count == 0 {
        return Ok(count);
    }
    confirm(invocation, &format!("give back {count} machines of packages that were broken off"))
        .await?;
    performer.give_back_left().await.map_err(failure)
}

fn performer(
    invocation: &Invocation,
    (config, modules): (Config, Modules),
    secrets: Secrets,
    progress: Arc<dyn Progress>,
    interrupt: Interrupt,
) -> Performer {
    Performer::new(Parts {
        home: Home::new(&invocation.home),
        cluster: config.cluster.name.clone(),
        config,
        modules,
        secrets,
        settings: PerformSettings {
            concurrent: 1,
            identity_file: None,
            sudo_password: None,
            force: false,
            binary: PathBuf::from(OWN_PROGRAM),
            member: None,
        },
        doors: Arc::new(ApiDoors),
        progress,
        interrupt: interrupt.into_watch(),
    })
}

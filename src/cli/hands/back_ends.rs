//! The configured back-ends, asked without making anything.

use crate::agent::perform::settings::back_end_settings;
use crate::cli::configuration;
use crate::cli::connection;
use crate::cli::error::CliError;
use crate::cli::hands::failure;
use crate::cli::hands::user;
use crate::cli::invocation::Invocation;
use crate::cli::secrets;
use crate::compute;
use crate::compute::Compute;
use crate::compute::Secrets;
use crate::compute::catalog::Catalog;
use crate::compute::error::ComputeError;
use crate::config::home::Home;
use crate::config::load::Loaded;

/// A compute type as it is configured.
pub struct BackEnd {
    /// Its name.
    pub name: String,
    /// What drives it.
    pub driver: String,
    /// What it is, for people.
    pub description: String,
    /// Whether `spawn` uses it unless told otherwise.
    pub is_default: bool,
}

/// All compute types that may be used, by name.
///
/// # Errors
/// The configuration is wrong.
pub async fn configured(invocation: &Invocation) -> Result<Vec<BackEnd>, CliError> {
    let (Loaded { config, .. }, _) = cluster(invocation).await?;
    let usable = config.compute_types.iter().filter(|(_, it)| it.available);
    Ok(usable
        .map(|(name, compute_type)| BackEnd {
            name: name.clone(),
            driver: compute_type.driver.clone(),
            description: compute_type.description.clone(),
            is_default: *name == config.default_compute_type,
        })
        .collect())
}

/// Whether the back-end of a compute type, or of the configured one, could make machines: its
/// name, and what would make them.
///
/// # Errors
/// What stands in the way.
pub async fn check_available(
    invocation: &Invocation,
    compute_type: Option<String>,
) -> Result<(String, String), CliError> {
    let back_end = open(invocation, compute_type).await?;
    let available = back_end.check().await.map_err(|error| told(&error))?;
    Ok((back_end.name().to_owned(), available.summary))
}

/// What a back-end offers: its name, and the catalogue where there is one.
///
/// # Errors
/// It cannot be asked.
pub async fn catalog(
    invocation: &Invocation,
    compute_type: Option<String>,
) -> Result<(String, Option<Catalog>), CliError> {
    let back_end = open(invocation, compute_type).await?;
    let catalog = back_end.catalog().await.map_err(|error| told(&error))?;
    Ok((back_end.name().to_owned(), catalog))
}

async fn open(
    invocation: &Invocation,
    compute_type: Option<String>,
) -> Result<Box<dyn Compute>, CliError> {
    let (Loaded { config, .. }, secrets) = cluster(invocation).await?;
    let name = compute_type.unwrap_or_else(|| config.default_compute_type.clone());
    let folder = Home::new(&invocation.home).machines_folder();
    let settings = back_end_settings(&config, &name).map_err(failure)?;
    compute::open_with(&name, &settings, &folder, secrets).map_err(|error| told(&error))
}

/// The cluster's configuration and secrets where there is a cluster, and this home's besides.
pub(super) async fn cluster(invocation: &Invocation) -> Result<(Loaded, Secrets), CliError> {
    let Some(connection) = connection::open_if_any(invocation).await? else {
        return Ok((configuration::loaded(invocation, None)?, compute::no_secrets()));
    };
    let document = connection.client.document().await?;
    let secrets = secrets::open(invocation, &document, connection.status.cluster_id)?;
    Ok((configuration::loaded(invocation, Some(&document))?, secrets))
}

fn told(error: &ComputeError) -> CliError {
    user(error).with_hint(error.hint())
}

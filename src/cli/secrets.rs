//! The cluster's secrets, as far as a key in this home opens them: a member's, or the recovery key.

use std::sync::Arc;

use serde_json::Value;

use crate::agent::recovery;
use crate::agent::vault::Vault;
use crate::cli::error::CliError;
use crate::cli::error::Kind;
use crate::cli::invocation::Invocation;
use crate::compute::Secrets;
use crate::config::document::views::SECRETS;
use crate::config::home::Home;
use crate::config::identity_file;
use crate::model::cluster::ClusterId;
use crate::model::name::Name;
use crate::model::secret::SecretRecord;
use crate::model::secret::SecretRecords;
use crate::seal::secret::Opener;

/// Opens the secrets of `document` with the keys of this home.
///
/// # Errors
/// A key file cannot be read.
pub fn open(
    invocation: &Invocation,
    document: &Value,
    cluster: ClusterId,
) -> Result<Secrets, CliError> {
    let home = Home::new(&invocation.home);
    let failed = |error: &dyn std::error::Error| CliError::caused(Kind::User, error);
    let member = identity_file::load(&home.identity_file()).map_err(|error| failed(&error))?;
    let recovery = recovery::load(&home.recovery_file(cluster)).map_err(|error| failed(&error))?;
    let member = member.as_ref().map(Opener::member);
    let openers = member.into_iter().chain(recovery.map(Opener::Recovery));
    let vault = Arc::new(Vault::new(openers.collect()));
    vault.replace(Arc::new(records(document)));
    Ok(vault.source())
}

/// The secrets of `document`. One that cannot be read is passed over.
#[must_use]
pub fn records(document: &Value) -> SecretRecords {
    let record = |(name, value): (&String, &Value)| -> Option<(Name, SecretRecord)> {
        Some((name.parse().ok()?, serde_json::from_value(value.clone()).ok()?))
    };
    let section = document.get(SECRETS).and_then(Value::as_object);
    section.into_iter().flatten().filter_map(record).collect()
}

//! Floor 1: where machines come from. One file per back-end.
//!
//! A back-end puts the id of the wish (the intent) on the machine it makes, so that whoever looks
//! later finds it again, whatever crashed in between. `conformance.rs` says what all must keep to.

pub mod catalog;
pub mod cloud;
mod complaint;
pub mod conformance;
pub mod docker;
pub mod error;
#[cfg(test)]
pub(crate) mod fake;
mod group;
mod host_keys;
pub mod local;
pub mod plugin;
mod private_file;
pub mod vagrant;

use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::compute::catalog::Catalog;
use crate::compute::cloud::settings::CloudSettings;
use crate::compute::docker::Docker;
use crate::compute::docker::settings::DockerSettings;
use crate::compute::error::Cause;
use crate::compute::error::ComputeError;
use crate::compute::local::Local;
use crate::compute::local::LocalSettings;
use crate::compute::plugin::Plugin;
use crate::compute::plugin::settings::PluginSettings;
use crate::compute::vagrant::Vagrant;
use crate::compute::vagrant::settings::VagrantSettings;
use crate::model::cluster::ClusterId;
use crate::model::machine::IntentId;
use crate::model::machine::Machine;
use crate::model::machine::MachineSpec;

/// The answer of a back-end, once it has one.
pub type Work<'a, T> = BoxFuture<'a, Result<T, ComputeError>>;

/// A way to get machines.
///
/// Every future may be dropped at any point: what was begun is found by its intent, and
/// [`Compute::create`] with the same intent takes it up again.
pub trait Compute: Send + Sync {
    /// The compute type's name in the configuration.
    fn name(&self) -> &str;

    /// Whether machines can be had at this moment.
    ///
    /// # Errors
    /// What stands in the way, as the cause.
    fn check(&self) -> Work<'_, Availability>;

    /// Gets the machine for `spec.intent`, running. A second call gives the same machine.
    ///
    /// # Errors
    /// When there is no machine; nothing half-made is left where that could be helped, and what is
    /// left is found by its intent.
    fn create<'a>(&'a self, spec: &'a MachineSpec) -> Work<'a, Machine>;

    /// The machine that carries this intent, if there is one.
    ///
    /// # Errors
    /// When the back-end cannot be asked.
    fn find(&self, intent: IntentId) -> Work<'_, Option<Machine>>;

    /// All machines that carry this cluster's id, by name.
    ///
    /// # Errors
    /// When the back-end cannot be asked.
    fn list(&self, cluster: ClusterId) -> Work<'_, Vec<Machine>>;

    /// Gives a machine back with all it holds. One that is gone already is a success; one that does
    /// not carry this machine's intent and cluster is never touched.
    ///
    /// # Errors
    /// When the machine may still be there.
    fn destroy<'a>(&'a self, machine: &'a Machine) -> Work<'a, ()>;

    /// Which machines can be seen through this back-end: the same word from wherever the same ones
    /// are seen, and another where others are. Unless a back-end says otherwise, the compute type's
    /// name: whoever has the cluster's settings for it sees the same account.
    ///
    /// # Errors
    /// When the back-end cannot be asked.
    fn scope(&self) -> Work<'_, String> {
        Box::pin(async { Ok(self.name().to_owned()) })
    }

    /// Makes an image called `image` of a machine's disk, for later machines to start from; what
    /// makes the machine itself was taken off it before. False where this back-end has no images.
    ///
    /// # Errors
    /// When it cannot be made.
    fn package<'a>(&'a self, _machine: &'a Machine, _image: &'a str) -> Work<'a, bool> {
        Box::pin(async { Ok(false) })
    }

    /// What there is to choose from; none where there is nothing to choose.
    ///
    /// # Errors
    /// When the back-end cannot be asked.
    fn catalog(&self) -> Work<'_, Option<Catalog>> {
        Box::pin(async { Ok(None) })
    }
}

/// A back-end that is ready to make machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Availability {
    /// What would make them, for people: `Docker 28.2.2, image debian is here`.
    pub summary: String,
}

/// The drivers that [`open`] knows.
pub const DRIVERS: [&str; 9] =
    ["digitalocean", "docker", "ec2", "hetzner", "linode", "local", "plugin", "vagrant", "vultr"];

/// Opens secrets of the cluster by name; or says why not.
pub type Secrets = Arc<dyn Fn(&str) -> Result<Zeroizing<String>, String> + Send + Sync>;

/// For whoever has no cluster to ask.
#[must_use]
pub fn no_secrets() -> Secrets {
    Arc::new(|name| Err(format!("there is no cluster here that could have a secret {name:?}")))
}

/// Opens the back-end of compute type `compute_type`, with no secrets at hand.
///
/// # Errors
/// As [`open_with`].
pub fn open(
    compute_type: &str,
    settings: &Value,
    machines: &Path,
) -> Result<Box<dyn Compute>, ComputeError> {
    open_with(compute_type, settings, machines, no_secrets())
}

/// Opens the back-end of compute type `compute_type`.
///
/// `settings` is the compute type's part of the configuration: `driver` (absent: the compute type's
/// own name) and that driver's parameters. `machines` is the folder under which `local` machines
/// live; beside it lie plug-ins of one's own (`providers`) and Vagrant's machines (`vagrant`). Nothing
/// is started, asked or written; `secrets` are opened when they are needed.
///
/// # Errors
/// An unknown driver, or parameters that it does not take.
pub fn open_with(
    compute_type: &str,
    settings: &Value,
    machines: &Path,
    secrets: Secrets,
) -> Result<Box<dyn Compute>, ComputeError> {
    let refuse = |cause| ComputeError::new(compute_type, None, "read its settings", cause);
    let wrong = |path: &str, message: &str| {
        refuse(Cause::Settings { path: path.to_owned(), message: message.to_owned() })
    };
    let mut parameters = match settings {
        Value::Null => serde_json::Map::new(),
        Value::Object(parameters) => parameters.clone(),
        _ => return Err(wrong(".", "expected an object")),
    };
    let driver = match parameters.remove("driver") {
        None => compute_type.to_owned(),
        Some(Value::String(driver)) => driver,
        Some(_) => return Err(wrong("driver", "expected a text")),
    };
    match driver.as_str() {
        "local" => {
            let LocalSettings {} = typed(parameters).map_err(refuse)?;
            Ok(Box::new(Local::new(compute_type, machines)))
        }
        "docker" => {
            let settings: DockerSettings = typed(parameters).map_err(refuse)?;
            settings.check().map_err(refuse)?;
            Ok(Box::new(Docker::new(compute_type, settings)))
        }
        "plugin" => {
            let settings: PluginSettings = typed(parameters).map_err(refuse)?;
            settings.check().map_err(refuse)?;
            let own = machines.with_file_name("providers");
            Ok(Box::new(Plugin::new(compute_type, settings, &own, secrets)))
        }
        "vagrant" => {
            let settings: VagrantSettings = typed(parameters).map_err(refuse)?;
            settings.check().map_err(refuse)?;
            let root = machines.with_file_name("vagrant");
            Ok(Box::new(Vagrant::new(compute_type, settings, &root)))
        }
        cloud if cloud::DRIVERS.contains(&cloud) => {
            let settings: CloudSettings = typed(parameters).map_err(refuse)?;
            settings.check().map_err(refuse)?;
            match cloud::open(compute_type, cloud, settings, secrets) {
                Some(opened) => Ok(Box::new(opened)),
                None => Err(refuse(Cause::UnknownDriver { driver })),
            }
        }
        _ => Err(refuse(Cause::UnknownDriver { driver })),
    }
}

/// A driver's parameters as its own type.
fn typed<T: DeserializeOwned>(parameters: serde_json::Map<String, Value>) -> Result<T, Cause> {
    serde_path_to_error::deserialize(Value::Object(parameters)).map_err(|error| Cause::Settings {
        path: error.path().to_string(),
        message: error.inner().to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn opened(compute_type: &str, settings: &Value) -> Result<Box<dyn Compute>, ComputeError> {
        open(compute_type, settings, Path::new("/nowhere/machines"))
    }

    #[test]
    fn a_driver_is_chosen_by_its_name_and_the_compute_type_keeps_its_own() {
        let docker = opened("lab", &json!({"driver": "docker", "image": "mine"})).unwrap();
        assert_eq!(docker.name(), "lab");
        assert_eq!(opened("local", &Value::Null).unwrap().name(), "local");
    }

    #[test]
    fn wrong_settings_name_the_key_and_what_was_expected() {
        for (settings, expected) in [
            (json!({"driver": "dokcer"}), "\"dokcer\" is no driver (digitalocean, docker, ec2, "),
            (json!({"driver": "docker", "imgae": "x"}), "unknown field `imgae`"),
            (json!({"driver": "docker", "image": 3}), "image: invalid type"),
            (json!({"driver": "docker", "image": "-v"}), "image: \"-v\" is no image name"),
            (json!({"driver": "local", "size": 1}), "unknown field `size`"),
            (json!({"driver": "plugin", "provider": "a/b"}), "provider: \"a/b\" is no name"),
            (json!({"driver": 1}), "driver: expected a text"),
            (json!([]), "expected an object"),
        ] {
            let error = opened("lab", &settings).err().expect("refused");
            assert_eq!(error.to_string(), "lab: could not read its settings");
            assert!(error.cause.to_string().contains(expected), "{}", error.cause);
        }
    }
}

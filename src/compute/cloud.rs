//! Compute types of clouds: what all providers have in common. One file each says the rest.
//!
//! A machine bears its wish's id as a tag or label from the moment it is made. So whoever does not
//! know whether a request was carried out looks for the tag before asking again, and where the
//! provider lets two be made all the same, the older one stays.

mod client;
mod digitalocean;
pub(crate) mod ec2;
pub mod error;
mod hetzner;
mod keys;
mod linode;
mod making;
mod marks;
mod provider;
mod refusal;
mod retry;
pub(crate) mod secret;
pub mod settings;
mod user_data;
mod vultr;
pub(crate) mod web;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;

use tokio::time::Instant;

use crate::compute::Availability;
use crate::compute::Compute;
use crate::compute::Secrets;
use crate::compute::Work;
use crate::compute::catalog::Catalog;
use crate::compute::cloud::digitalocean::DigitalOcean;
use crate::compute::cloud::ec2::Ec2;
use crate::compute::cloud::error::CloudCause;
use crate::compute::cloud::hetzner::Hetzner;
use crate::compute::cloud::linode::Linode;
use crate::compute::cloud::marks::Mark;
use crate::compute::cloud::provider::Provider;
use crate::compute::cloud::provider::Server;
use crate::compute::cloud::provider::State;
use crate::compute::cloud::retry::Pace;
use crate::compute::cloud::secret::Environment;
use crate::compute::cloud::settings::CloudSettings;
use crate::compute::cloud::vultr::Vultr;
use crate::compute::error::Cause;
use crate::compute::error::ComputeError;
use crate::model::cluster::ClusterId;
use crate::model::destination::Destination;
use crate::model::machine::Access;
use crate::model::machine::IntentId;
use crate::model::machine::Machine;
use crate::model::machine::MachineSpec;
use crate::model::name::Name;

/// The drivers of this file's folder.
pub const DRIVERS: [&str; 5] = ["digitalocean", "ec2", "hetzner", "linode", "vultr"];

/// Creates of one wish wait for each other; so many wishes never do.
const LOCKS: usize = 64;

/// How far the end of a machine has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It was asked for, first at this moment.
    Asked(Instant),
    /// The provider said yes, or has not known the machine for long.
    Certain,
}

/// The back-end.
pub struct Cloud {
    compute_type: String,
    provider: Box<dyn Provider>,
    pace: Pace,
    /// Wishes that were asked for and not yet seen, and since when: they may appear.
    unsettled: Mutex<BTreeMap<IntentId, Instant>>,
    /// Machines that were given back, by their ids: lists may show them for a while.
    condemned: Mutex<BTreeMap<String, End>>,
    locks: [tokio::sync::Mutex<()>; LOCKS],
}

/// Machines of `compute_type`, made by a `driver` of [`DRIVERS`].
#[must_use]
pub fn open(
    compute_type: &str,
    driver: &str,
    settings: CloudSettings,
    secrets: Secrets,
) -> Option<Cloud> {
    let environment = Arc::new(Environment::new(|name| std::env::var(name).ok(), secrets));
    let pace = Pace::patient(settings.boot_timeout());
    open_with(compute_type, driver, settings, environment, pace)
}

fn open_with(
    compute_type: &str,
    driver: &str,
    settings: CloudSettings,
    environment: Arc<Environment>,
    pace: Pace,
) -> Option<Cloud> {
    let provider: Box<dyn Provider> = match driver {
        "digitalocean" => Box::new(DigitalOcean::new(settings, environment, pace)),
        "ec2" => Box::new(Ec2::new(settings, environment, pace)),
        "hetzner" => Box::new(Hetzner::new(settings, environment, pace)),
        "linode" => Box::new(Linode::new(settings, environment, pace)),
        "vultr" => Box::new(Vultr::new(settings, environment, pace)),
        _ => return None,
    };
    Some(Cloud {
        compute_type: compute_type.to_owned(),
        provider,
        pace,
        unsettled: Mutex::default(),
        condemned: Mutex::default(),
        locks: std::array::from_fn(|_| tokio::sync::Mutex::default()),
    })
}

impl Cloud {
    fn error(&self, machine: Option<&Name>, step: &'static str, cause: Cause) -> ComputeError {
        ComputeError::new(&self.compute_type, machine, step, cause)
    }
}

fn machine_of(server: &Server) -> Machine {
    let access = server.addresses.first().map(|address| Access::Ssh {
        destination: Destination {
            user: Some("root".to_owned()),
            host: address.to_string(),
            port: Some(22),
        },
        via: None,
        identity_file: None,
        host_keys: server.marks.host_keys(),
    });
    Machine {
        id: server.id.clone(),
        intent: server.marks.intent,
        cluster: server.marks.cluster,
        name: server.marks.name.clone(),
        running: server.state == State::Running,
        access,
    }
}

impl Compute for Cloud {
    fn name(&self) -> &str {
        &self.compute_type
    }

    fn check(&self) -> Work<'_, Availability> {
        Box::pin(async move {
            let account = self.provider.account().await;
            let fail = |cause: CloudCause| self.error(None, "speak to the provider", cause.into());
            Ok(Availability { summary: account.map_err(fail)? })
        })
    }

    fn create<'a>(&'a self, spec: &'a MachineSpec) -> Work<'a, Machine> {
        Box::pin(async move {
            let made = self.make(spec).await;
            made.map_err(|(step, cause)| self.error(Some(&spec.name), step, cause))
        })
    }

    fn find(&self, intent: IntentId) -> Work<'_, Option<Machine>> {
        Box::pin(async move {
            let found = self.of_intent(intent).await;
            let fail = |cause: CloudCause| self.error(None, "look for a machine", cause.into());
            let found = found.map_err(fail)?;
            Ok(found.iter().find(|server| !self.is_condemned(server)).map(machine_of))
        })
    }

    fn list(&self, cluster: ClusterId) -> Work<'_, Vec<Machine>> {
        Box::pin(async move {
            let found = self.marked(Mark::Cluster(cluster)).await;
            let fail = |cause: CloudCause| self.error(None, "list the machines", cause.into());
            // The oldest comes first: of two of one wish, it is the one that stays.
            let mut machines: Vec<Machine> = Vec::new();
            for server in found.map_err(fail)? {
                let is_known = machines.iter().any(|known| known.intent == server.marks.intent);
                if !is_known && !self.is_condemned(&server) {
                    machines.push(machine_of(&server));
                }
            }
            machines.sort_by(|left, right| left.name.cmp(&right.name));
            Ok(machines)
        })
    }

    fn destroy<'a>(&'a self, machine: &'a Machine) -> Work<'a, ()> {
        Box::pin(async move {
            let done = self.remove(machine).await;
            done.map_err(|cause| self.error(Some(&machine.name), "destroy it", cause))
        })
    }

    fn catalog(&self) -> Work<'_, Option<Catalog>> {
        Box::pin(async move {
            let catalog = self.provider.catalog().await;
            let fail = |cause: CloudCause| self.error(None, "ask what there is", cause.into());
            Ok(Some(catalog.map_err(fail)?.sorted()))
        })
    }
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;

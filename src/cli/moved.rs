//! Machines that are not where they were: after a restart of its engine a container may have
//! another's address. Their back-ends know.

use crate::agent::perform::settings::back_end_settings;
use crate::cli::configuration;
use crate::cli::endpoint::Endpoint;
use crate::cli::invocation::Invocation;
use crate::compute;
use crate::config::home::Home;
use crate::config::schema::Config;
use crate::model::machine::Access;
use crate::model::machine::IntentId;

/// Where the machines of `endpoints` that a back-end made are by its word, when that is elsewhere.
pub async fn moved(invocation: &Invocation, endpoints: &[Endpoint]) -> Vec<Endpoint> {
    let Ok(loaded) = configuration::loaded(invocation, None) else { return Vec::new() };
    let mut found = Vec::new();
    for endpoint in endpoints {
        if let Endpoint::Spawned { intent, .. } = endpoint
            && let Some(place) = place(invocation, &loaded.config, *intent).await
            && place != *endpoint
        {
            found.push(place);
        }
    }
    found
}

async fn place(invocation: &Invocation, config: &Config, intent: IntentId) -> Option<Endpoint> {
    let folder = Home::new(&invocation.home).machines_folder();
    for name in config.compute_types.keys() {
        let Ok(settings) = back_end_settings(config, name) else { continue };
        let Ok(back_end) = compute::open(name, &settings, &folder) else { continue };
        match back_end.find(intent).await {
            Ok(Some(machine)) => match machine.access {
                Some(Access::Ssh { destination, .. }) => {
                    return Some(Endpoint::Spawned { intent, destination });
                }
                _ => return None,
            },
            Ok(None) => {}
            Err(error) => {
                invocation.detail(&format!("{name}: {}", crate::cli::error::with_causes(&error)));
            }
        }
    }
    None
}

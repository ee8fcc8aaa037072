//! Machines that are not where they were, or of which this home was never told: after a restart of its
//! engine a container may have another's address, and members make machines by themselves. Their
//! back-ends know.

use crate::agent::perform::settings::back_end_settings;
use crate::cli::configuration;
use crate::cli::contexts::Context;
use crate::cli::endpoint::Endpoint;
use crate::cli::invocation::Invocation;
use crate::cli::ways::trust;
use crate::cli::ways::way;
use crate::compute;
use crate::config::home::Home;
use crate::config::schema::Config;
use crate::model::cluster::ClusterId;
use crate::model::machine::Machine;
use crate::ssh::known_hosts::KnownHosts;

/// Where the machines of the cluster of `context` are by the word of their back-ends, as far as
/// those are none of the `tried`.
pub async fn moved(
    invocation: &Invocation,
    context: Option<&Context>,
    tried: &[Endpoint],
) -> Vec<Endpoint> {
    let genesis = context.and_then(|context| context.genesis.as_ref());
    let loaded = configuration::loaded(invocation, None);
    let (Some(genesis), Ok(loaded)) = (genesis, loaded) else { return Vec::new() };
    let mut found = Vec::new();
    for compute_type in loaded.config.compute_types.keys() {
        let machines = list(invocation, &loaded.config, compute_type, genesis.cluster_id()).await;
        for machine in machines.into_iter().filter(|machine| machine.running) {
            let Some(access) = &machine.access else { continue };
            let place = way(access, Some(machine.intent));
            if !tried.contains(&place) {
                // Those that are known are newer than what the back-end knows: the keys of its birth.
                let known = KnownHosts::new(invocation.known_hosts());
                if known.keys(&machine.intent.to_string()).is_ok_and(|keys| keys.is_empty()) {
                    trust(invocation, machine.intent, access);
                }
                found.push(place);
            }
        }
    }
    found
}

async fn list(
    invocation: &Invocation,
    config: &Config,
    compute_type: &str,
    cluster: ClusterId,
) -> Vec<Machine> {
    let folder = Home::new(&invocation.home).machines_folder();
    let Ok(settings) = back_end_settings(config, compute_type) else { return Vec::new() };
    let Ok(back_end) = compute::open(compute_type, &settings, &folder) else { return Vec::new() };
    back_end.list(cluster).await.unwrap_or_else(|error| {
        invocation.detail(&format!("{compute_type}: {}", crate::cli::error::with_causes(&error)));
        Vec::new()
    })
}

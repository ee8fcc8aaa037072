//! The ways to all members that this home keeps, refreshed at each call that finds the cluster
//! changed: the members make machines by themselves, and those that this home made may be gone.

use crate::cli::connection::Connection;
use crate::cli::contexts::Context;
use crate::cli::endpoint::Endpoint;
use crate::cli::endpoint::SshWay;
use crate::cli::hands::known::machines;
use crate::cli::invocation::Invocation;
use crate::config::home::Home;
use crate::model::machine::Access;
use crate::model::machine::IntentId;
use crate::reconcile::world::ADOPTED;
use crate::ssh::known_hosts::KnownHosts;

/// Ways that are kept besides those that have answered.
const WAYS_MAX: usize = 64;

/// The way to a machine. `made` is the wish for one that a back-end made.
#[must_use]
pub fn way(access: &Access, made: Option<IntentId>) -> Endpoint {
    match access {
        Access::Local { home } => Endpoint::Unix(Home::new(home).socket_file()),
        Access::Ssh { destination, via, identity_file, host_keys } => match made {
            Some(intent) if !host_keys.is_empty() => {
                Endpoint::Spawned { intent, destination: destination.clone() }
            }
            _ => Endpoint::Ssh(SshWay {
                destination: destination.clone(),
                via: via.clone(),
                identity_file: identity_file.clone(),
            }),
        },
    }
}

/// Keeps the SSH host keys of a machine that others made, by its wish: the cluster, or the back-end,
/// has them from its first moment.
pub fn trust(invocation: &Invocation, intent: IntentId, access: &Access) {
    let Access::Ssh { host_keys, .. } = access else { return };
    if host_keys.is_empty() {
        return;
    }
    let kept = KnownHosts::new(invocation.known_hosts()).set(&intent.to_string(), host_keys);
    if let Err(error) = kept {
        invocation.detail(&format!("the host keys of {intent} are not kept: {error}"));
    }
}

/// Asks whoever answered where the others are, unless nothing was written since that was asked last.
/// Returns whether anything changed. A document that cannot be had is no reason to fail.
pub async fn refresh(
    invocation: &Invocation,
    context: &mut Context,
    connection: &Connection,
) -> bool {
    let updates = Some(connection.status.document_updates);
    if context.ways_as_of == updates {
        return false;
    }
    let Ok(document) = connection.client.document().await else { return false };
    let members = document.get("members");
    let is_member = |node: &str| members.is_some_and(|members| members.get(node).is_some());
    // Wishes are drawn at random: of many machines, the first by their wishes are any of them.
    let ways = machines(&document).into_iter().filter_map(|(intent, record)| {
        record.node.filter(|node| is_member(&node.to_string()))?;
        let made = (record.compute_type != ADOPTED).then_some(intent);
        let access = record.access.as_ref()?;
        trust(invocation, intent, access);
        Some(way(access, made))
    });
    context.ways = ways.take(WAYS_MAX).collect();
    context.ways_as_of = updates;
    true
}

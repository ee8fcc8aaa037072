//! Where this machine is: its own addresses, and those under which others see it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::agent::core::Core;
use crate::agent::start;
use crate::mesh::interfaces;
use crate::model::nat::NatKind;
use crate::model::time::Moment;

/// How often the cluster is told something new of what others see. It goes to everybody: behind
/// some routers it keeps changing, and a neighbour may lie.
const TELL_INTERVAL: Duration = Duration::from_secs(15);

/// The kernel speaks of one change in several messages.
const LOOK_DELAY: Duration = Duration::from_millis(20);

/// How often the own addresses are looked at although the kernel has said nothing.
const LOOK_INTERVAL: Duration = Duration::from_secs(300);

/// The way out comes after the address.
const LOOK_AGAIN: Duration = Duration::from_millis(230);

/// What the cluster is told besides the machine's own addresses.
#[derive(Debug, Default)]
pub(super) struct Whereabouts {
    /// What stands between this machine and the others.
    pub(super) kind: NatKind,
    /// When the own addresses are to be looked at.
    pub(super) look_at: Option<Moment>,
    /// Whether they are to be looked at once more after that.
    looks_again: bool,
    /// Whether the kernel says when they change, and when they were looked at last.
    are_told: bool,
    looked_at: Moment,
    external: Vec<SocketAddr>,
    told_at: Option<Moment>,
    /// The port that the router leads to this machine.
    mapped: Option<SocketAddr>,
    /// Why it leads none, when it was asked to.
    pub(super) mapping_problem: Option<String>,
}

impl Core {
    /// Addresses at which others may reach this machine, best first: its own, those others see.
    pub(super) fn endpoints(&self) -> Vec<SocketAddr> {
        let mut endpoints = self.parts.own_endpoints.clone();
        let external = self.whereabouts.external.iter();
        endpoints.extend(external.filter(|one| !self.parts.own_endpoints.contains(one)));
        endpoints
    }

    /// Whether the kernel will say when an interface or an address comes or goes.
    pub fn addresses_are_told(&mut self, are_told: bool) {
        self.whereabouts.are_told = are_told;
    }

    /// Looks at the own addresses when the kernel would not say that they are others, and now and
    /// then in any case; at what the neighbours see always.
    pub(super) fn look_at_times(&mut self) {
        let told = &self.whereabouts;
        if told.are_told && self.now() < told.looked_at + LOOK_INTERVAL {
            self.look_outside();
        } else {
            self.look_around();
        }
    }

    /// The kernel says that an interface or an address has come or gone.
    pub fn addresses_changed(&mut self) {
        let due = self.now() + LOOK_DELAY;
        self.whereabouts.look_at.get_or_insert(due);
        self.whereabouts.looks_again = true;
    }

    /// Looks after such a word, and once more. The neighbours are spoken to although the addresses
    /// may be the same: most private networks have the same ones.
    pub(super) fn look_closely(&mut self) {
        let now = self.now();
        let again = std::mem::take(&mut self.whereabouts.looks_again);
        self.whereabouts.look_at = again.then(|| now + LOOK_AGAIN);
        self.look_around();
        self.parts.moved.notify_one();
        self.parts.mesh.greet(now);
    }

    /// The router leads a port to this machine, or why not.
    pub(super) fn port_mapped(&mut self, word: Result<SocketAddr, String>) {
        match &word {
            Ok(endpoint) => tracing::info!(%endpoint, "the router leads a port here"),
            Err(why) => tracing::warn!(%why, "the router leads no port here"),
        }
        self.whereabouts.mapped = word.as_ref().ok().copied();
        let problem =
            |why| format!("others may not get through to this machine: {why} (mesh.port_mapping)");
        self.whereabouts.mapping_problem = word.err().map(problem);
        self.look_around();
    }

    /// Looks at the own addresses, and at what the neighbours see.
    pub(super) fn look_around(&mut self) {
        self.whereabouts.looked_at = self.now();
        let mut own = start::own_endpoints(&self.parts.socket, &self.parts.file);
        let mapped = self.whereabouts.mapped.filter(|one| !own.is_empty() && !own.contains(one));
        own.extend(mapped);
        // A machine between two networks is where it was: it has nothing else to tell.
        if !own.is_empty() && own != self.parts.own_endpoints {
            tracing::info!(endpoints = ?own, "this machine's addresses have changed");
            let now = self.now();
            self.parts.own_endpoints.clone_from(&own);
            self.whereabouts.told_at = None;
            self.parts.mesh.set_local_endpoints(now, own);
            self.refresh_soon();
        }
        self.look_outside();
    }

    /// The neighbours may see this machine elsewhere than before.
    pub(super) fn look_outside(&mut self) {
        let mut seen = self.parts.mesh.nat();
        // Of an existing network the addresses are known, and no others belong to it.
        let is_external = self.parts.is_external;
        seen.external.retain(|one| !is_external && interfaces::is_dialable(one));
        // Without a neighbour nobody sees anything, and the last word stands.
        let nothing = seen.kind == NatKind::Unknown && seen.external.is_empty();
        let told = &self.whereabouts;
        if nothing || (seen.kind == told.kind && seen.external == told.external) {
            return;
        }
        let now = self.now();
        if told.told_at.is_some_and(|last| now < last + TELL_INTERVAL) {
            // `look_around` comes back to it.
            return;
        }
        tracing::info!(nat = %seen.kind, external = ?seen.external, "seen from outside");
        self.whereabouts.kind = seen.kind;
        self.whereabouts.external = seen.external;
        self.whereabouts.told_at = Some(now);
        self.refresh_soon();
    }
}

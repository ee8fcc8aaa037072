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
    external: Vec<SocketAddr>,
    told_at: Option<Moment>,
}

impl Core {
    /// Addresses at which others may reach this machine, best first: its own, those others see.
    pub(super) fn endpoints(&self) -> Vec<SocketAddr> {
        let mut endpoints = self.parts.own_endpoints.clone();
        let external = self.whereabouts.external.iter();
        endpoints.extend(external.filter(|one| !self.parts.own_endpoints.contains(one)));
        endpoints
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
        self.parts.mesh.greet(now);
    }

    /// Looks at the own addresses, and at what the neighbours see.
    pub(super) fn look_around(&mut self) {
        let own = start::own_endpoints(&self.parts.socket, &self.parts.file);
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

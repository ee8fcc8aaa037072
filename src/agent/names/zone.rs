//! Which names there are, shared between the event loop (which writes) and the answers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::sync::PoisonError;
use std::sync::RwLock;

use crate::model::name::Name;

/// The names at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// The cluster's name.
    pub cluster: Name,
    /// Grows when the members change.
    pub serial: u32,
    /// Where each member is reached, by name.
    pub members: BTreeMap<String, Vec<IpAddr>>,
    /// Whose each address is: mesh addresses, and those at which members are reached.
    pub addresses: BTreeMap<IpAddr, Name>,
}

impl Zone {
    /// A zone without members.
    #[must_use]
    pub fn new(cluster: Name) -> Self {
        Self { cluster, serial: 0, members: BTreeMap::new(), addresses: BTreeMap::new() }
    }

    /// Adds a member that is reached at `at`; its mesh address is `address`. A mesh address is its
    /// key's, whatever others say; any other that two members say they have is the first one's.
    pub fn add(&mut self, name: &Name, address: Ipv6Addr, at: Vec<IpAddr>) {
        for outer in &at {
            self.addresses.entry(*outer).or_insert_with(|| name.clone());
        }
        self.addresses.insert(address.into(), name.clone());
        self.members.insert(name.to_string(), at);
    }
}

/// The zone, replaced as a whole.
#[derive(Debug)]
pub struct SharedZone(RwLock<Zone>);

impl SharedZone {
    /// Begins with `zone`.
    #[must_use]
    pub fn new(zone: Zone) -> Self {
        Self(RwLock::new(zone))
    }

    /// Takes other members; the serial grows when they differ.
    pub fn replace(&self, mut zone: Zone) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        zone.serial = held.serial;
        if *held != zone {
            zone.serial = zone.serial.wrapping_add(1);
            *held = zone;
        }
    }

    /// Looks at it.
    pub fn with<T>(&self, look: impl FnOnce(&Zone) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

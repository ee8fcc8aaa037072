//! A member as SWIM knows it: its address, and which of its lives this is.

use std::net::Ipv6Addr;

use foca::Identity;
use serde::Deserialize;
use serde::Serialize;

/// Largest generation that is believed: milliseconds since 1970 reach it in the year 10889, so
/// that nobody can name one that its owner could never pass.
pub(super) const GENERATION_MAX: u64 = 1 << 48;

/// One life of a member: from the start of its agent until it is declared down.
///
/// In SWIM nobody returns from the dead. A member that was restarted, or declared down while it
/// lived, goes on as its next life, which wins over the earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Life {
    /// The member's mesh address: it proves the key in half of the key's bytes.
    pub(super) address: Ipv6Addr,
    /// When its agent started, in milliseconds since 1970, and one more for every renewal.
    pub(super) generation: u64,
}

impl Life {
    /// Whether the generation is one that its owner can still pass.
    pub(super) fn is_sound(&self) -> bool {
        self.generation < GENERATION_MAX
    }
}

impl Identity for Life {
    type Addr = Ipv6Addr;

    fn renew(&self) -> Option<Self> {
        Some(Self { address: self.address, generation: self.generation.saturating_add(1) })
    }

    fn addr(&self) -> Ipv6Addr {
        self.address
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.generation > adversary.generation
    }
}

//! What stands between a machine and the others: the kind of address translation (NAT).

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a router translates a machine's addresses, as far as it matters to who can dial it.
/// The words of RFC 4787: *endpoint-independent mapping* is [`Easy`](Self::Easy), every
/// endpoint-dependent one is [`Symmetric`](Self::Symmetric).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum NatKind {
    /// Nobody translates: neighbours see the machine's own address.
    None,
    /// One outer address for all neighbours: who is told it, and is awaited, gets through.
    Easy,
    /// Another outer port for every neighbour: the next one cannot be told beforehand.
    Symmetric,
    /// Too few neighbours have said what they see, or a later build's word for it.
    #[default]
    #[serde(other)]
    Unknown,
}

impl NatKind {
    /// The byte that stands for it on the wire.
    #[must_use]
    pub fn to_byte(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::None => 1,
            Self::Easy => 2,
            Self::Symmetric => 3,
        }
    }

    /// Reads that byte; a later build's is unknown.
    #[must_use]
    pub fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::None,
            2 => Self::Easy,
            3 => Self::Symmetric,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for NatKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Unknown => "unknown",
            Self::None => "none",
            Self::Easy => "easy",
            Self::Symmetric => "symmetric",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_the_wire_and_the_facts() {
        for kind in [NatKind::Unknown, NatKind::None, NatKind::Easy, NatKind::Symmetric] {
            assert_eq!(NatKind::from_byte(kind.to_byte()), kind);
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(json, format!("\"{kind}\""));
            assert_eq!(serde_json::from_str::<NatKind>(&json).unwrap(), kind);
        }
        assert_eq!(NatKind::from_byte(9), NatKind::Unknown);
        assert_eq!(serde_json::from_str::<NatKind>("\"quantum\"").unwrap(), NatKind::Unknown);
    }
}

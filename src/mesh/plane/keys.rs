//! What a handshake yields.

use zeroize::Zeroizing;

use crate::mesh::plane::suite::Suite;

/// The secrets of the two directions, from which the keys for each purpose are made.
pub struct Keys {
    /// Of what this side sends.
    pub sending: Zeroizing<[u8; 32]>,
    /// Of what it receives.
    pub receiving: Zeroizing<[u8; 32]>,
    /// The cipher both sides agreed on, for carried datagrams.
    pub suite: Suite,
}

//! One direction of a link: the mac that every carried datagram bears from one neighbour to the
//! next.
//!
//! It covers the headers and the tag of the seal, which binds the payload for whoever holds the
//! session's key. `docs/decisions/0009-mac-of-a-hop.md` says why it is `SipHash`.

use std::hash::Hasher;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use siphasher::sip128::Hasher128;
use siphasher::sip128::SipHasher24;
use zeroize::Zeroizing;

use crate::mesh::plane::header::MAC_PLACE;
use crate::mesh::plane::header::OVERHEAD;
use crate::mesh::plane::header::ROUTE_PLACE;
use crate::mesh::plane::header::SEALED_PLACE;
use crate::mesh::plane::header::write_hop;
use crate::mesh::plane::suite::derive;
use crate::mesh::replay::ReplayWindow;
use crate::mesh::wire::TAG_LENGTH;

/// Packets after which a key, of a hop or a session, is to be replaced: half of what RFC 9001,
/// appendix B, allows AES-GCM for packets of up to 2 KiB.
pub const REKEY_AFTER_PACKETS: u64 = 1 << 27;
/// Packets after which a key is used no more: that very bound.
pub const REFUSE_AFTER_PACKETS: u64 = 1 << 28;

const LABEL: &[u8] = b"raptor/1 hop";
/// Headers without the mac itself, and the seal's tag.
const COVERED_LENGTH: usize = MAC_PLACE + (SEALED_PLACE - ROUTE_PLACE) + TAG_LENGTH;

/// Signs what is sent to a neighbour.
pub struct HopSender {
    index: u32,
    key: MacKey,
    counter: AtomicU64,
}

/// Checks what comes from a neighbour.
pub struct HopReceiver {
    index: u32,
    key: MacKey,
    window: Mutex<ReplayWindow>,
    used: AtomicBool,
}

impl HopSender {
    /// For a link whose handshake yielded `secret` for this direction; the neighbour knows the
    /// keys by `index`.
    #[must_use]
    pub fn new(secret: &[u8; 32], index: u32) -> Self {
        Self { index, key: MacKey::new(secret), counter: AtomicU64::new(0) }
    }

    /// Writes the hop's header and mac into a datagram that is sealed already. None once the key
    /// is used up.
    pub fn sign(&self, datagram: &mut [u8]) -> Option<()> {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        if counter >= REFUSE_AFTER_PACKETS {
            return None;
        }
        write_hop(datagram.first_chunk_mut()?, self.index, counter);
        let mac = self.key.mac(datagram)?;
        datagram.get_mut(MAC_PLACE..ROUTE_PLACE)?.copy_from_slice(&mac.to_le_bytes());
        Some(())
    }

    /// Whether so many packets were sent that the key is to be replaced.
    #[must_use]
    pub fn is_worn(&self) -> bool {
        self.counter.load(Ordering::Relaxed) >= REKEY_AFTER_PACKETS
    }
}

/// What a neighbour's genuine packet shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Whether no later packet came before it.
    pub newest: bool,
    /// How far its number is above the highest before.
    pub advance: u64,
    /// Whether it is the first under these keys.
    pub first: bool,
}

impl HopReceiver {
    /// For a link whose handshake yielded `secret` for this direction; packets name it `index`.
    #[must_use]
    pub fn new(secret: &[u8; 32], index: u32) -> Self {
        let key = MacKey::new(secret);
        Self { index, key, window: Mutex::default(), used: AtomicBool::new(false) }
    }

    /// The index by which packets name these keys.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Authenticates a datagram with this `counter`. None for a forged or repeated one.
    pub fn check(&self, counter: u64, datagram: &[u8]) -> Option<Checked> {
        let claimed = datagram.get(MAC_PLACE..ROUTE_PLACE)?.try_into().ok()?;
        // One comparison of all bits: its time tells nothing.
        if self.key.mac(datagram)? ^ u128::from_le_bytes(claimed) != 0 {
            return None;
        }
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let (newest, advance) = (window.is_newest(counter), window.advance(counter));
        if !window.accept(counter) {
            return None;
        }
        drop(window);
        let first = !self.used.load(Ordering::Relaxed) && !self.used.swap(true, Ordering::Relaxed);
        Some(Checked { newest, advance, first })
    }
}

/// A key of `SipHash-2-4` with 128 bits of output.
struct MacKey(Zeroizing<[u8; 16]>);

impl MacKey {
    /// The first half of what the handshake's secret yields for this purpose.
    fn new(secret: &[u8; 32]) -> Self {
        let mut key = Zeroizing::new([0u8; 16]);
        key.copy_from_slice(&derive(secret, LABEL)[..16]);
        Self(key)
    }

    /// The mac over the headers around it, and the tag at the end.
    fn mac(&self, datagram: &[u8]) -> Option<u128> {
        if datagram.len() < OVERHEAD {
            return None;
        }
        let tag = datagram.last_chunk::<TAG_LENGTH>()?;
        let mut covered = [0u8; COVERED_LENGTH];
        let (front, rest) = covered.split_at_mut(MAC_PLACE);
        let (route, end) = rest.split_at_mut(SEALED_PLACE - ROUTE_PLACE);
        front.copy_from_slice(datagram.get(..MAC_PLACE)?);
        route.copy_from_slice(datagram.get(ROUTE_PLACE..SEALED_PLACE)?);
        end.copy_from_slice(tag);
        let mut hash = SipHasher24::new_with_key(&self.0);
        hash.write(&covered);
        Some(hash.finish128().as_u128())
    }
}

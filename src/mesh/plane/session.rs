//! A session between two ends at work: payloads are sealed and opened where they lie.

use std::net::Ipv6Addr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use ring::aead;

use crate::mesh::plane::header::BOUND_PLACE;
use crate::mesh::plane::header::HEADROOM;
use crate::mesh::plane::header::Header;
use crate::mesh::plane::header::InnerProtocol;
use crate::mesh::plane::header::OVERHEAD;
use crate::mesh::plane::header::SEALED_PLACE;
use crate::mesh::plane::header::TTL;
use crate::mesh::plane::hop::REFUSE_AFTER_PACKETS;
use crate::mesh::plane::hop::REKEY_AFTER_PACKETS;
use crate::mesh::plane::keys::Keys;
use crate::mesh::plane::suite::Suite;
use crate::mesh::plane::suite::nonce;
use crate::mesh::replay::ReplayWindow;
use crate::mesh::wire::TAG_LENGTH;
use crate::model::time::Moment;

const LABEL: &[u8] = b"raptor/1 session";

/// One pair of keys between two ends.
pub struct EndSession {
    /// The other end.
    pub peer: Ipv6Addr,
    /// Index by which the other end's packets name this session.
    pub local_index: u32,
    /// Index by which packets to the other end name it.
    pub remote_index: u32,
    /// The cipher agreed on.
    pub suite: Suite,
    /// When the handshake ended.
    pub created_at: Moment,
    /// Whether this side began it.
    pub initiator: bool,
    sending: aead::LessSafeKey,
    receiving: aead::LessSafeKey,
    counter: AtomicU64,
    window: Mutex<ReplayWindow>,
    used: AtomicBool,
}

/// What names a session to its two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// The other end.
    pub peer: Ipv6Addr,
    /// See [`EndSession::local_index`].
    pub local_index: u32,
    /// See [`EndSession::remote_index`].
    pub remote_index: u32,
    /// See [`EndSession::initiator`].
    pub initiator: bool,
}

/// An opened payload.
pub struct Opened<'a> {
    /// What it is for; none for what a later version sends.
    pub protocol: Option<InnerProtocol>,
    /// The payload.
    pub payload: &'a mut [u8],
    /// Whether it is the first under these keys.
    pub first: bool,
}

impl EndSession {
    /// Puts the keys of a handshake to work. None only if the cipher refuses a key of its own
    /// length.
    #[must_use]
    pub fn new(suite: Suite, keys: &Keys, names: Names, now: Moment) -> Option<Self> {
        Some(Self {
            peer: names.peer,
            local_index: names.local_index,
            remote_index: names.remote_index,
            suite,
            created_at: now,
            initiator: names.initiator,
            sending: suite.key(&keys.sending, LABEL)?,
            receiving: suite.key(&keys.receiving, LABEL)?,
            counter: AtomicU64::new(0),
            window: Mutex::default(),
            used: AtomicBool::new(false),
        })
    }

    /// Whether so many packets were sent that the key is to be replaced.
    #[must_use]
    pub fn is_worn(&self) -> bool {
        self.counter.load(Ordering::Relaxed) >= REKEY_AFTER_PACKETS
    }

    /// Packets sealed so far.
    #[must_use]
    pub fn packets_sealed(&self) -> u64 {
        self.counter.load(Ordering::Relaxed)
    }

    /// Writes all headers but the hop's into a datagram that has its payload after [`HEADROOM`]
    /// bytes, and seals it. None once the key is used up, or when the datagram is too short.
    pub fn seal(&self, own: Ipv6Addr, protocol: InnerProtocol, datagram: &mut [u8]) -> Option<()> {
        if datagram.len() < OVERHEAD {
            return None;
        }
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        if counter >= REFUSE_AFTER_PACKETS {
            return None;
        }
        let header = Header {
            receiver: 0,
            counter: 0,
            ttl: TTL,
            destination: self.peer,
            source: own,
            session: self.remote_index,
            session_counter: counter,
        };
        header.write(datagram)?;
        datagram[SEALED_PLACE] = protocol as u8;
        let (head, sealed) = datagram.split_at_mut(SEALED_PLACE);
        let (sealed, tail) = sealed.split_at_mut(sealed.len() - TAG_LENGTH);
        let bound = aead::Aad::from(&head[BOUND_PLACE..]);
        let tag = self.sending.seal_in_place_separate_tag(nonce(counter), bound, sealed).ok()?;
        tail.copy_from_slice(tag.as_ref());
        Some(())
    }

    /// Opens a datagram with this session `counter` where it lies. None for a forged or repeated
    /// one.
    pub fn open<'a>(&self, counter: u64, datagram: &'a mut [u8]) -> Option<Opened<'a>> {
        if datagram.len() < OVERHEAD {
            return None;
        }
        let (head, sealed) = datagram.split_at_mut(SEALED_PLACE);
        let bound = aead::Aad::from(&head[BOUND_PLACE..]);
        let opened = self.receiving.open_in_place(nonce(counter), bound, sealed).ok()?;
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if !window.accept(counter) {
            return None;
        }
        drop(window);
        let first = !self.used.load(Ordering::Relaxed) && !self.used.swap(true, Ordering::Relaxed);
        let (protocol, payload) = opened.split_first_mut()?;
        Some(Opened { protocol: InnerProtocol::from_byte(*protocol), payload, first })
    }
}

const _: () = assert!(HEADROOM == SEALED_PLACE + 1);

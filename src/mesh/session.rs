//! The keys of one handshake at work: counters, sealing and opening in place, replay window.

use std::sync::Arc;

use ring::aead;

use crate::mesh::plane::hop::HopReceiver;
use crate::mesh::plane::hop::HopSender;
use crate::mesh::plane::keys::Keys;
use crate::mesh::plane::suite::Suite;
use crate::mesh::plane::suite::nonce;
use crate::mesh::replay::ReplayWindow;
use crate::mesh::wire::Frame;
use crate::mesh::wire::TAG_LENGTH;
use crate::mesh::wire::TRANSPORT_HEADER_LENGTH;
use crate::mesh::wire::transport_header;
use crate::model::time::Moment;

/// Packets after which a key is replaced, as `WireGuard` does.
pub const REKEY_AFTER_PACKETS: u64 = 1 << 60;

const LABEL: &[u8] = b"raptor/1 control";

/// The keys for the macs of carried datagrams over one link.
pub struct Hop {
    /// Signs what is sent.
    pub sender: Arc<HopSender>,
    /// Checks what comes.
    pub receiver: Arc<HopReceiver>,
}

/// One pair of keys between two machines.
pub struct Session {
    /// Index by which the other side names this session in its packets.
    pub local_index: u32,
    /// Index by which this side names it.
    pub remote_index: u32,
    /// When the handshake ended.
    pub created_at: Moment,
    /// Whether this side began it.
    pub initiator: bool,
    /// The keys for carried datagrams.
    pub hop: Hop,
    sending: aead::LessSafeKey,
    receiving: aead::LessSafeKey,
    counter: u64,
    window: ReplayWindow,
}

/// An opened packet.
pub struct Opened<'a> {
    /// The frame's bytes.
    pub frame: &'a [u8],
    /// Whether no later packet of the session came before it.
    pub newest: bool,
    /// How far its number is above the highest before.
    pub advance: u64,
}

impl Session {
    /// Puts keys to work. None only if the cipher refuses a key of its own length.
    #[must_use]
    pub fn new(
        keys: &Keys,
        local_index: u32,
        remote_index: u32,
        initiator: bool,
        now: Moment,
    ) -> Option<Self> {
        let key = |secret: &[u8; 32]| Suite::ChaCha20Poly1305.key(secret, LABEL);
        let sender = HopSender::new(&keys.sending, remote_index);
        let receiver = HopReceiver::new(&keys.receiving, local_index);
        Some(Self {
            local_index,
            remote_index,
            created_at: now,
            initiator,
            hop: Hop { sender: Arc::new(sender), receiver: Arc::new(receiver) },
            sending: key(&keys.sending)?,
            receiving: key(&keys.receiving)?,
            counter: 0,
            window: ReplayWindow::default(),
        })
    }

    /// Whether so many packets were sent that the key is to be replaced.
    #[must_use]
    pub fn is_worn(&self) -> bool {
        self.counter >= REKEY_AFTER_PACKETS || self.hop.sender.is_worn()
    }

    /// A datagram that carries `frame`. None once the counter is used up.
    pub fn seal(&mut self, frame: &Frame<'_>) -> Option<Vec<u8>> {
        let counter = self.counter;
        // Far above the count at which the session is replaced; a nonce is never used twice.
        if counter >= u64::MAX - 1 {
            return None;
        }
        self.counter += 1;
        let header = transport_header(self.remote_index, counter);
        let mut datagram = Vec::with_capacity(256);
        datagram.extend_from_slice(&header);
        frame.write(&mut datagram);
        let sealed = self.sending.seal_in_place_separate_tag(
            nonce(counter),
            aead::Aad::from(header),
            &mut datagram[TRANSPORT_HEADER_LENGTH..],
        );
        datagram.extend_from_slice(sealed.ok()?.as_ref());
        Some(datagram)
    }

    /// Authenticates and opens a transport packet where it lies. None for a forged or repeated
    /// one.
    pub fn open<'a>(&mut self, counter: u64, datagram: &'a mut [u8]) -> Option<Opened<'a>> {
        if datagram.len() < TRANSPORT_HEADER_LENGTH + TAG_LENGTH || !self.window.is_fresh(counter) {
            return None;
        }
        let (header, sealed) = datagram.split_at_mut(TRANSPORT_HEADER_LENGTH);
        let frame =
            self.receiving.open_in_place(nonce(counter), aead::Aad::from(header), sealed).ok()?;
        let (newest, advance) = (self.window.is_newest(counter), self.window.advance(counter));
        self.window.accept(counter);
        Some(Opened { frame, newest, advance })
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::mesh::wire::Packet;

    fn pair() -> (Session, Session) {
        let keys = |one, two| Keys {
            sending: Zeroizing::new([one; 32]),
            receiving: Zeroizing::new([two; 32]),
            suite: Suite::ChaCha20Poly1305,
        };
        let session =
            |keys, local, remote| Session::new(&keys, local, remote, true, Moment::START).unwrap();
        (session(keys(1, 2), 10, 20), session(keys(2, 1), 20, 10))
    }

    #[test]
    fn a_packet_is_opened_once_and_only_unchanged() {
        let (mut one, mut two) = pair();
        let datagram = one.seal(&Frame::KnockHeld(5)).unwrap();
        let Some(Packet::Transport { receiver, counter }) = Packet::read(&datagram) else {
            panic!("not a transport packet");
        };
        assert_eq!((receiver, counter), (20, 0));
        for index in 0..datagram.len() {
            let mut bent = datagram.clone();
            bent[index] ^= 0x80;
            assert!(two.open(counter, &mut bent).is_none(), "byte {index}");
        }
        let mut copy = datagram.clone();
        assert_eq!(
            Frame::read(two.open(counter, &mut copy).unwrap().frame),
            Some(Frame::KnockHeld(5))
        );
        assert!(two.open(counter, &mut datagram.clone()).is_none());
    }

    #[test]
    fn late_packets_are_opened_and_known_as_late() {
        let (mut one, mut two) = pair();
        let mut first = one.seal(&Frame::Close).unwrap();
        let mut second = one.seal(&Frame::Close).unwrap();
        assert!(two.open(1, &mut second).unwrap().newest);
        assert!(!two.open(0, &mut first).unwrap().newest);
    }
}

//! From the device to the network: reads what programs send, cuts it, seals it and sends each
//! destination's packets in as few calls as the kernel allows.

use std::io;
use std::io::ErrorKind;
use std::io::IoSlice;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

use crate::mesh::plane::header::InnerProtocol;
use crate::mesh::socket::data::DataSocket;
use crate::mesh::socket::data::SEND_BYTES_MAX;
use crate::mesh::tun::carrier::Carrier;
use crate::mesh::tun::carrier::Seal;
use crate::mesh::tun::crew::Turn;
use crate::mesh::tun::cut::Cut;
use crate::mesh::tun::cut::needs_completion;
use crate::mesh::tun::icmp::MTU_MIN;
use crate::mesh::tun::icmp::packet_too_big;
use crate::mesh::tun::packet::addresses;
use crate::mesh::tun::packet::complete_checksum;
use crate::mesh::tun::pump::Arrival;
use crate::mesh::tun::pump::Shared;
use crate::mesh::tun::virtio::HEADER_LENGTH;
use crate::mesh::tun::virtio::VirtioHeader;

/// Room for the longest packet the device hands out: a whole IPv6 packet behind its header.
const READ_BYTES: usize = HEADER_LENGTH + 40 + 65_535;

/// A batch this full is sent without looking whether more follows.
const FULL_BYTES: usize = SEND_BYTES_MAX / 2;

/// Packets read before what they made is sent in any case.
const READS_MAX: usize = 64;

/// Datagrams of one size for one endpoint, in one piece.
struct Batch {
    bytes: Vec<u8>,
    filled: usize,
    segment: usize,
    destination: SocketAddr,
    /// The last one was shorter: nothing may follow.
    is_closed: bool,
}

impl Batch {
    fn new() -> Self {
        Self {
            bytes: vec![0; SEND_BYTES_MAX],
            filled: 0,
            segment: 0,
            destination: SocketAddr::from(([0, 0, 0, 0], 0)),
            is_closed: false,
        }
    }

    /// Room for a datagram of `length` bytes behind the others; whatever does not go together with
    /// it is sent first. None when it is longer than any datagram.
    fn claim(
        &mut self,
        socket: &DataSocket,
        destination: SocketAddr,
        length: usize,
    ) -> Option<&mut [u8]> {
        let fits = !self.is_closed
            && self.destination == destination
            && length <= self.segment
            && self.filled + length <= SEND_BYTES_MAX;
        if self.filled > 0 && !fits {
            self.send(socket);
        }
        if self.filled == 0 {
            (self.destination, self.segment) = (destination, length);
        }
        let start = self.filled;
        let room = self.bytes.get_mut(start..start + length)?;
        self.filled = start + length;
        self.is_closed = length < self.segment;
        Some(room)
    }

    /// Takes the last datagram, of `length` bytes, back.
    fn give_back(&mut self, length: usize) {
        self.filled -= length;
        self.is_closed = false;
    }

    fn send(&mut self, socket: &DataSocket) {
        if self.filled > 0 {
            socket.send(self.destination, &self.bytes[..self.filled], self.segment);
        }
        self.filled = 0;
        self.is_closed = false;
    }
}

/// What the way out needs.
pub(super) struct Outward<C: Carrier> {
    shared: Shared<C>,
    socket: DataSocket,
    batch: Batch,
    buffer: Vec<u8>,
}

impl<C: Carrier> Outward<C> {
    pub(super) fn new(shared: Shared<C>, socket: DataSocket) -> Self {
        Self { shared, socket, batch: Batch::new(), buffer: vec![0; READ_BYTES] }
    }

    /// Reads and sends what is there, a bounded part of it.
    ///
    /// # Errors
    /// The operating system's: the device is gone.
    pub(super) fn turn(&mut self) -> io::Result<Turn> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut reads = 0;
        let outcome = loop {
            match self.shared.device.read(&mut buffer) {
                Ok(length) => {
                    self.handle(buffer.get_mut(..length).unwrap_or_default());
                    reads += 1;
                    if self.batch.filled >= FULL_BYTES || reads >= READS_MAX {
                        break Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.buffer = buffer;
        if reads > 0 {
            self.batch.send(&self.socket);
            self.shared.wake();
        }
        outcome.map(|()| if reads > 0 { Turn::Sent } else { Turn::Idle })
    }

    fn handle(&mut self, bytes: &mut [u8]) {
        let Some((header, packet)) = VirtioHeader::read(bytes) else { return };
        let Some((source, destination)) = addresses(packet) else { return };
        // Multicast of the kernel's own, and what a program sends from another address.
        if source != self.shared.own || destination.is_multicast() {
            return;
        }
        if let Some((start, offset)) = needs_completion(&header, packet) {
            let finished = VirtioHeader::WHOLE;
            let Some(packet) = bytes.get_mut(HEADER_LENGTH..) else { return };
            if complete_checksum(packet, start, offset) {
                self.carry(&finished, packet, destination);
            }
            return;
        }
        self.carry(&header, packet, destination);
    }

    fn carry(&mut self, header: &VirtioHeader, packet: &[u8], destination: Ipv6Addr) {
        let Some(cut) = Cut::new(header, packet) else { return };
        let protocol = protocol_of(&cut);
        let now = self.shared.now();
        let Some(sender) = self.shared.carrier.sender(now, destination) else {
            self.leave(&cut, protocol, destination);
            return;
        };
        let payload_max = sender.payload_max();
        if cut.longest() > payload_max.max(MTU_MIN) {
            self.refuse(packet, payload_max);
            return;
        }
        let endpoint = sender.endpoint();
        for index in 0..cut.count {
            let length = cut.length(index);
            let whole = C::Seal::HEADROOM + length + C::Seal::TAILROOM;
            let Some(room) = self.batch.claim(&self.socket, endpoint, whole) else { return };
            if let Some(payload) = room.get_mut(C::Seal::HEADROOM..C::Seal::HEADROOM + length) {
                cut.write(index, payload);
            }
            if sender.seal(protocol, room).is_none() {
                self.batch.give_back(whole);
                return;
            }
        }
        self.shared.counters.sent(cut.count, packet.len());
    }

    /// Hands packets that nothing can carry yet to the mesh, which asks for a session and keeps a
    /// few meanwhile.
    fn leave(&self, cut: &Cut<'_>, protocol: InnerProtocol, destination: Ipv6Addr) {
        for index in 0..cut.count {
            let mut payload = vec![0; cut.length(index)];
            cut.write(index, &mut payload);
            self.shared.tell(Arrival::Unsent { destination, protocol, payload });
        }
    }

    fn refuse(&self, packet: &[u8], payload_max: usize) {
        self.shared.counters.refused();
        if let Some(error) = packet_too_big(packet, payload_max) {
            let header = VirtioHeader::WHOLE.bytes();
            // Lost like any error packet: the next long packet makes another.
            let _ = self.shared.device.write(&[IoSlice::new(&header), IoSlice::new(&error)]);
        }
    }
}

fn protocol_of(cut: &Cut<'_>) -> InnerProtocol {
    if cut.is_partial { InnerProtocol::Ipv6Partial } else { InnerProtocol::Ipv6 }
}

//! From the network to the device: authenticates what arrives, passes on what is for others, and
//! writes consecutive packets of a flow in one piece.

use std::io;
use std::io::ErrorKind;
use std::io::IoSliceMut;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

use quinn_udp::RecvMeta;

use crate::mesh::plane::header::InnerProtocol;
use crate::mesh::plane::receive::Verdict;
use crate::mesh::socket::data::DataSocket;
use crate::mesh::socket::data::source_of;
use crate::mesh::tun::carrier::Carrier;
use crate::mesh::tun::coalesce::Run;
use crate::mesh::tun::crew::Turn;
use crate::mesh::tun::packet::addresses;
use crate::mesh::tun::pump::Arrival;
use crate::mesh::tun::pump::Shared;
use crate::model::time::Moment;

/// Batches taken from the kernel in one call.
const BUFFERS: usize = 16;
/// A batch is at most one IP packet long.
const BUFFER_BYTES: usize = 65_536;

/// Datagrams that lie one behind the other and go to the same place.
#[derive(Debug, Clone, Copy)]
struct Onward {
    destination: SocketAddr,
    start: usize,
    end: usize,
}

/// What the way in needs.
pub(super) struct Inward<C: Carrier> {
    shared: Shared<C>,
    socket: DataSocket,
    onward: Vec<Onward>,
    bytes: Vec<u8>,
}

impl<C: Carrier> Inward<C> {
    pub(super) fn new(shared: Shared<C>, socket: DataSocket) -> Self {
        Self { shared, socket, onward: Vec::new(), bytes: vec![0; BUFFERS * BUFFER_BYTES] }
    }

    /// Takes what is there, a bounded part of it.
    ///
    /// # Errors
    /// The operating system's: the socket is gone.
    pub(super) fn turn(&mut self) -> io::Result<Turn> {
        let mut bytes = std::mem::take(&mut self.bytes);
        let outcome = self.take(&mut bytes);
        self.bytes = bytes;
        outcome
    }

    fn take(&mut self, bytes: &mut [u8]) -> io::Result<Turn> {
        let mut metas = [RecvMeta::default(); BUFFERS];
        let mut slices = bytes.chunks_mut(BUFFER_BYTES).map(IoSliceMut::new);
        let mut slices: [IoSliceMut<'_>; BUFFERS] =
            std::array::from_fn(|_| slices.next().unwrap_or(IoSliceMut::new(&mut [])));
        let filled = match self.socket.receive(&mut slices, &mut metas) {
            Ok(filled) => filled,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Turn::Idle),
            // An ICMP error about something sent earlier.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(Turn::Worked),
            Err(error) => return Err(error),
        };
        let now = self.shared.now();
        let mut has_sent = false;
        for (meta, slice) in metas.iter().zip(&mut slices).take(filled) {
            let batch = slice.get_mut(..meta.len).unwrap_or_default();
            has_sent |= self.handle(now, source_of(meta), meta.stride.max(1), batch);
        }
        self.shared.wake();
        Ok(if has_sent { Turn::Sent } else { Turn::Worked })
    }

    /// One batch of datagrams of one size from one source. Whether any was passed on.
    fn handle(&mut self, now: Moment, source: SocketAddr, stride: usize, batch: &mut [u8]) -> bool {
        let mut run = Run::default();
        let mut start = 0;
        for datagram in batch.chunks_mut(stride) {
            let end = start + datagram.len();
            let shared = &self.shared;
            match shared.carrier.receive(now, source, datagram) {
                Verdict::Deliver { source, protocol, payload } => match protocol {
                    InnerProtocol::Ipv6 | InnerProtocol::Ipv6Partial => {
                        let is_partial = protocol == InnerProtocol::Ipv6Partial;
                        if is_admissible(payload, source, shared.own) {
                            shared.counters.received(payload.len());
                            deliver(shared, &mut run, payload, is_partial);
                        } else {
                            shared.counters.refused();
                        }
                    }
                    _ => {
                        let payload = payload.to_vec();
                        shared.tell(Arrival::Payload { source, protocol, payload });
                    }
                },
                Verdict::Forward { destination } => {
                    note(&mut self.onward, Onward { destination, start, end });
                }
                Verdict::Control => {
                    // The carrier has given it back untouched, but keeps it borrowed.
                    note_control(&mut self.onward, start, end);
                }
                Verdict::Drop => {}
            }
            start = end;
        }
        flush(&self.shared, &mut run);
        drop(run);
        let mut has_sent = false;
        for Onward { destination, start, end } in self.onward.drain(..) {
            let datagrams = batch.get(start..end).unwrap_or_default();
            if destination == CONTROL {
                let datagram = datagrams.to_vec();
                self.shared.tell(Arrival::Datagram { source, datagram });
            } else {
                self.socket.send(destination, datagrams, stride);
                has_sent = true;
            }
        }
        has_sent
    }
}

/// Stands for the agent itself in [`Onward`]: nothing is ever sent to port 0.
const CONTROL: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

fn note_control(onward: &mut Vec<Onward>, start: usize, end: usize) {
    onward.push(Onward { destination: CONTROL, start, end });
}

/// Lengthens the last stretch when `next` continues it.
fn note(onward: &mut Vec<Onward>, next: Onward) {
    match onward.last_mut() {
        Some(last) if last.destination == next.destination && last.end == next.start => {
            last.end = next.end;
        }
        _ => onward.push(next),
    }
}

/// Whether a packet that `source` sent may go to this machine's programs: it is one IPv6 packet,
/// from the very member whose session carried it, to this machine.
fn is_admissible(packet: &[u8], source: Ipv6Addr, own: Ipv6Addr) -> bool {
    addresses(packet) == Some((source, own))
}

fn deliver<'a, C: Carrier>(
    shared: &Shared<C>,
    run: &mut Run<'a>,
    packet: &'a mut [u8],
    is_partial: bool,
) {
    if let Err(packet) = run.push(packet, is_partial) {
        flush(shared, run);
        // An empty run takes every packet.
        let _ = run.push(packet, is_partial);
    }
}

fn flush<C: Carrier>(shared: &Shared<C>, run: &mut Run<'_>) {
    run.take(|slices| {
        if shared.device.write(slices).is_err() {
            shared.counters.refused();
        }
    });
}

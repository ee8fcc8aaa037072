//! The overlay as QUIC sees it: a UDP socket whose network is the mesh.

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use crate::mesh::stream::lane::{Lane, Packet};
use crate::mesh::stream::queue::{PushError, Queue};

/// QUIC wants a port; a machine has one endpoint, so all share this one.
const OVERLAY_PORT: u16 = 1;

/// How QUIC names the machine at a mesh address.
pub(super) fn overlay_address(address: Ipv6Addr) -> SocketAddr {
    SocketAddr::V6(SocketAddrV6::new(address, OVERLAY_PORT, 0, 0))
}

/// A socket on a [`Lane`].
#[derive(Debug)]
pub(super) struct OverlaySocket {
    lane: Lane,
}

impl OverlaySocket {
    pub(super) fn new(lane: Lane) -> Self {
        Self { lane }
    }
}

impl AsyncUdpSocket for OverlaySocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(RoomPoller { outgoing: Arc::clone(&self.lane.outgoing) })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let SocketAddr::V6(destination) = transmit.destination else {
            return Err(ErrorKind::Unsupported.into());
        };
        // One segment, unless `max_transmit_segments` is raised.
        let segment_bytes = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for (index, segment) in transmit.contents.chunks(segment_bytes).enumerate() {
            let packet = (*destination.ip(), Bytes::copy_from_slice(segment));
            match self.lane.outgoing.push(packet) {
                Ok(()) => {}
                Err(PushError::Closed) => return Err(ErrorKind::BrokenPipe.into()),
                Err(PushError::Full) if index == 0 => return Err(ErrorKind::WouldBlock.into()),
                // Part of the batch is on its way: the rest is lost, as a network would lose it.
                Err(PushError::Full) => break,
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut filled = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas.iter_mut()) {
            let packet = if filled == 0 {
                match ready!(poll_fitting(&self.lane.incoming, context, buffer.len())) {
                    Some(packet) => packet,
                    None => return Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
                }
            } else {
                match self.lane.incoming.try_pop() {
                    Some(packet) => packet,
                    None => break,
                }
            };
            if fill(&packet, buffer, meta) {
                filled += 1;
            } else {
                break;
            }
        }
        Poll::Ready(Ok(filled))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(overlay_address(self.lane.local.address()))
    }

    /// The mesh carries packets of a fixed size: there is no larger one to probe for.
    fn may_fragment(&self) -> bool {
        true
    }
}

/// The next packet of at most `bytes_max`; longer ones cannot be QUIC's and are dropped.
fn poll_fitting(
    queue: &Queue<Packet>,
    context: &mut Context<'_>,
    bytes_max: usize,
) -> Poll<Option<Packet>> {
    loop {
        match ready!(queue.poll_pop(context)) {
            Some((_, payload)) if payload.len() > bytes_max => {}
            packet => return Poll::Ready(packet),
        }
    }
}

/// Copies `packet` into `buffer`; `false` when it does not fit.
fn fill((source, payload): &Packet, buffer: &mut IoSliceMut<'_>, meta: &mut RecvMeta) -> bool {
    let Some(room) = buffer.get_mut(..payload.len()) else {
        return false;
    };
    room.copy_from_slice(payload);
    *meta = RecvMeta {
        addr: overlay_address(*source),
        len: payload.len(),
        stride: payload.len(),
        ecn: None,
        dst_ip: None,
    };
    true
}

/// Waits for room in the outgoing queue.
#[derive(Debug)]
struct RoomPoller {
    outgoing: Arc<Queue<Packet>>,
}

impl UdpPoller for RoomPoller {
    fn poll_writable(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_room(context).map(Ok)
    }
}

//! The socket as the data plane's threads use it: blocking, whole batches at a time, beside the
//! agent's loop that sends on the same descriptor.

use std::io;
use std::io::ErrorKind;
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::net::UdpSocket;
use std::os::fd::AsFd;

use quinn_udp::RecvMeta;
use quinn_udp::Transmit;
use quinn_udp::UdpSocketState;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::event::poll;

use crate::mesh::socket::Family;
use crate::mesh::socket::address_for;
use crate::mesh::socket::path;
use crate::mesh::socket::without_mapping;

/// How long a batch waits for room in the kernel before it is lost, as a router's queue overflows.
const SEND_TIMEOUT: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// Asked of the kernel for each direction: some 20 ms at 10 Gbit/s. Root gets it in any case.
const KERNEL_BUFFER_BYTES: usize = 16 << 20;

/// The largest number of bytes one segmented send may carry: a UDP datagram of IPv4.
pub const SEND_BYTES_MAX: usize = 65_507;

/// One descriptor of the mesh's socket for the data plane.
#[derive(Debug)]
pub struct DataSocket {
    io: UdpSocket,
    state: UdpSocketState,
    family: Family,
}

impl AsFd for DataSocket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl DataSocket {
    pub(super) fn new(io: UdpSocket, family: Family) -> io::Result<Self> {
        let state = UdpSocketState::new((&io).into())?;
        path::follow(io.as_fd());
        // Only root gets past the kernel's bound; others have what it grants.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&io, KERNEL_BUFFER_BYTES);
        let _ = rustix::net::sockopt::set_socket_send_buffer_size_force(&io, KERNEL_BUFFER_BYTES);
        Ok(Self { io, state, family })
    }

    /// Another descriptor of the same socket, for another thread.
    ///
    /// # Errors
    /// The operating system's.
    pub fn try_clone(&self) -> io::Result<Self> {
        Self::new(self.io.try_clone()?, self.family)
    }

    /// Receives batches of datagrams into `buffers`, 64 KiB each. Does not wait.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing; anything else means that the socket is gone.
    pub fn receive(
        &self,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> io::Result<usize> {
        self.state.recv((&self.io).into(), buffers, metas)
    }

    /// Sends datagrams of `segment` bytes each, the last one maybe shorter, at most
    /// [`SEND_BYTES_MAX`] in all. Waits a moment for room in the kernel. Returns how many bytes
    /// the kernel took.
    pub fn send(&self, destination: SocketAddr, contents: &[u8], segment: usize) -> usize {
        let Some(destination) = address_for(self.family, destination) else { return 0 };
        let mut taken = 0;
        while let Some(rest) = contents.get(taken..).filter(|rest| !rest.is_empty()) {
            let most = self.state.max_gso_segments().max(1).saturating_mul(segment.max(1));
            let part = rest.get(..most).unwrap_or(rest);
            let outcome = self.send_part(destination, part, segment);
            // The way cannot segment (an odd interface, a path smaller than a datagram): one by
            // one, so that the kernel may fragment each.
            if outcome.is_err() && part.len() > segment {
                for one in part.chunks(segment) {
                    let _ = self.send_part(destination, one, segment);
                }
            }
            taken += part.len();
        }
        taken
    }

    fn send_part(&self, destination: SocketAddr, part: &[u8], segment: usize) -> io::Result<()> {
        let transmit = Transmit {
            destination,
            ecn: None,
            contents: part,
            segment_size: (part.len() > segment).then_some(segment),
            src_ip: None,
        };
        match self.state.try_send((&self.io).into(), &transmit) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut files = [PollFd::new(&self.io, PollFlags::OUT)];
                rustix::io::retry_on_intr(|| poll(&mut files, Some(&SEND_TIMEOUT)))?;
                self.state.try_send((&self.io).into(), &transmit)
            }
            sent => sent,
        }
    }
}

/// Where a received datagram came from, as the rest of the program writes addresses.
#[must_use]
pub fn source_of(meta: &RecvMeta) -> SocketAddr {
    without_mapping(meta.addr)
}

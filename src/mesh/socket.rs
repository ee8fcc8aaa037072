//! The UDP socket under the mesh: many datagrams a system call, never waiting to send.
//!
//! Incoming datagrams are split from the kernel's generic receive offload (GRO), outgoing ones
//! gathered for its segmentation offload (GSO), both through `quinn-udp`, which does without where
//! the kernel has neither.

mod backlog;
pub mod data;
pub mod path;

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::mesh::socket::backlog::Backlog;
use crate::mesh::socket::data::DataSocket;

/// Buffers handed to the kernel in one call, each with room for a whole GRO batch. Pages are only
/// touched once a batch fills them.
const RECEIVE_BUFFERS: usize = 8;

/// A GRO batch is at most one IP packet long.
const RECEIVE_BUFFER_BYTES: usize = 65_536;

/// Datagrams that wait for room in the kernel: a burst of some 700 full ones.
const BACKLOG_BYTES_MAX: usize = 1 << 20;

/// Asked of the kernel for each direction; it grants what its own bound allows.
const KERNEL_BUFFER_BYTES: usize = 2 << 20;

/// When the kernel has no room, sending is tried again after this long.
const RETRY_AFTER: Duration = Duration::from_millis(1);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Something else listens there.
    #[error("UDP port {} is in use (address {address})", address.port())]
    AddressInUse {
        /// What was asked for.
        address: SocketAddr,
    },
    /// The address belongs to none of this machine's interfaces.
    #[error("this machine has no address {}", address.ip())]
    NotOurs {
        /// What was asked for.
        address: SocketAddr,
    },
    /// The port is reserved for other users.
    #[error("this user may not listen on UDP port {}", address.port())]
    Forbidden {
        /// What was asked for.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("cannot listen on UDP address {address}")]
    Other {
        /// What was asked for.
        address: SocketAddr,
        /// The operating system's word.
        #[source]
        source: io::Error,
    },
}

/// What went through a socket, in datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SocketCounters {
    /// Received.
    pub received: u64,
    /// Handed to the kernel.
    pub sent: u64,
    /// Not sent: the backlog was full, or the socket does not speak the address family.
    pub dropped: u64,
    /// Not sent: the kernel refused them (no route, too long for the interface).
    pub refused: u64,
}

/// Which address families a socket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
    /// IPv6, with IPv4 as mapped addresses (`::ffff:a.b.c.d`).
    Both,
}

/// Who waits for datagrams.
#[derive(Debug)]
enum Io {
    /// The agent's loop, which the runtime wakes for what arrives and for nothing else: whoever also
    /// waits for room is woken by every datagram that has left the kernel.
    Loop(AsyncFd<std::net::UdpSocket>),
    /// The data plane's threads: the runtime does not watch the socket, or every datagram would
    /// wake the loop as well.
    Threads(std::net::UdpSocket),
}

impl AsFd for Io {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Loop(io) => io.as_fd(),
            Self::Threads(io) => io.as_fd(),
        }
    }
}

/// A bound UDP socket. Its addresses are plain: mapped ones (`::ffff:a.b.c.d`) never leave it.
#[derive(Debug)]
pub struct MeshSocket {
    io: Io,
    state: UdpSocketState,
    family: Family,
    backlog: Backlog,
    buffers: Vec<u8>,
    counters: SocketCounters,
}

impl MeshSocket {
    /// Binds to `listen`, or to any free port of all addresses. All IPv6 addresses (`[::]`) mean
    /// all IPv4 addresses as well, and those alone on a machine without IPv6. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`SocketError`] says which address and why.
    pub fn bind(listen: Option<SocketAddr>) -> Result<Self, SocketError> {
        let wish = listen.unwrap_or(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0));
        let (socket, family) = match open(wish) {
            Err(error) => match without_ipv6(wish, &error) {
                Some(address) => open(address).map_err(|error| refusal(address, error))?,
                None => return Err(refusal(wish, error)),
            },
            Ok(opened) => opened,
        };
        Self::wrap(socket, family).map_err(|error| refusal(wish, error))
    }

    fn wrap(socket: Socket, family: Family) -> io::Result<Self> {
        // The kernel's own bound is what counts; a refusal only leaves its default.
        let _ = socket.set_recv_buffer_size(KERNEL_BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(KERNEL_BUFFER_BYTES);
        socket.set_nonblocking(true)?;
        let io = std::net::UdpSocket::from(socket);
        let state = following(&io)?;
        Ok(Self {
            state,
            io: Io::Loop(watched(io)?),
            family,
            backlog: Backlog::new(BACKLOG_BYTES_MAX),
            buffers: vec![0; RECEIVE_BUFFERS * RECEIVE_BUFFER_BYTES],
            counters: SocketCounters::default(),
        })
    }

    /// The address the socket is bound to, with the port the system chose.
    ///
    /// # Errors
    /// The operating system's, which does not occur on a bound socket.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        match &self.io {
            Io::Loop(io) => io.get_ref().local_addr(),
            Io::Threads(io) => io.local_addr(),
        }
    }

    /// Leaves receiving to the data plane's threads: gives a descriptor for them, and from now on
    /// only sends.
    ///
    /// # Errors
    /// The operating system's; the socket receives as before then.
    pub fn leave_receiving(&mut self) -> io::Result<DataSocket> {
        let data = DataSocket::new(self.io.as_fd().try_clone_to_owned()?.into(), self.family)?;
        let own = self.io.as_fd().try_clone_to_owned()?;
        self.io = Io::Threads(own.into());
        Ok(data)
    }

    /// What went through so far.
    #[must_use]
    pub fn counters(&self) -> SocketCounters {
        self.counters
    }

    /// Waits until there is something to [`receive`](Self::receive), or room for what waits to be
    /// sent, so that [`flush`](Self::flush) gets on. Call both afterwards. Cancelling loses nothing.
    ///
    /// # Errors
    /// The operating system's; the socket is of no use any more.
    pub async fn ready(&self) -> io::Result<()> {
        let arrival = async {
            match &self.io {
                // What is there stays there until it is received.
                Io::Loop(io) => io.readable().await.map(|mut guard| guard.retain_ready()),
                Io::Threads(_) => std::future::pending().await,
            }
        };
        if self.backlog.is_empty() {
            return arrival.await;
        }
        // A kernel that has no room has some again when a packet's time has passed.
        tokio::time::timeout(RETRY_AFTER, arrival).await.unwrap_or(Ok(()))
    }

    /// Hands each datagram of one batch to `handle`, with where it came from. Returns their number:
    /// zero when nothing has arrived. Does not wait.
    ///
    /// # Errors
    /// The operating system's; the socket is of no use any more.
    pub fn receive(&mut self, mut handle: impl FnMut(SocketAddr, &mut [u8])) -> io::Result<usize> {
        let mut metas = [RecvMeta::default(); RECEIVE_BUFFERS];
        let mut slices = self.buffers.chunks_mut(RECEIVE_BUFFER_BYTES).map(IoSliceMut::new);
        let mut slices: [IoSliceMut<'_>; RECEIVE_BUFFERS] =
            std::array::from_fn(|_| slices.next().unwrap_or(IoSliceMut::new(&mut [])));
        let Io::Loop(io) = &self.io else { return Ok(0) };
        let state = &self.state;
        let filled =
            io.try_io(Interest::READABLE, |io| state.recv(io.into(), &mut slices, &mut metas));
        let filled = match filled {
            Ok(filled) => filled,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut count = 0;
        for (meta, slice) in metas.iter().zip(&mut slices).take(filled) {
            let source = without_mapping(meta.addr);
            let batch = slice.get_mut(..meta.len).unwrap_or_default();
            for datagram in batch.chunks_mut(meta.stride.max(1)) {
                handle(source, datagram);
                count += 1;
            }
        }
        self.counters.received += u64::try_from(count).unwrap_or(u64::MAX);
        Ok(count)
    }

    /// Puts a datagram in the queue; [`flush`](Self::flush) sends what is queued. Dropped and
    /// counted when the queue is full.
    pub fn send(&mut self, destination: SocketAddr, datagram: &[u8]) {
        let segments_max = self.state.max_gso_segments();
        let queued = address_for(self.family, destination)
            .is_some_and(|address| self.backlog.push(address, datagram, segments_max));
        if !queued {
            self.counters.dropped += 1;
        }
    }

    /// Sends what is queued, as far as the kernel has room. Does not wait.
    pub fn flush(&mut self) {
        while let Some(batch) = self.backlog.front() {
            let segments_max = self.state.max_gso_segments();
            let contents = batch.next(segments_max);
            let is_segmented = contents.len() > batch.segment_bytes;
            let transmit = Transmit {
                destination: batch.destination,
                ecn: None,
                contents,
                segment_size: is_segmented.then_some(batch.segment_bytes),
                src_ip: None,
            };
            let sent = self.try_send(&transmit);
            let bytes = contents.len();
            match sent {
                Ok(()) => self.counters.sent += self.backlog.advance(bytes),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // The interface cannot segment: `quinn-udp` has noted it, and the batch goes again
                // one datagram at a time.
                Err(_) if is_segmented && self.state.max_gso_segments() < segments_max => {}
                // Longer than the path: one at a time the kernel makes fragments of each.
                Err(_) if is_segmented => self.send_singly(),
                Err(_) => self.counters.refused += self.backlog.advance(bytes),
            }
        }
    }

    /// Sends the oldest batch one datagram at a time. What the kernel has no room for is lost.
    fn send_singly(&mut self) {
        let Some(batch) = self.backlog.front() else { return };
        let contents = batch.next(usize::MAX);
        let (bytes, mut sent) = (contents.len(), 0);
        for contents in contents.chunks(batch.segment_bytes) {
            let destination = batch.destination;
            let transmit =
                Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None };
            sent += u64::from(self.try_send(&transmit).is_ok());
        }
        let all = self.backlog.advance(bytes);
        self.counters.sent += sent;
        self.counters.refused += all.saturating_sub(sent);
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.state.try_send((&self.io).into(), transmit)
    }
}

/// Has the runtime tell what arrives.
#[expect(deprecated, reason = "its successor is `unsafe`, for descriptors that others may close")]
fn watched(io: std::net::UdpSocket) -> io::Result<AsyncFd<std::net::UdpSocket>> {
    AsyncFd::with_interest(io, Interest::READABLE)
}

/// `quinn-udp` forbids fragments, as QUIC wants; the mesh follows the path instead.
fn following(io: &std::net::UdpSocket) -> io::Result<UdpSocketState> {
    let state = UdpSocketState::new(io.into())?;
    path::follow(io.as_fd());
    Ok(state)
}

/// Opens and binds one socket, for IPv4 too where `address` is all of IPv6.
fn open(address: SocketAddr) -> io::Result<(Socket, Family)> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    let family = match address {
        SocketAddr::V4(_) => Family::V4,
        SocketAddr::V6(address) if address.ip().is_unspecified() => {
            // Systems without mapped addresses (OpenBSD) refuse, and serve IPv6 alone.
            if socket.set_only_v6(false).is_ok() { Family::Both } else { Family::V6 }
        }
        SocketAddr::V6(_) => Family::V6,
    };
    socket.bind(&address.into())?;
    Ok((socket, family))
}

/// What to bind instead, when `error` says that this machine has no IPv6 and `wish` was all of it.
fn without_ipv6(wish: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    let is_all_ipv6 = wish.is_ipv6() && wish.ip().is_unspecified();
    // Switched off at boot there is no such family; switched off later, no such address.
    let is_off = error.kind() == ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error());
    (is_all_ipv6 && is_off).then(|| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), wish.port()))
}

fn refusal(address: SocketAddr, source: io::Error) -> SocketError {
    match source.kind() {
        ErrorKind::AddrInUse => SocketError::AddressInUse { address },
        ErrorKind::AddrNotAvailable => SocketError::NotOurs { address },
        ErrorKind::PermissionDenied => SocketError::Forbidden { address },
        _ => SocketError::Other { address, source },
    }
}

/// How a socket of `family` names `destination`; none when it cannot reach it.
fn address_for(family: Family, destination: SocketAddr) -> Option<SocketAddr> {
    let plain = without_mapping(destination);
    match (family, plain.ip()) {
        (Family::V4, IpAddr::V4(_)) | (Family::V6 | Family::Both, IpAddr::V6(_)) => Some(plain),
        (Family::Both, IpAddr::V4(ip)) => {
            Some(SocketAddr::new(ip.to_ipv6_mapped().into(), plain.port()))
        }
        (Family::V4, IpAddr::V6(_)) | (Family::V6, IpAddr::V4(_)) => None,
    }
}

/// `address` as plain IPv4 when it is IPv4 mapped into IPv6.
#[must_use]
pub fn without_mapping(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests;

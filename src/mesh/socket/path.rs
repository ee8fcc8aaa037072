//! How long a datagram may be on its way to a neighbour, as the kernel knows it: from the interface,
//! and from the "too big" of routers (RFC 1191, RFC 8201).

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;

use rustix::net::AddressFamily;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::net::sockopt;
use rustix::net::sockopt::Ipv4PathMtuDiscovery;
use rustix::net::sockopt::Ipv6PathMtuDiscovery;

use crate::mesh::plane::header::OVERHEAD;
use crate::mesh::tun::icmp::MTU_MIN;

/// Headers of IPv4 and UDP.
const HEADERS_V4: usize = 28;
/// Headers of IPv6 and UDP.
const HEADERS_V6: usize = 48;

/// What carries the least MTU of IPv6 in one datagram: below this the kernel makes fragments.
const DATAGRAM_MIN: usize = MTU_MIN + OVERHEAD;

/// The largest packets of common networks ("jumbo frames"); longer ones gain little.
const DATAGRAM_MAX: usize = 9_216;

/// Lets datagrams be as long as the path takes: longer ones are cut into fragments by this machine,
/// none by routers.
pub(in crate::mesh) fn follow(socket: BorrowedFd<'_>) {
    // A family that the socket does not have is refused, and not needed.
    let _ = sockopt::set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::WANT);
    let _ = sockopt::set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::WANT);
    crate::mesh::tun::kernel::allow_fragments(socket);
}

/// The longest datagram to send to `endpoint`: what its path takes in one piece, and never so
/// little that IPv6 would not fit.
///
/// # Errors
/// The operating system's: there is no way to it.
pub fn datagram_max(endpoint: SocketAddr) -> io::Result<usize> {
    let family = if endpoint.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    // Connecting a UDP socket sends nothing, and makes the kernel look the path up.
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    rustix::net::connect(&socket, &endpoint)?;
    let fitting = if endpoint.is_ipv4() {
        as_usize(sockopt::ip_mtu(socket.as_fd())?).saturating_sub(HEADERS_V4)
    } else {
        as_usize(sockopt::ipv6_mtu(socket.as_fd())?).saturating_sub(HEADERS_V6)
    };
    Ok(fitting.clamp(DATAGRAM_MIN, DATAGRAM_MAX))
}

fn as_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_takes_the_longest_and_nobody_gets_too_little() {
        assert_eq!(datagram_max("127.0.0.1:9".parse().unwrap()).unwrap(), DATAGRAM_MAX);
        assert_eq!(datagram_max("[::1]:9".parse().unwrap()).unwrap(), DATAGRAM_MAX);
        assert_eq!(DATAGRAM_MIN, 1_375);
    }
}

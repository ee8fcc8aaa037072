//! Whether one thread or two move the packets: each goes on once, and in its order.

use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use std::time::Instant;

use rustix::net::AddressFamily;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

use super::*;
use crate::mesh::plane::receive::Verdict;
use crate::mesh::socket::MeshSocket;
use crate::mesh::tun::carrier::Seal;
use crate::mesh::tun::virtio::VirtioHeader;

const OWN: Ipv6Addr = Ipv6Addr::new(0xfc01, 0, 0, 0, 0, 0, 0, 1);
const OTHER: Ipv6Addr = Ipv6Addr::new(0xfc02, 0, 0, 0, 0, 0, 0, 2);

/// Generous: it ends a test that hangs.
const LIMIT: Duration = Duration::from_secs(30);
/// Longer than what makes the second thread give the way out back.
const QUIET: Duration = Duration::from_millis(20);
/// Packets under way at once: few enough for every queue.
const WINDOW: u32 = 48;

/// Carries in clear; notes whether the second thread moved the last packet out.
struct Clear {
    endpoint: SocketAddr,
    is_second: Arc<AtomicBool>,
}

struct Plain(SocketAddr);

impl Carrier for Clear {
    type Seal = Plain;

    fn sender(&self, _: Moment, _: Ipv6Addr) -> Option<Plain> {
        let is_second = thread::current().name() == Some("mesh-2");
        self.is_second.store(is_second, Ordering::Release);
        Some(Plain(self.endpoint))
    }

    fn receive<'a>(&self, _: Moment, _: SocketAddr, datagram: &'a mut [u8]) -> Verdict<'a> {
        Verdict::Deliver { source: OTHER, protocol: InnerProtocol::Ipv6, payload: datagram }
    }

    fn has_events(&self) -> bool {
        false
    }
}

impl Seal for Plain {
    const HEADROOM: usize = 0;
    const TAILROOM: usize = 0;

    fn endpoint(&self) -> SocketAddr {
        self.0
    }

    fn payload_max(&self) -> usize {
        1_400
    }

    fn seal(&self, _: InnerProtocol, _: &mut [u8]) -> Option<()> {
        Some(())
    }
}

/// An IPv6 packet without an upper protocol (59, RFC 8200, section 4.7) that holds a number.
fn packet(number: u32, from: Ipv6Addr, to: Ipv6Addr) -> Vec<u8> {
    let head = [0x60, 0, 0, 0, 0, 4, 59, 64];
    [&head[..], &from.octets(), &to.octets(), &number.to_be_bytes()].concat()
}

/// Programs on one side of a pump, the network on the other, and how far both ways have come.
struct World {
    programs: OwnedFd,
    network: UdpSocket,
    socket: SocketAddr,
    is_second: Arc<AtomicBool>,
    sent: u32,
    went: u32,
    came: u32,
    _pump: Pump,
}

impl World {
    fn new() -> Self {
        // Unlike datagrams between two sockets of this kind these are bounded by bytes alone.
        let kind = SocketType::SEQPACKET;
        let (device, programs) =
            rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
        rustix::io::ioctl_fionbio(&device, true).unwrap();
        let network = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut own = MeshSocket::bind(Some("127.0.0.1:0".parse().unwrap())).unwrap();
        let socket = own.local_address().unwrap();
        let is_second = Arc::<AtomicBool>::default();
        let endpoint = network.local_addr().unwrap();
        let carrier = Clear { endpoint, is_second: Arc::clone(&is_second) };
        let (device, data) = (DeviceFile::of(device), own.leave_receiving().unwrap());
        let clock = Arc::new(|| Moment::START);
        let pump = Pump::start(Arc::new(carrier), device, data, OWN, clock).unwrap();
        let (sent, went, came) = (0, 0, 0);
        Self { programs, network, socket, is_second, sent, went, came, _pump: pump }
    }

    fn is_second(&self) -> bool {
        self.is_second.load(Ordering::Acquire)
    }

    /// One packet out and one in; those that are under way are taken once they are many.
    fn send(&mut self) {
        let out = [&VirtioHeader::WHOLE.bytes()[..], &packet(self.sent, OWN, OTHER)].concat();
        assert_eq!(rustix::io::write(&self.programs, &out).unwrap(), out.len());
        self.network.send_to(&packet(self.sent, OTHER, OWN), self.socket).unwrap();
        self.sent += 1;
        self.take(WINDOW);
    }

    /// Takes what has arrived until at most `left` are under way: each must be the next.
    fn take(&mut self, left: u32) {
        self.network.set_read_timeout(Some(LIMIT)).unwrap();
        let mut buffer = [0; 2_048];
        while self.sent - self.went > left {
            let length = self.network.recv(&mut buffer).unwrap();
            assert_eq!(buffer[..length], packet(self.went, OWN, OTHER), "packet {}", self.went);
            self.went += 1;
        }
        while self.sent - self.came > left {
            let length = rustix::io::read(&self.programs, &mut buffer).unwrap();
            let packet = packet(self.came, OTHER, OWN);
            assert_eq!(buffer[VirtioHeader::WHOLE.bytes().len()..length], packet);
            self.came += 1;
        }
    }

    /// Nothing comes twice, and nothing happens for a while.
    fn rest(&mut self) {
        self.take(0);
        self.network.set_read_timeout(Some(QUIET)).unwrap();
        self.network.recv(&mut [0; 2_048]).unwrap_err();
    }
}

#[tokio::test]
async fn packets_keep_their_order_while_the_way_out_changes_hands() {
    let mut world = World::new();
    for round in 0..6 {
        let until = Instant::now() + LIMIT;
        while !world.is_second() {
            assert!(Instant::now() < until, "round {round}: the second thread takes nothing over");
            world.send();
        }
        for _ in 0..300 {
            world.send();
        }
        let until = Instant::now() + LIMIT;
        while world.is_second() {
            assert!(Instant::now() < until, "round {round}: the second thread gives nothing back");
            world.rest();
            world.send();
            world.take(0);
        }
    }
}

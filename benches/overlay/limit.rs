//! The limit: the very device, cutting, batching and joining of the agent, with nothing between
//! them. Datagrams are as long as sealed ones, and carry their payload in clear.

use std::io::Read;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use raptor::mesh::plane::header::InnerProtocol;
use raptor::mesh::plane::receive::Verdict;
use raptor::mesh::plane::sender::Sender;
use raptor::mesh::socket::MeshSocket;
use raptor::mesh::tun::carrier::{Carrier, Seal};
use raptor::mesh::tun::device::Device;
use raptor::mesh::tun::pump::Pump;
use raptor::model::time::Moment;

/// Longest payload of the datagrams that the agent uses on a path of 1,500 bytes.
pub const PAYLOAD_MAX: usize = 1_452 - Sender::HEADROOM - Sender::TAILROOM;

/// Everything goes to the one other end, and everything from there is for us.
#[derive(Clone, Copy)]
struct Straight {
    other: Ipv6Addr,
    endpoint: SocketAddr,
}

impl Carrier for Straight {
    type Seal = Self;

    fn sender(&self, _: Moment, _: Ipv6Addr) -> Option<Self> {
        Some(*self)
    }

    fn receive<'a>(&self, _: Moment, _: SocketAddr, datagram: &'a mut [u8]) -> Verdict<'a> {
        let (front, behind) = (Sender::HEADROOM, Sender::TAILROOM);
        let end = datagram.len().saturating_sub(behind);
        let protocol = datagram.get(front - 1).and_then(|byte| InnerProtocol::from_byte(*byte));
        match (protocol, datagram.get_mut(front..end)) {
            (Some(protocol), Some(payload)) => {
                Verdict::Deliver { source: self.other, protocol, payload }
            }
            _ => Verdict::Drop,
        }
    }

    fn has_events(&self) -> bool {
        false
    }
}

impl Seal for Straight {
    const HEADROOM: usize = Sender::HEADROOM;
    const TAILROOM: usize = Sender::TAILROOM;

    fn endpoint(&self) -> SocketAddr {
        self.endpoint
    }

    fn payload_max(&self) -> usize {
        PAYLOAD_MAX
    }

    fn seal(&self, protocol: InnerProtocol, datagram: &mut [u8]) -> Option<()> {
        datagram[Sender::HEADROOM - 1] = protocol as u8;
        Some(())
    }
}

/// Runs one end until standard input closes: `OWN OTHER LISTEN ENDPOINT`.
pub fn run(arguments: &[String]) {
    let [own, other, listen, endpoint] = arguments else { panic!("{arguments:?}") };
    let own: Ipv6Addr = own.parse().unwrap();
    let other: Ipv6Addr = other.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let mut socket = MeshSocket::bind(Some(listen.parse().unwrap())).unwrap();
    let mut device = Device::create("limit0", own, PAYLOAD_MAX, 44).unwrap();
    device.set_members(&[(other, PAYLOAD_MAX)].into()).unwrap();
    let carrier = Straight { other, endpoint: endpoint.parse().unwrap() };
    let start = Instant::now();
    let clock = Arc::new(move || Moment::at(start.elapsed()));
    let data = socket.leave_receiving().unwrap();
    let pump = Pump::start(Arc::new(carrier), device.file(), data, own, clock).unwrap();
    println!("ready");
    let _closed = std::io::stdin().read(&mut [0]);
    drop(pump);
}

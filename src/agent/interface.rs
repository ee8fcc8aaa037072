//! The machine's network interface in the overlay: whether it is made, and what is known of it.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::agent::clock::Clock;
use crate::agent::error::chain;
use crate::mesh::core::SEND_LENGTH_MAX;
use crate::mesh::plane::sender::Sender;
use crate::mesh::plane::table::Plane;
use crate::mesh::socket::MeshSocket;
use crate::mesh::socket::data::SEND_BYTES_MAX;
use crate::mesh::socket::path;
use crate::mesh::tun::device::Device;
use crate::mesh::tun::icmp::MTU_MIN;
use crate::mesh::tun::pump::Arrival;
use crate::mesh::tun::pump::DeviceCounts;
use crate::mesh::tun::pump::Pump;

/// When the interface is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wish {
    /// Always; what stands in the way is a problem.
    On,
    /// Where it may be made.
    Auto,
    /// Never.
    #[default]
    Off,
    /// Never: the cluster runs on a network that has one.
    External,
}

/// What the configuration says about the interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InterfaceSettings {
    /// Its name.
    pub name: String,
    /// When it is made.
    pub wish: Wish,
}

/// The interface, or why there is none.
pub struct Interface {
    parts: Result<Parts, String>,
    /// Whether its absence is a problem.
    is_wanted: bool,
    /// What the kernel refused last.
    problem: Option<String>,
}

/// The pump before the device: the threads end before the device goes.
struct Parts {
    plane: Arc<Plane>,
    pump: Pump,
    device: Device,
}

/// Packets of `mtu` bytes that one send can carry once they are sealed.
fn segments(mtu: usize) -> usize {
    (SEND_BYTES_MAX / (Sender::HEADROOM + mtu + Sender::TAILROOM)).clamp(1, 64)
}

impl Interface {
    /// Makes it if it is wanted and may be made; then its threads take over receiving from
    /// `socket`.
    #[must_use]
    pub fn open(
        settings: &InterfaceSettings,
        is_local: bool,
        plane: Arc<Plane>,
        socket: &mut MeshSocket,
        clock: Clock,
    ) -> Self {
        let is_wanted = settings.wish == Wish::On;
        let parts = match settings.wish {
            Wish::Off => Err("switched off (mesh.interface.enabled)".to_owned()),
            Wish::External => Err("another network carries the cluster (mesh.engine)".to_owned()),
            Wish::Auto if is_local || is_on_loopback(socket) => {
                Err("this machine shares its computer (mesh.interface.enabled)".to_owned())
            }
            Wish::Auto | Wish::On => make(&settings.name, plane, socket, clock),
        };
        match &parts {
            Ok(_) => tracing::info!(interface = settings.name, "the network interface is up"),
            Err(why) => tracing::info!(why, "no network interface"),
        }
        Self { parts, is_wanted, problem: None }
    }

    /// Leads exactly `members` into the interface, and makes it as wide as the widest of their
    /// paths. `links` are the neighbours and where they are.
    pub fn set_members(
        &mut self,
        members: impl IntoIterator<Item = Ipv6Addr>,
        links: impl IntoIterator<Item = (Ipv6Addr, SocketAddr)>,
    ) {
        let Ok(parts) = &mut self.parts else { return };
        for (peer, endpoint) in links {
            // One that cannot be reached keeps what was known.
            if let Ok(datagram_max) = path::datagram_max(endpoint) {
                parts.plane.set_path(peer, datagram_max);
            }
        }
        let members: BTreeMap<Ipv6Addr, usize> =
            members.into_iter().map(|member| (member, parts.plane.payload_max(member))).collect();
        let mtu = members.values().copied().max().unwrap_or(SEND_LENGTH_MAX).max(MTU_MIN);
        let resized = parts.device.resize(mtu, segments(mtu));
        let set = resized.and_then(|()| parts.device.set_members(&members));
        self.problem = set.err().map(|error| format!("the network interface: {error}"));
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.parts.is_ok()
    }

    /// Waits for what the threads hand over; none when only the plane has events. For ever when
    /// there is no interface. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<Arrival> {
        match &mut self.parts {
            Ok(parts) => parts.pump.next().await,
            Err(_) => std::future::pending().await,
        }
    }

    /// What the threads have handed over already.
    pub fn try_next(&mut self) -> Option<Arrival> {
        self.parts.as_mut().ok()?.pump.try_next()
    }

    /// One line for people: what there is, or why there is none.
    #[must_use]
    pub fn summary(&self) -> String {
        match &self.parts {
            Ok(Parts { device, .. }) => format!("{}, MTU {}", device.name(), device.mtu()),
            Err(why) => format!("none: {why}"),
        }
    }

    /// Its name, when there is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.parts.as_ref().ok().map(|parts| parts.device.name())
    }

    /// What does not hold.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let missing = self.parts.as_ref().err().filter(|_| self.is_wanted);
        missing.map(|why| format!("no network interface: {why}")).or_else(|| self.problem.clone())
    }

    /// What went through it; none when there is none.
    #[must_use]
    pub fn counts(&self) -> Option<DeviceCounts> {
        self.parts.as_ref().ok().map(|parts| parts.pump.counts())
    }
}

/// Whether only this computer's own processes can be neighbours.
fn is_on_loopback(socket: &MeshSocket) -> bool {
    socket.local_address().is_ok_and(|address| address.ip().is_loopback())
}

fn make(
    name: &str,
    plane: Arc<Plane>,
    socket: &mut MeshSocket,
    clock: Clock,
) -> Result<Parts, String> {
    let own = plane.own();
    let mtu = SEND_LENGTH_MAX.max(MTU_MIN);
    let device = Device::create(name, own, mtu, segments(mtu)).map_err(|error| chain(&error))?;
    let failed = |error: std::io::Error| format!("its threads cannot start: {error}");
    let data = socket.leave_receiving().map_err(failed)?;
    let clock = Arc::new(move || clock.now());
    let pump = Pump::start(Arc::clone(&plane), device.file(), data, own, clock).map_err(failed)?;
    Ok(Parts { plane, pump, device })
}

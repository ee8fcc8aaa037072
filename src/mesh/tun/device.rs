//! The network device: made, given its address and routes, read and written.

use std::collections::BTreeMap;
use std::io;
use std::io::IoSlice;
use std::net::Ipv6Addr;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::fs::OFlags;

use crate::mesh::tun::icmp::MTU_MIN;
use crate::mesh::tun::kernel;
use crate::mesh::tun::netlink;
use crate::mesh::tun::netlink::Netlink;

/// Where the kernel hands out such devices.
const TUN_FILE: &str = "/dev/net/tun";

/// Pieces that wait for us in the kernel: some 30 MB when all are full, so that a sender's window
/// of a few megabytes never overflows it.
const QUEUE_LENGTH: u32 = 500;

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// This system has no such devices (a container without `/dev/net/tun`).
    #[error("this system has no {TUN_FILE}")]
    Absent,
    /// Neither root nor `CAP_NET_ADMIN`.
    #[error("this user may not make network devices (CAP_NET_ADMIN)")]
    Forbidden,
    /// Something else has an interface of that name.
    #[error("a network interface {name} exists already")]
    NameTaken {
        /// The configured name.
        name: String,
    },
    /// A step that the kernel refused.
    #[error("cannot {step} of network interface {name}")]
    Refused {
        /// The configured name.
        name: String,
        /// What was tried.
        step: &'static str,
        /// The operating system's word.
        #[source]
        source: io::Error,
    },
}

/// The device's reading and writing end. Cheap to clone; the device lasts as long as one is left.
#[derive(Debug, Clone)]
pub struct DeviceFile {
    file: Arc<OwnedFd>,
}

impl AsFd for DeviceFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl DeviceFile {
    /// What hands out and takes whole packets as a device does.
    #[cfg(test)]
    pub(super) fn of(file: OwnedFd) -> Self {
        Self { file: Arc::new(file) }
    }

    /// Reads one virtio header and packet. Does not wait.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; anything else means that the device is gone.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| rustix::io::read(&self.file, &mut *buffer))?)
    }

    /// Writes one virtio header and packet.
    ///
    /// # Errors
    /// The kernel's refusal of this packet.
    pub fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<()> {
        rustix::io::retry_on_intr(|| rustix::io::writev(&self.file, slices))?;
        Ok(())
    }
}

/// The device and what was set on it.
#[derive(Debug)]
pub struct Device {
    file: DeviceFile,
    name: String,
    index: u32,
    address: Ipv6Addr,
    netlink: Netlink,
    /// Where they lead, and the longest packet there where that is less than the device's.
    routes: BTreeMap<Ipv6Addr, Option<usize>>,
    mtu: usize,
    segments: usize,
}

impl Device {
    /// Makes device `name` with the machine's address, for packets of up to `mtu` bytes and pieces
    /// of at most `segments` of them.
    ///
    /// # Errors
    /// [`DeviceError`]; nothing is left behind then.
    pub fn create(
        name: &str,
        address: Ipv6Addr,
        mtu: usize,
        segments: usize,
    ) -> Result<Self, DeviceError> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::open(TUN_FILE, flags, Mode::empty())
            .map_err(|error| refusal(name, "open the file", error.into()))?;
        kernel::make_device(file.as_fd(), name)
            .map_err(|error| refusal(name, "have the making", error.into()))?;
        let refused = |step: &'static str| {
            move |source: io::Error| DeviceError::Refused { name: name.to_owned(), step, source }
        };
        kernel::set_offload(file.as_fd())
            .map_err(|error| refused("set the offloads")(error.into()))?;
        let mut netlink = Netlink::open().map_err(refused("open the configuration"))?;
        let index = interface_index(name).map_err(refused("find the index"))?;
        allow_ipv6(name);
        let (mtu_field, segments_field) = (as_u32(mtu), as_u32(segments));
        netlink
            .ask(netlink::prepare_link(index, mtu_field, segments_field, QUEUE_LENGTH))
            .map_err(refused("set the properties"))?;
        netlink.ask(netlink::add_address(index, address)).map_err(refused("set the address"))?;
        netlink.ask(netlink::raise_link(index)).map_err(refused("begin the use"))?;
        let file = DeviceFile { file: Arc::new(file) };
        let (name, routes) = (name.to_owned(), BTreeMap::new());
        Ok(Self { file, name, index, address, netlink, routes, mtu, segments })
    }

    /// Its reading and writing end.
    #[must_use]
    pub fn file(&self) -> DeviceFile {
        self.file.clone()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Longest packet that programs send through it.
    #[must_use]
    pub fn mtu(&self) -> usize {
        self.mtu
    }

    /// Leads exactly `members` into the device, each with the longest packet that its path takes.
    /// What the kernel refuses is told and tried again with the next call.
    ///
    /// # Errors
    /// The kernel's first refusal; the other routes are set all the same.
    pub fn set_members(&mut self, members: &BTreeMap<Ipv6Addr, usize>) -> io::Result<()> {
        let mut outcome = Ok(());
        let own = self.mtu;
        let wanted: BTreeMap<_, _> = members
            .iter()
            .map(|(member, mtu)| (*member, Some((*mtu).max(MTU_MIN)).filter(|mtu| *mtu < own)))
            .collect();
        let gone = self.routes.keys().filter(|known| !wanted.contains_key(known));
        for gone in gone.copied().collect::<Vec<_>>() {
            // One that is gone already is gone.
            let _ = self.netlink.ask(netlink::remove_route(self.index, gone));
            self.routes.remove(&gone);
        }
        for (member, mtu) in wanted {
            if self.routes.get(&member) == Some(&mtu) {
                continue;
            }
            let message = netlink::add_route(self.index, member, self.address, mtu.map(as_u32));
            match self.netlink.ask(message) {
                Ok(()) => drop(self.routes.insert(member, mtu)),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    /// Sets another size of packets and pieces, if it is another.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn resize(&mut self, mtu: usize, segments: usize) -> io::Result<()> {
        if (mtu, segments) == (self.mtu, self.segments) {
            return Ok(());
        }
        self.netlink.ask(netlink::resize_link(self.index, as_u32(mtu), as_u32(segments)))?;
        (self.mtu, self.segments) = (mtu, segments);
        Ok(())
    }
}

fn as_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn refusal(name: &str, step: &'static str, source: io::Error) -> DeviceError {
    use io::ErrorKind;

    match source.kind() {
        ErrorKind::NotFound => DeviceError::Absent,
        ErrorKind::PermissionDenied => DeviceError::Forbidden,
        ErrorKind::ResourceBusy | ErrorKind::AlreadyExists => {
            DeviceError::NameTaken { name: name.to_owned() }
        }
        _ => DeviceError::Refused { name: name.to_owned(), step, source },
    }
}

fn interface_index(name: &str) -> io::Result<u32> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    Ok(rustix::net::netdevice::name_to_index(&socket, name)?)
}

/// Containers often have IPv6 switched off for interfaces to come. Where that may not be changed
/// the address is refused, and the error says so.
fn allow_ipv6(name: &str) {
    let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "0");
}

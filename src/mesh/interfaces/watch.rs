//! Notices that the machine's network addresses may have changed: the kernel says so
//! (rtnetlink(7)), so that nothing has to be asked in vain.

use std::io;
use std::io::ErrorKind;

use tokio::net::UnixDatagram;

/// Told by the kernel whenever an interface or an address comes or goes. Where the kernel does
/// not tell, it never fires, and whoever looks at times by itself sees the change then.
#[derive(Debug)]
pub struct AddressWatch(Option<UnixDatagram>);

impl AddressWatch {
    /// Begins to listen. Needs a tokio runtime.
    #[must_use]
    pub fn open() -> Self {
        Self(open().ok())
    }

    /// Whether the kernel tells.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Waits for a change. Cancelling loses nothing.
    pub async fn changed(&self) {
        let Some(socket) = &self.0 else { return std::future::pending().await };
        loop {
            let Ok(()) = socket.readable().await else { return std::future::pending().await };
            match take(socket) {
                Ok(0) => return std::future::pending().await,
                Ok(_) => return,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // More happened than the kernel could hold: that is a change as well.
                Err(error) if error.raw_os_error() == Some(overrun()) => return,
                Err(_) => return std::future::pending().await,
            }
        }
    }
}

/// Takes one message. What it says does not matter: the addresses are listed anew.
fn take(socket: &UnixDatagram) -> io::Result<usize> {
    let mut buffer = [0u8; 4096];
    socket.try_recv(&mut buffer)
}

fn overrun() -> i32 {
    rustix::io::Errno::NOBUFS.raw_os_error()
}

#[cfg(target_os = "linux")]
fn open() -> io::Result<UnixDatagram> {
    use rustix::net::AddressFamily;
    use rustix::net::SocketFlags;
    use rustix::net::SocketType;
    use rustix::net::netlink::SocketAddrNetlink;

    /// Links, IPv4 addresses and IPv6 addresses: rtnetlink(7).
    const GROUPS: u32 = 0x1 | 0x10 | 0x100;

    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // No protocol is NETLINK_ROUTE, whose number is 0.
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    // A datagram socket like any other to recv(2), which is all that is done with it.
    UnixDatagram::from_std(std::os::unix::net::UnixDatagram::from(socket))
}

#[cfg(not(target_os = "linux"))]
fn open() -> io::Result<UnixDatagram> {
    Err(io::ErrorKind::Unsupported.into())
}

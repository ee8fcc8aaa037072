//! The mesh's one unsafe module: system calls that no safe wrapper knows, of a TUN device (the
//! kernel's `include/uapi/linux/if_tun.h`) and of a socket (`ipv6(7)`).
#![allow(unsafe_code)]

use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::ioctl;
use rustix::ioctl::Opcode;

/// `TUNSETIFF`: makes the device a descriptor stands for. Takes a `struct ifreq`.
const SET_INTERFACE: Opcode = 0x4004_54ca;
/// `TUNSETOFFLOAD`: what may be left to us. Takes the flags themselves.
const SET_OFFLOAD: Opcode = 0x4004_54d0;

/// `IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL`: IP packets behind a virtio header, and a
/// device that did not exist before.
const FLAGS: u16 = 0x0001 | 0x1000 | 0x4000 | 0x8000;

/// `TUN_F_CSUM | TUN_F_TSO6 | TUN_F_TSO_ECN`.
const OFFLOAD_TCP: usize = 0x01 | 0x04 | 0x08;
/// `TUN_F_USO4 | TUN_F_USO6`, which the kernel takes together only.
const OFFLOAD_UDP: usize = 0x20 | 0x40;

/// Longest name of an interface, with the zero byte at its end.
const NAME_LENGTH: usize = 16;

/// `struct ifreq` as far as `TUNSETIFF` looks; the rest is room for the union's longest member.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME_LENGTH],
    flags: u16,
    rest: [u8; 22],
}

/// Makes `tun`, just opened, the device `name`. It lasts as long as its descriptors.
///
/// # Errors
/// `EPERM` without the right, `EBUSY` when the name is taken, `EINVAL` for an impossible name.
pub(super) fn make_device(tun: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    let mut request = InterfaceRequest { name: [0; NAME_LENGTH], flags: FLAGS, rest: [0; 22] };
    if name.is_empty() || name.len() >= NAME_LENGTH {
        return Err(Errno::INVAL);
    }
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: `TUNSETIFF` reads one `struct ifreq` (40 bytes) from the pointer and writes the name
    // back into it; `InterfaceRequest` has that size and layout and outlives the call.
    unsafe { ioctl::ioctl(tun, ioctl::Updater::<SET_INTERFACE, _>::new(&mut request)) }
}

/// Tells the kernel to leave segmentation and checksums to us; whether that holds for UDP too.
///
/// # Errors
/// The kernel's, when it cannot even for TCP.
pub(super) fn set_offload(tun: BorrowedFd<'_>) -> Result<bool, Errno> {
    match leave(tun, OFFLOAD_TCP | OFFLOAD_UDP) {
        // Linux before 6.2 does not know segmentation of UDP here.
        Err(Errno::INVAL) => leave(tun, OFFLOAD_TCP).map(|()| false),
        set => set.map(|()| true),
    }
}

fn leave(tun: BorrowedFd<'_>, flags: usize) -> Result<(), Errno> {
    // SAFETY: `TUNSETOFFLOAD` takes an integer in place of a pointer and touches no memory of ours.
    unsafe { ioctl::ioctl(tun, ioctl::IntegerSetter::<SET_OFFLOAD>::new_usize(flags)) }
}

/// Lets the kernel cut a datagram of `socket` into fragments where it fits its path in no other
/// way, over IPv6. Over IPv4 `IP_MTU_DISCOVER` alone decides.
pub(in crate::mesh) fn allow_fragments(socket: BorrowedFd<'_>) {
    let off: libc::c_int = 0;
    let length = libc::socklen_t::try_from(size_of_val(&off)).unwrap_or_default();
    // SAFETY: the option takes one `int`; the pointer is to one that outlives the call, and its size
    // is given. The kernel only reads it. A refusal (an IPv4 socket) leaves everything as it was.
    let _refused = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_DONTFRAG,
            (&raw const off).cast(),
            length,
        )
    };
}

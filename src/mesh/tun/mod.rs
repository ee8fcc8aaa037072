//! The network interface: a TUN device through which any program of the machine reaches any
//! member, and the two threads that move its packets.
//!
//! What makes it fast: the kernel hands out and takes packets in pieces of up to 64 KiB (virtio
//! header, [`virtio`]), on both sides datagrams travel in batches, checksums are never made, and a
//! payload is copied once on its way out and not at all on its way in. [`cut`] and [`coalesce`] are
//! pure; [`kernel`] is the mesh's one unsafe module.

pub mod carrier;
pub mod coalesce;
pub mod cut;
pub mod device;
pub mod icmp;
pub mod packet;
pub mod pump;
pub mod virtio;

mod bell;
mod crew;
mod inward;
pub(super) mod kernel;
mod netlink;
mod outward;

#[cfg(test)]
mod tests;

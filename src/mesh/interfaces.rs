//! This machine's own addresses: where others could dial it.

pub mod watch;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::mesh::socket::without_mapping;

/// The operating system did not tell its addresses.
#[derive(Debug, thiserror::Error)]
#[error("this machine's network addresses cannot be listed")]
pub struct InterfacesError {
    #[source]
    source: io::Error,
}

/// UDP addresses at which others could dial a socket bound to `bound`, in a fixed order.
///
/// # Errors
/// [`InterfacesError`] when the operating system refuses the list.
pub fn local_endpoints(bound: SocketAddr) -> Result<Vec<SocketAddr>, InterfacesError> {
    let interfaces = if_addrs::get_if_addrs().map_err(|source| InterfacesError { source })?;
    let addresses: Vec<IpAddr> =
        interfaces.iter().filter(|one| one.is_oper_up()).map(if_addrs::Interface::ip).collect();
    Ok(dialable(&addresses, bound))
}

/// Which of a machine's `addresses` others could dial when its socket is bound to `bound`.
///
/// A socket bound to one address is reached there and nowhere else, be it loopback. One bound to
/// all addresses is reached at every address of its family (IPv6 serves IPv4 too) except those
/// that mean something else on another machine: loopback, link-local, and the mesh's `fc00::/8`,
/// through which links would run inside themselves.
#[must_use]
pub fn dialable(addresses: &[IpAddr], bound: SocketAddr) -> Vec<SocketAddr> {
    let bound = without_mapping(bound);
    if !bound.ip().is_unspecified() {
        return vec![bound];
    }
    let unique: BTreeSet<IpAddr> = addresses
        .iter()
        .map(IpAddr::to_canonical)
        .filter(|address| means_one_machine(address) && (bound.is_ipv6() || address.is_ipv4()))
        .collect();
    unique.into_iter().map(|address| SocketAddr::new(address, bound.port())).collect()
}

/// The address of this machine in an existing network: the first that the interface of that name
/// has, or that lies in that range (`200::/7`).
///
/// # Errors
/// When the operating system refuses the list.
pub fn address_in(network: &str) -> io::Result<Option<IpAddr>> {
    let range = parse_range(network);
    let mut found: Vec<IpAddr> = if_addrs::get_if_addrs()?
        .into_iter()
        .filter(|one| match range {
            Some(range) => is_within(one.ip(), range),
            None => one.name == network,
        })
        .map(|one| one.ip())
        .filter(|address| match address {
            IpAddr::V4(address) => !address.is_link_local(),
            IpAddr::V6(address) => !address.is_unicast_link_local(),
        })
        .collect();
    found.sort();
    Ok(found.first().copied())
}

/// A range of addresses, `ADDRESS/LENGTH`.
#[must_use]
pub fn parse_range(text: &str) -> Option<(IpAddr, u32)> {
    let (address, length) = text.split_once('/')?;
    let (address, length): (IpAddr, u32) = (address.parse().ok()?, length.parse().ok()?);
    let longest = if address.is_ipv4() { 32 } else { 128 };
    (length <= longest).then_some((address, length))
}

fn is_within(address: IpAddr, (base, length): (IpAddr, u32)) -> bool {
    let (one, other, bits) = match (address, base) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            (u128::from(one.to_bits()), u128::from(other.to_bits()), 32)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits(), other.to_bits(), 128),
        _ => return false,
    };
    (one ^ other).checked_shr(bits - length).unwrap_or_default() == 0
}

/// Whether `endpoint` can mean this machine to others, wherever they are.
#[must_use]
pub fn is_dialable(endpoint: &SocketAddr) -> bool {
    endpoint.port() != 0 && means_one_machine(&endpoint.ip().to_canonical())
}

fn means_one_machine(address: &IpAddr) -> bool {
    if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
        return false;
    }
    match address {
        IpAddr::V4(address) => !address.is_link_local() && !address.is_broadcast(),
        IpAddr::V6(address) => {
            !address.is_unicast_link_local() && address.octets()[0] != MESH_PREFIX
        }
    }
}

/// First byte of every mesh address (`NodeId::address`).
const MESH_PREFIX: u8 = 0xfc;

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<IpAddr> {
        [
            "127.0.0.1",
            "::1",
            "192.0.2.7",
            "169.254.3.4",
            "10.0.0.9",
            "10.0.0.9",
            "fe80::1",
            "fc12::1",
            "fd12::1",
            "2001:db8::5",
            "0.0.0.0",
            "224.0.0.1",
        ]
        .map(|text| text.parse().unwrap())
        .to_vec()
    }

    fn dialable_texts(bound: &str) -> Vec<String> {
        dialable(&all(), bound.parse().unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_socket_on_all_addresses_is_reached_at_those_others_can_use() {
        assert_eq!(
            dialable_texts("[::]:4863"),
            ["10.0.0.9:4863", "192.0.2.7:4863", "[2001:db8::5]:4863", "[fd12::1]:4863"]
        );
    }

    #[test]
    fn a_socket_on_ipv4_has_no_ipv6_endpoints() {
        assert_eq!(dialable_texts("0.0.0.0:9"), ["10.0.0.9:9", "192.0.2.7:9"]);
    }

    #[test]
    fn a_socket_on_one_address_is_reached_there_only() {
        assert_eq!(dialable_texts("127.0.0.1:9"), ["127.0.0.1:9"]);
        assert_eq!(dialable_texts("[::1]:9"), ["[::1]:9"]);
        assert_eq!(dialable_texts("[::ffff:192.0.2.7]:9"), ["192.0.2.7:9"]);
    }

    #[test]
    fn ranges_hold_their_own_addresses() {
        let within = |range: &str, address: &str| {
            is_within(address.parse().unwrap(), parse_range(range).unwrap())
        };
        assert!(within("200::/7", "201:abcd::1") && !within("200::/7", "400::1"));
        assert!(within("10.1.0.0/16", "10.1.255.7") && !within("10.1.0.0/16", "10.2.0.1"));
        assert!(within("0.0.0.0/0", "9.9.9.9") && !within("0.0.0.0/0", "::1"));
        assert!(within("10.0.0.1/32", "10.0.0.1") && !within("10.0.0.1/32", "10.0.0.2"));
        for text in ["ygg0", "200::", "200::/129", "10.0.0.0/33", "/7", "x/7"] {
            assert_eq!(parse_range(text), None, "{text}");
        }
        assert_eq!(address_in("lo").unwrap(), Some("127.0.0.1".parse().unwrap()));
        assert_eq!(address_in("127.0.0.0/8").unwrap(), Some("127.0.0.1".parse().unwrap()));
        assert_eq!(address_in("no-such-one").unwrap(), None);
    }

    #[test]
    fn the_operating_system_tells_its_addresses() {
        let endpoints = local_endpoints("[::]:4863".parse().unwrap()).unwrap();
        assert!(endpoints.iter().all(|one| is_dialable(one) && one.port() == 4863));
    }
}

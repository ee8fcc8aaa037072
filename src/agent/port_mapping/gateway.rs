//! The router before this machine: where the kernel sends what leads nowhere else (IPv4).

use std::fs;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::UdpSocket;

/// The kernel's routes of IPv4 (`proc_net(5)`).
const TABLE: &str = "/proc/net/route";

/// Flags of a route that is in use, and that leads through a router (`linux/route.h`).
const IN_USE: u32 = 0x1;
const THROUGH_ROUTER: u32 = 0x2;

/// A router, and this machine as it sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) router: Ipv4Addr,
    pub(super) client: Ipv4Addr,
}

impl Way {
    /// The way out of this machine; none when it has none of IPv4.
    pub(super) fn find() -> Option<Self> {
        let router = router_in(&fs::read_to_string(TABLE).ok()?)?;
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        // Sends nothing: the kernel only chooses the address it would be sent from.
        socket.connect((router, crab_nat::GATEWAY_PORT)).ok()?;
        match socket.local_addr().ok()?.ip() {
            IpAddr::V4(client) => Some(Self { router, client }),
            IpAddr::V6(_) => None,
        }
    }
}

/// The router of the default route that the kernel prefers.
fn router_in(table: &str) -> Option<Ipv4Addr> {
    let routes = table.lines().skip(1).filter_map(default_route);
    routes.min_by_key(|(metric, _)| *metric).map(|(_, router)| router)
}

/// Metric and router of a line that is a default route. Its columns: interface, destination,
/// router, flags, two counts, metric, mask; addresses are hexadecimal in the processor's byte order.
fn default_route(line: &str) -> Option<(u32, Ipv4Addr)> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let number = |column: usize| u32::from_str_radix(columns.get(column)?, 16).ok();
    let (destination, router, flags, mask) = (number(1)?, number(2)?, number(3)?, number(7)?);
    let metric = columns.get(6)?.parse().ok()?;
    let leads = flags & (IN_USE | THROUGH_ROUTER) == IN_USE | THROUGH_ROUTER;
    (destination == 0 && mask == 0 && leads).then(|| (metric, router.to_ne_bytes().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_default_route_names_the_router() {
        let hex = |address: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(address));
        let line = |device: &str, to: [u8; 4], router: [u8; 4], flags: &str, metric: u32, mask| {
            let (to, router, mask) = (hex(to), hex(router), hex(mask));
            format!("{device}\t{to}\t{router}\t{flags}\t0\t0\t{metric}\t{mask}\t0\t0\t0\n")
        };
        let (all, home) = ([0; 4], [192, 168, 1, 0]);
        let head =
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n".to_owned();
        let near = line("eth0", home, all, "0001", 0, [255, 255, 255, 0]);
        let slow = line("wlan0", all, [10, 0, 0, 1], "0003", 600, all);
        let fast = line("eth0", all, [192, 168, 1, 1], "0003", 100, all);
        let direct = line("ppp0", all, all, "0001", 0, all);
        let half = line("tun0", all, [10, 9, 0, 1], "0003", 0, [128, 0, 0, 0]);
        let table = [&head, &near, &slow, &fast, &direct, &half].map(String::as_str).concat();
        assert_eq!(router_in(&table), Some([192, 168, 1, 1].into()));
        assert_eq!(router_in(&(head + &near + &direct)), None);
        for garbage in ["", "x", "x\ny z", "a\n0\t0\t0\t0\t0\t0\t0\t0"] {
            assert_eq!(router_in(garbage), None, "{garbage}");
        }
    }
}

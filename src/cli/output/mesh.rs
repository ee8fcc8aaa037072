//! Links and routes for people.

use std::fmt::Write as _;

use crate::agent::mesh_view::LinkView;
use crate::agent::mesh_view::MeshView;
use crate::agent::mesh_view::RouteView;
use crate::cli::output::duration;
use crate::cli::output::table::Table;
use crate::cli::output::table::printable;
use crate::model::reach::Reach;
use crate::model::time::Timestamp;

/// The view as text.
#[must_use]
pub fn text(view: &MeshView, wide: bool, now: Timestamp) -> String {
    let mut text = String::new();
    let endpoints: Vec<String> = view.endpoints.iter().map(ToString::to_string).collect();
    let _ = writeln!(text, "{} ({}) at {}", view.node, view.address, endpoints.join(", "));
    if let Some(nat) = &view.nat {
        let _ = writeln!(text, "address translation: {}", printable(nat));
    }
    match (view.reach, &view.parent) {
        (Reach::Full, _) => {}
        (reach, None) => drop(writeln!(text, "reach: {reach}")),
        (reach, Some(parent)) => drop(writeln!(text, "reach: {reach}, through {parent}")),
    }
    text.push('\n');
    if view.links.is_empty() {
        text.push_str("no links to other members\n");
    } else {
        text.push_str(&links(&view.links, wide, now));
    }
    if !view.routes.is_empty() {
        text.push('\n');
        text.push_str(&routes(&view.routes, wide));
    }
    text
}

fn links(links: &[LinkView], wide: bool, now: Timestamp) -> String {
    let narrow = ["Link", "Endpoint", "RTT", "Loss", "Sent", "Received", "Up"];
    let rest: &[&str] = if wide { &["Packets", "Wanted"] } else { &[] };
    let mut table = Table::new(narrow.iter().chain(rest).copied());
    for link in links {
        let mut cells = vec![
            link.node.to_string(),
            link.endpoint.to_string(),
            millis(link.rtt_ms),
            link.loss.map(|loss| format!("{:.1} %", loss * 100.0)).unwrap_or_default(),
            bytes(link.bytes_sent),
            bytes(link.bytes_received),
            duration::show(now.since(link.since)),
        ];
        if wide {
            cells.push(format!("{}/{}", link.packets_sent, link.packets_received));
            cells.push(if link.wanted { "yes" } else { "no" }.to_owned());
        }
        table.push(cells);
    }
    table.render()
}

fn routes(routes: &[RouteView], wide: bool) -> String {
    let narrow = ["Node", "Via", "Hops", "RTT"];
    let rest: &[&str] = if wide { &["Cost", "NAT", "Reach", "Address", "Why"] } else { &["Why"] };
    let mut table = Table::new(narrow.iter().chain(rest).copied());
    for route in routes {
        let mut cells = vec![
            route.node.to_string(),
            route.via.as_ref().map(ToString::to_string).unwrap_or_default(),
            route.hops.map(|hops| hops.to_string()).unwrap_or_default(),
            millis(route.rtt_ms),
        ];
        if wide {
            cells.extend([millis(route.cost_ms), route.nat.to_string()]);
            cells.extend([route.reach.to_string(), route.address.to_string()]);
        }
        cells.push(route.reason.clone());
        table.push(cells);
    }
    table.render()
}

/// Milliseconds; empty when there are none.
#[must_use]
pub fn millis(millis: Option<f64>) -> String {
    millis.map(|millis| format!("{millis:.2} ms")).unwrap_or_default()
}

/// A number of bytes in the unit in which it is short.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, size)| bytes >= *size) {
        None => format!("{bytes} B"),
        Some((unit, size)) => {
            let (whole, tenths) = (bytes / size, bytes % size * 10 / size);
            format!("{whole}.{tenths} {unit}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_short() {
        for (count, shown) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_536, "1.5 KiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(bytes(count), shown);
        }
    }
}

//! How much later a packet arrives than over the bare wire, while nothing else happens.

use std::time::Duration;

use crate::support::Samples;
use crate::world::shell_in;

/// Pings of one measurement, and milliseconds between them.
const PINGS: u32 = 400;
const PAUSE: &str = "0.01";

/// Round trips from `a`.
fn round_trips(address: &str) -> Samples {
    let line = format!(
        "ping -q -c 20 -i {PAUSE} {address} >/dev/null; ping -c {PINGS} -i {PAUSE} {address}"
    );
    let text = shell_in("a", &line);
    let times = text.lines().filter_map(|line| {
        let (_, time) = line.split_once("time=")?;
        let millis: f64 = time.split(' ').next()?.parse().ok()?;
        Some(Duration::from_secs_f64(millis / 1_000.0))
    });
    Samples::from(times.collect::<Vec<_>>())
}

/// Added latency a hop: half of what the round trip over `hops` hops takes beyond the wires', by
/// hop. The median and the 99th percentile, each against the wire's median.
pub fn added(wire: &str, address: &str, hops: u32) -> (Duration, Duration) {
    let wire = round_trips(wire).median() * hops;
    let over = round_trips(address);
    let part = |time: Duration| time.saturating_sub(wire) / (2 * hops);
    (part(over.median()), part(over.quantile(0.99)))
}

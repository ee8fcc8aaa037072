//! The table: what was measured, and what was asked.

use std::time::Duration;

use crate::peers::Peer;
use crate::stream::Target;
use crate::support::verdict;

fn rate(targets: &[Target], name: &str) -> f64 {
    let found = targets.iter().find(|target| target.name == name);
    found.map_or(0.0, Target::median)
}

/// What raptor's targets are called.
pub const LIMIT: &str = "limit: same packets in clear";
pub const AES: &str = "raptor, AES-256-GCM";
pub const CHACHA: &str = "raptor, ChaCha20-Poly1305";
pub const AES_TWO_HOPS: &str = "raptor, AES-256-GCM, two hops";

/// Prints all of it.
pub fn print(targets: &[Target], peers: &[Peer], latencies: &[(&str, u32, (Duration, Duration))]) {
    println!("one TCP stream, median of {} runs", targets[0].rates.len());
    for target in targets {
        let all: Vec<String> = target.rates.iter().map(|rate| format!("{rate:.2}")).collect();
        println!("  {:<34} {:6.2} Gbit/s   ({})", target.name, target.median(), all.join(" "));
    }
    let ask = |name: &str, got: f64, asked: f64| {
        println!("  {name:<50} {got:5.2}   {}", verdict(got >= asked, &format!(">= {asked}")));
    };
    let (aes, chacha) = (rate(targets, AES), rate(targets, CHACHA));
    let best = peers.iter().map(|peer| rate(targets, peer.name)).fold(0.0, f64::max);
    println!("ratios");
    if best > 0.0 {
        ask("AES-256-GCM to the best peer", aes / best, 1.5);
        ask("ChaCha20-Poly1305 to the best peer", chacha / best, 1.0);
    }
    ask("AES-256-GCM to the limit", aes / rate(targets, LIMIT), 0.75);
    ask("two hops to one", rate(targets, AES_TWO_HOPS) / aes, 0.6);
    let yggdrasil = rate(targets, "yggdrasil, two hops");
    if yggdrasil > 0.0 {
        ask("two hops to yggdrasil's two", rate(targets, AES_TWO_HOPS) / yggdrasil, 1.0);
    }
    println!("added latency a hop, idle");
    for (name, hops, (median, p99)) in latencies {
        let (asked, asked_p99) = (Duration::from_micros(60), Duration::from_micros(200));
        println!(
            "  {name:<28} {hops} hop(s)   median {median:?}   {}   p99 {p99:?}   {}",
            verdict(*median < asked, "60 us"),
            verdict(*p99 < asked_p99, "200 us")
        );
    }
}

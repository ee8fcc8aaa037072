//! One TCP stream from `a`, as iperf3 sees it arrive.

use serde_json::Value;

use crate::world::shell_in;

/// Seconds of one measurement, and of its beginning that does not count.
const SECONDS: u32 = 3;
const OMITTED: u32 = 1;

/// Where a stream goes, and what came of it.
pub struct Target {
    /// What carries it.
    pub name: String,
    /// Where it goes.
    pub address: String,
    /// Gbit/s of each run.
    pub rates: Vec<f64>,
}

impl Target {
    /// Nothing measured.
    pub fn new(name: &str, address: &str) -> Self {
        Self { name: name.to_owned(), address: address.to_owned(), rates: Vec::new() }
    }

    /// The middle of the runs.
    pub fn median(&self) -> f64 {
        let mut rates = self.rates.clone();
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    }
}

/// Measures all, `runs` times, one after the other in each run.
pub fn measure(targets: &mut [Target], runs: usize) {
    for _ in 0..runs {
        for target in &mut *targets {
            let line = format!("iperf3 -J -c {} -t {SECONDS} -O {OMITTED}", target.address);
            let report: Value = serde_json::from_str(&shell_in("a", &line)).unwrap();
            let rate = report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap();
            target.rates.push(rate / 1e9);
        }
    }
}

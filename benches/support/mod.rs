//! What the measurements share: samples, floors measured in the same run, and one way to print.
#![allow(dead_code, reason = "each measurement is a program of its own and uses a part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement ends where it cannot go on")]

pub mod api;
pub mod hosts;
pub mod process;
pub mod user;

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

/// The binary that is measured: the one built beside this program, unless `RAPTOR_BINARY` names
/// another, such as the one in `dist/`.
pub static RAPTOR: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::var_os("RAPTOR_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_raptor").into()).into()
});

/// How long between two looks at the state of a cluster; every figure is this coarse.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Times of one thing, done several times.
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Does `work` `count` times and keeps what each says it took.
    pub fn of(count: usize, mut work: impl FnMut() -> Duration) -> Self {
        Self::from((0..count).map(|_| work()).collect::<Vec<_>>())
    }

    /// The value that `share` (0 to 1) of the samples do not exceed (nearest rank).
    pub fn quantile(&self, share: f64) -> Duration {
        let last = self.0.len() - 1;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small index"
        )]
        #[expect(clippy::cast_precision_loss, reason = "a small count")]
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0[rank.saturating_sub(1).min(last)]
    }

    /// The middle one.
    pub fn median(&self) -> Duration {
        self.quantile(0.5)
    }
}

impl From<Vec<Duration>> for Samples {
    fn from(mut times: Vec<Duration>) -> Self {
        assert!(!times.is_empty(), "nothing was measured");
        times.sort();
        Self(times)
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "median {:>9.1?}   p95 {:>9.1?}   p99 {:>9.1?}   n {}",
            self.median(),
            self.quantile(0.95),
            self.quantile(0.99),
            self.0.len()
        )
    }
}

/// Prints one figure.
pub fn print(name: &str, samples: &Samples) {
    println!("{name:<36} {samples}");
}

/// Prints a figure, its floor, their ratio and whether the aim is met.
pub fn print_beside(name: &str, samples: &Samples, floor: (&str, &Samples), aim: Aim) {
    print(name, samples);
    print(&format!("  floor: {}", floor.0), floor.1);
    let ratio = samples.median().as_secs_f64() / floor.1.median().as_secs_f64();
    let met = match aim {
        Aim::Median(limit) => verdict(samples.median() <= limit, &format!("median {limit:?}")),
        Aim::P99(limit) => verdict(samples.quantile(0.99) <= limit, &format!("p99 {limit:?}")),
        Aim::Ratio(limit) => verdict(ratio <= limit, &format!("{limit} x floor")),
    };
    println!("{:<36} {ratio:.2} x floor   {met}", "");
}

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub enum Aim {
    /// A median of at most this.
    Median(Duration),
    /// Ninety-nine in a hundred of at most this.
    P99(Duration),
    /// At most this many times the floor's median.
    Ratio(f64),
}

/// `aim ...: met` or `aim ...: MISSED`.
pub fn verdict(met: bool, aim: &str) -> String {
    format!("aim {aim}: {}", if met { "met" } else { "MISSED" })
}

/// Whether the user asked for `option` behind `cargo bench --bench NAME --`.
pub fn is_asked(option: &str) -> bool {
    std::env::args().any(|argument| argument == option)
}

/// How long `work` takes.
pub fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Runs a command to its end; anything but success ends the measurement.
pub fn run(command: &mut Command) -> Output {
    let output =
        command.stdin(Stdio::null()).output().unwrap_or_else(|why| panic!("{command:?}: {why}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Looks every 10 ms until `look` holds; gives the time it took.
pub fn until(limit: Duration, what: &str, mut look: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !look() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        thread::sleep(POLL_INTERVAL);
    }
    start.elapsed()
}

/// Runs `work` once for each of `items`, all at the same time.
pub fn in_parallel<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    thread::scope(|scope| {
        for item in items {
            scope.spawn(|| work(item));
        }
    });
}

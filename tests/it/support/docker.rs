//! The docker command line, and networks made by a test.

use std::fmt::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// The label that every container and network of a test run carries; its value is the run.
pub const LABEL: &str = "raptor.test.run";

/// Which run of `./runtests.sh` this is: it clears away what a killed test left.
pub fn run_name() -> String {
    std::env::var("RAPTOR_TEST_RUN").unwrap_or_else(|_| format!("pid-{}", std::process::id()))
}

/// The image of the tests' hosts.
///
/// # Panics
/// When `./runtests.sh` did not say which.
pub fn image() -> String {
    std::env::var("RAPTOR_TEST_IMAGE").unwrap_or_else(|_| {
        panic!("RAPTOR_TEST_IMAGE is not set: run ./runtests.sh, which starts Docker and builds it")
    })
}

/// Runs `docker`; its standard output without the last line break.
///
/// # Errors
/// What it said on standard error.
pub fn try_docker(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("docker")
        .args(arguments)
        .output()
        .map_err(|why| format!("docker: {why}: run ./runtests.sh, which installs and starts it"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    } else {
        let mut told = String::from_utf8_lossy(&output.stderr).into_owned();
        if told.contains("Cannot connect to the Docker daemon") {
            write!(told, "run ./runtests.sh, which starts one").unwrap();
        }
        Err(told)
    }
}

/// As [`try_docker`].
///
/// # Panics
/// When it fails.
#[track_caller]
pub fn docker(arguments: &[&str]) -> String {
    try_docker(arguments)
        .unwrap_or_else(|why| panic!("docker {}: {}", arguments.join(" "), why.trim_end()))
}

/// A bridge of the test's own. Dropped, it is removed by its id.
pub struct Network {
    /// Docker's id.
    pub id: String,
    /// The first three bytes of its addresses.
    prefix: [u8; 3],
}

/// Subnets differ between the tests of one process by this count, between processes by their id.
static NEXT_SUBNET: AtomicU32 = AtomicU32::new(0);

impl Network {
    /// Makes one with a /24 that no other network has.
    pub fn create() -> Self {
        Self::create_with(|_| Vec::new())
    }

    /// As [`Self::create`], with IPv6 addresses besides.
    pub fn create_ipv6() -> Self {
        Self::create_with(|[_, b, c]| {
            let subnet = format!("fd99:{b:x}:{c:x}::/64");
            vec!["--ipv6".to_owned(), "--subnet".to_owned(), subnet]
        })
    }

    fn create_with(extra: impl Fn([u8; 3]) -> Vec<String>) -> Self {
        let label = format!("{LABEL}={}", run_name());
        for _ in 0..200 {
            let number = std::process::id()
                .wrapping_mul(61)
                .wrapping_add(NEXT_SUBNET.fetch_add(1, Ordering::Relaxed));
            let prefix = [
                10,
                201 + u8::try_from(number / 251 % 50).unwrap(),
                u8::try_from(number % 251).unwrap(),
            ];
            let [a, b, c] = prefix;
            let subnet = format!("{a}.{b}.{c}.0/24");
            let name = format!("raptor-test-{}-{number}", std::process::id());
            let extra = extra(prefix);
            let mut arguments = vec!["network", "create", "--subnet", &subnet, "--label", &label];
            arguments.extend(extra.iter().map(String::as_str));
            arguments.push(&name);
            match try_docker(&arguments) {
                Ok(id) => return Self { id, prefix },
                Err(why) if why.contains("overlaps") || why.contains("already exists") => {}
                Err(why) => panic!("docker network create --subnet {subnet}: {why}"),
            }
        }
        panic!("no free subnet in 10.201.0.0 to 10.250.0.0");
    }

    /// The address that ends in `host` (2 to 254).
    pub fn address(&self, host: u8) -> String {
        let [a, b, c] = self.prefix;
        format!("{a}.{b}.{c}.{host}")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // A container that is still on it would hold it: taken off, and removed by its own owner.
        let inside = "{{range $id, $_ := .Containers}}{{$id}} {{end}}";
        let attached = try_docker(&["network", "inspect", "-f", inside, &self.id]);
        for id in attached.unwrap_or_default().split_whitespace() {
            let _gone_meanwhile = try_docker(&["network", "disconnect", "-f", &self.id, id]);
        }
        let removed = try_docker(&["network", "rm", &self.id]);
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}

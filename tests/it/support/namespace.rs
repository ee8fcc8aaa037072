//! Networks of their own for processes on one computer: two namespaces and the cable between them.
//! Needs root, or a kernel that lets users make namespaces.

use std::time::Duration;

use super::run::{Invocation, Running};
use super::sandbox::Sandbox;
use super::wait::wait_until;

/// A network namespace, held by a process that does nothing else.
pub struct Namespace {
    holder: Running,
    /// Its address on the cable.
    pub address: &'static str,
}

/// Two namespaces with a cable between them.
pub struct Pair {
    pub left: Namespace,
    pub right: Namespace,
}

/// `setns` into the user namespace as well, where there is one of our own.
const ENTER: [&str; 2] = ["--preserve-credentials", "-n"];

impl Pair {
    /// Makes them.
    ///
    /// # Panics
    /// When the kernel does not allow it.
    pub fn new(sandbox: &Sandbox) -> Self {
        let is_root = rustix::process::geteuid().is_root();
        let hold = ["sh", "-c", "ip link set lo up && echo ready && exec tail -f /dev/null"];
        let first = if is_root { vec!["-n"] } else { vec!["-r", "-n"] };
        let left = sandbox.program("unshare").args(first).args(hold).start();
        let left = Namespace { holder: ready(left), address: "10.99.0.1" };
        // Within the first one's user namespace, so that one `ip` reaches both.
        let right = left.enter(sandbox, "unshare").arg("-n").args(hold).start();
        let right = Namespace { holder: ready(right), address: "10.99.0.2" };
        let other = right.pid();
        left.ip(sandbox, &format!("link add cable type veth peer name cable netns {other}"));
        for end in [&left, &right] {
            end.ip(sandbox, &format!("address add {}/24 dev cable", end.address));
            end.ip(sandbox, "link set cable up");
        }
        Self { left, right }
    }

    /// Cuts the cable.
    pub fn cut(&self, sandbox: &Sandbox) {
        self.left.ip(sandbox, "link set cable down");
    }

    /// Mends the cable.
    pub fn mend(&self, sandbox: &Sandbox) {
        self.left.ip(sandbox, "link set cable up");
    }
}

impl Namespace {
    fn pid(&self) -> String {
        self.holder.pid().to_string()
    }

    /// `program`, run inside.
    pub fn enter(&self, sandbox: &Sandbox, program: &str) -> Invocation {
        let user = if rustix::process::geteuid().is_root() { vec![] } else { vec!["-U"] };
        sandbox
            .program("nsenter")
            .args(["-t", &self.pid()])
            .args(user)
            .args(ENTER)
            .args(["--", program])
    }

    fn ip(&self, sandbox: &Sandbox, words: &str) {
        self.enter(sandbox, "ip").args(words.split(' ')).success();
    }
}

fn ready(mut holder: Running) -> Running {
    wait_until(Duration::from_secs(10), "a network namespace", || {
        assert!(holder.is_running(), "unshare is refused: run as root or allow user namespaces");
        if holder.printed("ready\n") { Ok(()) } else { Err("not yet") }
    });
    holder
}

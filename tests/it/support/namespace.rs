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

/// What holds a namespace: it does nothing else.
const HOLD: [&str; 3] = ["sh", "-c", "ip link set lo up && echo ready && exec tail -f /dev/null"];

/// Namespaces in a row, each with a cable to the next and to nobody else.
pub struct Row {
    pub places: Vec<Namespace>,
}

impl Row {
    /// Makes `count` of them. The cable between places N and N + 1 is called `cableN` on both
    /// sides, with the addresses 10.99.N.1 and 10.99.N.2.
    ///
    /// # Panics
    /// When the kernel does not allow it.
    pub fn new(sandbox: &Sandbox, count: usize) -> Self {
        let first = Namespace::first(sandbox, "");
        let rest = (1..count).map(|_| Namespace::beside(sandbox, &first, "")).collect::<Vec<_>>();
        let places: Vec<Namespace> = std::iter::once(first).chain(rest).collect();
        for (number, pair) in places.windows(2).enumerate() {
            let name = format!("cable{number}");
            let other = pair[1].pid();
            pair[0]
                .ip(sandbox, &format!("link add {name} type veth peer name {name} netns {other}"));
            for (end, place) in pair.iter().enumerate() {
                let address = format!("10.99.{number}.{}/24", end + 1);
                place.ip(sandbox, &format!("address add {address} dev {name}"));
                place.ip(sandbox, &format!("link set {name} up"));
            }
        }
        Self { places }
    }

    /// Cuts the cable after place `number`.
    pub fn cut(&self, sandbox: &Sandbox, number: usize) {
        self.places[number].ip(sandbox, &format!("link set cable{number} down"));
    }
}

impl Pair {
    /// Makes them.
    ///
    /// # Panics
    /// When the kernel does not allow it.
    pub fn new(sandbox: &Sandbox) -> Self {
        let left = Namespace::first(sandbox, "10.99.0.1");
        let right = Namespace::beside(sandbox, &left, "10.99.0.2");
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
    /// One without a cable, of a user namespace of its own where that is needed.
    ///
    /// # Panics
    /// When the kernel does not allow it.
    pub fn first(sandbox: &Sandbox, address: &'static str) -> Self {
        let is_root = rustix::process::geteuid().is_root();
        let first = if is_root { vec!["-n"] } else { vec!["-r", "-n"] };
        let holder = sandbox.program("unshare").args(first).args(HOLD).start();
        Self { holder: ready(holder), address }
    }

    /// Within the first one's user namespace, so that one `ip` reaches both.
    fn beside(sandbox: &Sandbox, first: &Self, address: &'static str) -> Self {
        let holder = first.enter(sandbox, "unshare").arg("-n").args(HOLD).start();
        Self { holder: ready(holder), address }
    }

    /// The process that holds it.
    pub fn pid(&self) -> String {
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

    /// `ip WORDS` inside.
    pub fn ip(&self, sandbox: &Sandbox, words: &str) {
        self.enter(sandbox, "ip").args(words.split(' ')).success();
    }
}

/// Namespaces with a cable between those that are named in pairs.
pub struct Shape {
    spaces: Vec<Namespace>,
}

impl Shape {
    /// Makes them: `count` namespaces, cables between these `pairs`.
    ///
    /// # Panics
    /// When the kernel does not allow it.
    pub fn new(sandbox: &Sandbox, count: usize, pairs: &[(usize, usize)]) -> Self {
        let mut spaces = vec![Namespace::first(sandbox, "")];
        for _ in 1..count {
            let space = Namespace::beside(sandbox, &spaces[0], "");
            spaces.push(space);
        }
        for (number, (one, other)) in pairs.iter().enumerate() {
            let (left, right) = (&spaces[*one], &spaces[*other]);
            let peer = right.pid();
            left.ip(
                sandbox,
                &format!("link add to{other} type veth peer name to{one} netns {peer}"),
            );
            for (space, device, host) in [(left, other, 1), (right, one, 2)] {
                let address = format!("10.99.{}.{host}/24", number + 1);
                space.ip(sandbox, &format!("address add {address} dev to{device}"));
                space.ip(sandbox, &format!("link set to{device} up"));
            }
        }
        Self { spaces }
    }

    /// The namespace number `index`.
    pub fn space(&self, index: usize) -> &Namespace {
        &self.spaces[index]
    }

    /// Lets nothing of what `from` sends arrive at `to` on their cable; nobody is told.
    pub fn swallow(&self, sandbox: &Sandbox, from: usize, to: usize) {
        let rules = format!(
            "table inet hole{from} {{\n chain input {{\n type filter hook input priority 0;\n \
             iifname \"to{from}\" drop\n }}\n}}\n"
        );
        self.spaces[to].enter(sandbox, "nft").args(["-f", "-"]).stdin(rules).success();
    }

    /// Ends that.
    pub fn restore(&self, sandbox: &Sandbox, from: usize, to: usize) {
        let table = format!("hole{from}");
        let nft = self.spaces[to].enter(sandbox, "nft");
        nft.args(["delete", "table", "inet", &table]).success();
    }
}

fn ready(mut holder: Running) -> Running {
    wait_until(Duration::from_secs(10), "a network namespace", || {
        assert!(holder.is_running(), "unshare is refused: run as root or allow user namespaces");
        if holder.printed("ready\n") { Ok(()) } else { Err("not yet") }
    });
    holder
}

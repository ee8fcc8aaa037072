//! A small internet: a place where all addresses are public, and routers (NAT) around it with
//! private networks behind them. Every private network has the same addresses, as at home.

use std::cell::Cell;

use super::namespace::Namespace;
use super::run::Invocation;
use super::sandbox::Sandbox;

/// What a router does with addresses: the four classic kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One outer port for everybody, open to everybody.
    Full,
    /// The same, open to addresses that were sent something.
    Restricted,
    /// The same, open to addresses and ports that were sent something: what Linux does by itself.
    PortRestricted,
    /// Another outer port for everyone that is spoken to.
    Symmetric,
}

/// A router, and the cables that lead into it from inside.
pub struct Router {
    space: Namespace,
    /// Its outer address.
    pub outer: String,
    inner: &'static str,
}

/// The place in the middle.
pub struct Internet {
    hub: Namespace,
    cables: Cell<u8>,
}

/// Private networks behind routers, and those between a carrier's router and homes.
const HOME: &str = "192.168.1";
const CARRIER: &str = "100.64.1";

impl Internet {
    /// An empty one.
    pub fn new(sandbox: &Sandbox) -> Self {
        let hub = Namespace::first(sandbox, "");
        forwards(sandbox, &hub);
        Self { hub, cables: Cell::new(0) }
    }

    /// Gives `space` a public address through a cable called `out0`. Returns the address.
    pub fn plug(&self, sandbox: &Sandbox, space: &Namespace) -> String {
        let number = self.cables.get() + 1;
        self.cables.set(number);
        // Really public ones, though nothing of this reaches them: a router that is asked for ports
        // gives none while its own address is of a range for tests.
        let network = format!("11.18.{number}");
        cable(sandbox, &self.hub, &format!("down{number}"), space, &network);
        format!("{network}.2")
    }

    /// A machine with a public address.
    pub fn public(&self, sandbox: &Sandbox) -> Namespace {
        let space = Namespace::first(sandbox, "");
        self.plug(sandbox, &space);
        space
    }

    /// A home's router with a public address.
    pub fn router(&self, sandbox: &Sandbox, kind: Kind) -> Router {
        let space = Namespace::first(sandbox, "");
        let outer = self.plug(sandbox, &space);
        Router::new(sandbox, space, outer, HOME, kind)
    }

    /// A carrier's router, behind which are homes' routers.
    pub fn carrier(&self, sandbox: &Sandbox, kind: Kind) -> Router {
        Router { inner: CARRIER, ..self.router(sandbox, kind) }
    }
}

impl Router {
    fn new(
        sandbox: &Sandbox,
        space: Namespace,
        outer: String,
        inner: &'static str,
        kind: Kind,
    ) -> Self {
        forwards(sandbox, &space);
        let rules = rules(kind, &outer);
        space.enter(sandbox, "nft").args(["-f", "-"]).stdin(rules).success();
        Self { space, outer, inner }
    }

    /// Leads a cable, called `out0` there, from this router to `space`.
    pub fn plug(&self, sandbox: &Sandbox, space: &Namespace) {
        cable(sandbox, &self.space, "inside", space, self.inner);
    }

    /// A machine behind it.
    pub fn machine(&self, sandbox: &Sandbox) -> Namespace {
        let space = Namespace::first(sandbox, "");
        self.plug(sandbox, &space);
        space
    }

    /// A home's router behind this one.
    pub fn router(&self, sandbox: &Sandbox, kind: Kind) -> Self {
        let space = self.machine(sandbox);
        Self::new(sandbox, space, format!("{CARRIER}.2"), HOME, kind)
    }

    /// `program`, run on it.
    pub fn enter(&self, sandbox: &Sandbox, program: &str) -> Invocation {
        self.space.enter(sandbox, program)
    }

    /// How many datagrams from outside it has refused.
    pub fn refused(&self, sandbox: &Sandbox) -> u64 {
        let list = ["list", "counter", "ip", "router", "refused"];
        let run = self.space.enter(sandbox, "nft").args(list).success();
        let mut words = run.stdout.split_whitespace().skip_while(|word| *word != "packets");
        words.nth(1).and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{run:?}"))
    }
}

/// Takes the cable out of a machine.
pub fn unplug(sandbox: &Sandbox, space: &Namespace) {
    space.ip(sandbox, "link delete out0");
}

fn forwards(sandbox: &Sandbox, space: &Namespace) {
    let write = ["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"];
    space.enter(sandbox, "sh").args(write).success();
}

/// A cable between `upper` and `lower`, the way out of the latter.
fn cable(sandbox: &Sandbox, upper: &Namespace, device: &str, lower: &Namespace, network: &str) {
    let pid = lower.pid();
    upper.ip(sandbox, &format!("link add {device} type veth peer name out0 netns {pid}"));
    for (space, device, host) in [(upper, device, 1), (lower, "out0", 2)] {
        space.ip(sandbox, &format!("address add {network}.{host}/24 dev {device}"));
        space.ip(sandbox, &format!("link set {device} up"));
    }
    lower.ip(sandbox, &format!("route add default via {network}.1"));
}

/// What makes a machine with the address `outer` on `out0` a router of this kind. A port is kept
/// where it can be, so that one outer port stands for one inner; what comes in uninvited is
/// dropped before it leaves a trace.
fn rules(kind: Kind, outer: &str) -> String {
    let translation = match kind {
        Kind::Full | Kind::Restricted => format!("snat to {outer}"),
        Kind::PortRestricted => "masquerade".to_owned(),
        Kind::Symmetric => "masquerade fully-random".to_owned(),
    };
    let is_cone = matches!(kind, Kind::Full | Kind::Restricted);
    let learn = "oifname out0 update @cone { udp sport : ip saddr . udp sport } \
                 update @met { ip daddr . udp sport }";
    let learn = if is_cone { learn } else { "" };
    let guard = "iifname out0 ct state new ip saddr . udp dport != @met counter name refused drop";
    let guard = if kind == Kind::Restricted { guard } else { "" };
    let back = if is_cone { "iifname out0 dnat ip to udp dport map @cone" } else { "" };
    format!(
        "table ip router {{
          map cone {{
            type inet_service : ipv4_addr . inet_service
            flags dynamic,timeout
            timeout 2m
          }}
          set met {{
            type ipv4_addr . inet_service
            flags dynamic,timeout
            timeout 2m
          }}
          counter refused {{
          }}
          chain back {{
            type nat hook prerouting priority -100
            {back}
          }}
          chain forward {{
            type filter hook forward priority 0
            {learn}
            {guard}
          }}
          chain local {{
            type filter hook input priority 0
            iifname out0 counter name refused drop
          }}
          chain out {{
            type nat hook postrouting priority 100
            oifname out0 {translation}
          }}
        }}
        "
    )
}

//! Three namespaces in a row, `a` - `b` - `c`, with a member of one cluster in each. `a` and `c`
//! reach each other through `b` only.

use std::fs;
use std::net::Ipv6Addr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::thread;

use serde_json::{Value, json};

use super::namespace::Namespace;
use super::run::{Invocation, Running};
use super::sandbox::{CONVERGENCE_LIMIT, Sandbox};
use super::wait::wait_until;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// A member of the row.
pub struct Member {
    pub namespace: Namespace,
    pub home: PathBuf,
    /// Its address in the mesh.
    pub address: Ipv6Addr,
    /// Its agent; none while it does not run.
    pub agent: Option<Running>,
}

/// The row.
pub struct Overlay {
    pub members: Vec<Member>,
}

/// Whether this test can enter the namespaces it makes; said loudly when not.
pub fn may_enter() -> bool {
    let may = rustix::process::geteuid().is_root() && fs::exists("/dev/net/tun").unwrap_or(false);
    if !may {
        eprintln!("LEFT OUT: needs root and /dev/net/tun");
    }
    may
}

impl Overlay {
    /// Makes `mtus.len() + 1` members, with cables of these MTUs between them. Without
    /// `unprivileged` all make a network interface; that one may not.
    pub fn new(sandbox: &Sandbox, mtus: &[u16], unprivileged: Option<usize>) -> Self {
        let names = &NAMES[..=mtus.len()];
        let namespaces: Vec<Namespace> =
            names.iter().map(|_| Namespace::first(sandbox, "")).collect();
        for (index, mtu) in mtus.iter().enumerate() {
            let (left, right) = (&namespaces[index], &namespaces[index + 1]);
            let cable = format!("link add to{} mtu {mtu} type veth", index + 1);
            let other = format!("peer name to{index} mtu {mtu} netns {}", right.pid());
            left.ip(sandbox, &format!("{cable} {other}"));
            for (end, device, last) in [(left, index + 1, 1), (right, index, 2)] {
                end.ip(sandbox, &format!("address add 10.77.{index}.{last}/24 dev to{device}"));
                end.ip(sandbox, &format!("link set to{device} up"));
            }
        }
        let mut row = Self { members: Vec::new() };
        for (index, namespace) in namespaces.into_iter().enumerate() {
            row.admit(sandbox, namespace, unprivileged == Some(index));
        }
        let count = row.members.len();
        for member in &row.members {
            member.wait_for(sandbox, count);
        }
        row
    }

    fn admit(&mut self, sandbox: &Sandbox, namespace: Namespace, unprivileged: bool) {
        let name = NAMES[self.members.len()];
        let config = json!({"mesh": {"listen": "[::]:0"}});
        let mut member = Member::enter(sandbox, namespace, name, &config, self.members.last());
        member.run(sandbox, unprivileged);
        self.members.push(member);
    }
}

impl Member {
    /// Makes a machine a member, its agent not running yet: through the door of `before`, or as the
    /// first of a cluster. `config` is its configuration file.
    pub fn enter(
        sandbox: &Sandbox,
        namespace: Namespace,
        name: &str,
        config: &Value,
        before: Option<&Self>,
    ) -> Self {
        let home = sandbox.path().join(name);
        fs::create_dir(&home).unwrap();
        fs::write(home.join("mutable_config.json"), config.to_string()).unwrap();
        let mut request = json!({"name": name, "compute_type": "test", "server_type": "headless"});
        if before.is_none() {
            request["found"] = json!({"cluster": "row", "nonce": 1});
        }
        let mut member = Self { namespace, home, address: Ipv6Addr::UNSPECIFIED, agent: None };
        let init = member.raptor(sandbox).args(["agent", "init"]).stdin(request.to_string());
        let reply: Value = init.success().stdout_json();
        member.address = reply["address"].as_str().unwrap().parse().unwrap();
        if let Some(before) = before {
            let ticket = before.raptor(sandbox).args(["ticket", "create"]).success().stdout;
            // In a namespace of names as well: the cluster calls a member by its computer's name.
            let named = "echo \"$0\" > /proc/sys/kernel/hostname && exec \"$@\"";
            let raptor = env!("CARGO_BIN_EXE_raptor");
            let join = member.namespace.enter(sandbox, "unshare");
            let join =
                join.args(["-u", "sh", "-c", named, name, raptor, "--home"]).arg(&member.home);
            join.args(["join", "-"]).stdin(ticket).success();
            member.raptor(sandbox).args(["agent", "stop"]).success();
        }
        member
    }

    /// `raptor` on this member.
    pub fn raptor(&self, sandbox: &Sandbox) -> Invocation {
        let raptor = env!("CARGO_BIN_EXE_raptor");
        self.namespace.enter(sandbox, raptor).arg("--home").arg(&self.home)
    }

    /// Starts its agent in the foreground of this test.
    pub fn run(&mut self, sandbox: &Sandbox, unprivileged: bool) {
        let raptor = env!("CARGO_BIN_EXE_raptor");
        let program = if unprivileged { "setpriv" } else { raptor };
        let mut command = self.namespace.enter(sandbox, program);
        if unprivileged {
            let without = ["--bounding-set=-net_admin", "--inh-caps=-net_admin", raptor];
            command = command.args(without);
        }
        let agent = command.arg("--home").arg(&self.home).args(["agent", "run"]).start();
        self.agent = Some(agent);
        let socket = self.home.join("agent/agent.sock");
        wait_until(CONVERGENCE_LIMIT, "an agent", || {
            if socket.exists() { Ok(()) } else { Err("no socket") }
        });
    }

    /// Waits until it sees `count` members alive.
    pub fn wait_for(&self, sandbox: &Sandbox, count: usize) {
        wait_until(CONVERGENCE_LIMIT, &format!("{count} alive"), || {
            let run = self.raptor(sandbox).args(["members"]).run();
            let alive = run.stdout.matches(" alive ").count();
            if alive == count { Ok(()) } else { Err(format!("{run:?}")) }
        });
    }

    /// What `raptor status` says of its network interface.
    pub fn interface(&self, sandbox: &Sandbox) -> String {
        let status = self.raptor(sandbox).args(["status", "-o", "json"]).success().stdout_json();
        status["interface"].as_str().unwrap().to_owned()
    }

    /// Whether its namespace has the device.
    pub fn has_device(&self, sandbox: &Sandbox) -> bool {
        self.namespace.enter(sandbox, "ip").args(["link", "show", "raptor0"]).run().code() == 0
    }

    /// Does `work` in a thread of its own inside its namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/proc/{}/ns/net", self.namespace.pid());
        thread::scope(|scope| {
            let entered = scope.spawn(move || {
                let file = fs::File::open(path).unwrap();
                let kind = rustix::thread::LinkNameSpaceType::Network;
                rustix::thread::move_into_link_name_space(file.as_fd(), Some(kind)).unwrap();
                work()
            });
            entered.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

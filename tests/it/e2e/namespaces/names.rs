//! The system's resolver led to the agent and back, in a place with files of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::Value;

use crate::e2e::text;
use crate::support::run::{Invocation, Running};
use crate::support::sandbox::{CONVERGENCE_LIMIT, Sandbox};
use crate::support::wait::wait_until;

const ORIGINAL: &str = "# the network's own\nnameserver 192.0.2.1\noptions timeout:1\n";

/// Network, mounts and processes of its own, as a machine: its `/etc/resolv.conf` is a file of the
/// sandbox, and the first process is in its network.
struct Place {
    sandbox: Sandbox,
    holder: Running,
}

impl Place {
    /// `prepare` is run in it first, by a shell.
    fn new(prepare: &str) -> Self {
        let sandbox = Sandbox::new();
        let file = sandbox.path().join("resolv.conf");
        fs::write(&file, ORIGINAL).unwrap();
        let script = format!(
            "mount --bind {} /etc/resolv.conf && ip link set lo up && {prepare} && \
             echo ready && exec tail -f /dev/null",
            file.display()
        );
        let user: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["-r"] };
        let kinds = ["-n", "-m", "-p", "--fork", "--kill-child", "--mount-proc", "sh", "-c"];
        let unshare = sandbox.program("unshare").args(user).args(kinds);
        let mut holder = unshare.arg(script).start();
        assert_eq!(holder.lines(1), ["ready"]);
        Self { sandbox, holder }
    }

    fn enter(&self, program: &str) -> Invocation {
        let user: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["-U"] };
        let target = self.holder.pid().to_string();
        let nsenter = self.sandbox.program("nsenter").args(["-t", &target]).args(user);
        // The holder itself is not among the processes that it keeps.
        let processes = format!("--pid=/proc/{target}/ns/pid_for_children");
        nsenter.args(["--preserve-credentials", &processes, "-n", "-m", "--", program])
    }

    fn resolv_conf(&self) -> String {
        fs::read_to_string(self.sandbox.path().join("resolv.conf")).unwrap()
    }

    fn wait_for(&self, what: &str, holds: impl Fn(&str) -> bool) {
        wait_until(CONVERGENCE_LIMIT, what, || {
            let text = self.resolv_conf();
            if holds(&text) { Ok(()) } else { Err(text) }
        });
    }

    /// Gives the machine this configuration, and lets its agent die and come again.
    fn restart_with(&self, dns: &str) {
        let config =
            format!("{{\"mesh\": {{\"interface\": {{\"enabled\": \"on\"}}}}, \"dns\": {dns}}}");
        fs::write(self.home().join("mutable_config.json"), config).unwrap();
        let ask = || self.sandbox.raptor_at("ann", ["status", "-o", "json"]);
        let before = ask().success().stdout_json()["pid"].clone();
        self.sandbox.agent("ann", "run").unwrap().signal(Signal::KILL);
        wait_until(CONVERGENCE_LIMIT, "another agent that answers", || {
            let run = ask().run();
            let status: Value = serde_json::from_str(&run.stdout).unwrap_or_default();
            let is_another = status["pid"].is_number() && status["pid"] != before;
            if is_another { Ok(()) } else { Err(format!("{run:?}")) }
        });
    }

    fn home(&self) -> PathBuf {
        self.sandbox.machine("ann")
    }
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn resolv_conf_names_the_agent_while_it_runs_and_is_as_it_was_afterwards() {
    let place = Place::new("true");
    place.enter(env!("CARGO_BIN_EXE_raptor")).args(["spawn", "--name", "ann"]).success();
    assert_eq!(place.resolv_conf(), ORIGINAL, "no agent of a shared computer changes it");
    let wiring = "{\"enabled\": \"on\"}";
    place.restart_with(wiring);
    let is_wired = |text: &str| {
        let lines: Vec<&str> = text.lines().collect();
        text.ends_with(ORIGINAL) && lines.get(1) == Some(&"nameserver 127.0.0.153")
    };
    place.wait_for("a resolv.conf with the agent first", is_wired);
    let address = text(&place.sandbox.members()[0]["address"]);
    // The C library's own resolver, as every program uses it.
    let found = place.enter("getent").args(["ahostsv6", "ann.raptor"]).success();
    assert!(found.stdout.starts_with(&format!("{address} ")), "{found:?}");
    let found = place.enter("getent").args(["hosts", &address]).success();
    assert!(found.stdout.contains(" ann.raptor"), "{found:?}");
    place.enter("getent").args(["ahostsv6", "bob.raptor"]).run().status(2);

    // Killed, it could undo nothing: its next start does.
    place.restart_with("{\"enabled\": \"off\"}");
    place.wait_for("the original", |text| text == ORIGINAL);
    place.restart_with(wiring);
    place.wait_for("the agent again", is_wired);
    place.restart_with(wiring);
    place.wait_for("the agent once more", is_wired);
    let stop = place.sandbox.raptor(["--home", place.home().to_str().unwrap(), "agent", "stop"]);
    stop.success();
    assert_eq!(place.resolv_conf(), ORIGINAL);
    assert!(!place.home().join("agent/resolv.conf.original").exists());
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn systemd_resolved_is_told_and_told_again_at_the_end() {
    // What stands for it: its socket, and a `resolvectl` that writes down what it is told.
    let place = Place::new(
        "mount -t tmpfs none /run && mkdir -p /run/systemd/resolve && \
         cd /run/systemd/resolve && { perl -MIO::Socket::UNIX -e \
         'my $all = IO::Socket::UNIX->new(Local => shift, Listen => 9) or die; sleep 3600' \
         io.systemd.Resolve & } && until test -S io.systemd.Resolve; do sleep 0.1; done",
    );
    let folder = place.sandbox.path().join("bin");
    fs::create_dir(&folder).unwrap();
    let log = place.sandbox.path().join("told");
    let program = folder.join("resolvectl");
    fs::write(&program, format!("#!/bin/sh\necho \"$*\" >> {}\n", log.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let spawn = place.enter(env!("CARGO_BIN_EXE_raptor")).env("PATH", path);
    spawn.args(["spawn", "--name", "ann"]).success();
    place.restart_with("{\"enabled\": \"on\"}");
    let told = || fs::read_to_string(&log).unwrap_or_default();
    let expected = "dns raptor0 127.0.0.153:53\n\
                    domain raptor0 ~raptor ~c.f.ip6.arpa\n\
                    default-route raptor0 no\n";
    wait_until(CONVERGENCE_LIMIT, "resolved is told", || {
        if told() == expected { Ok(()) } else { Err(told()) }
    });
    let stop = place.sandbox.raptor(["--home", place.home().to_str().unwrap(), "agent", "stop"]);
    stop.success();
    assert_eq!(told(), format!("{expected}revert raptor0\n"));
    assert_eq!(place.resolv_conf(), ORIGINAL);
}

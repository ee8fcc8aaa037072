//! The agent as a unit of a real systemd: confined itself, and users' programs are not.

use std::time::Duration;

use super::{CONVERGENCE_LIMIT, Site, names, wait_for_agreement};
use crate::support::container::Container;
use crate::support::run::Run;
use crate::support::wait::wait_until;

fn exec(site: &Site, words: &str) -> Run {
    site.sandbox.raptor(["-o", "json", "exec", "--", "sh", "-c", words]).run()
}

fn property(host: &Container, unit: &str, name: &str) -> String {
    host.sh(&format!("systemctl show --property={name} --value {unit}")).trim().to_owned()
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn the_agent_is_confined_and_what_users_run_is_not() {
    let site = Site::new();
    let host = Container::start_systemd("box", &site.network, &site.key);
    site.slave(&["--server-type", "headless", &site.destination(&host)]).success();
    assert_eq!(names(&site.sandbox.wait_for_alive(1)), ["box"]);
    assert_eq!(property(&host, "raptor.service", "ActiveState"), "active");
    assert_eq!(property(&host, "raptor.service", "ProtectSystem"), "strict");
    let pid = property(&host, "raptor.service", "MainPID");
    let status = host.sh(&format!("cat /proc/{pid}/status"));
    assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{status}");
    host.sh(&format!("! nsenter -t {pid} -m touch /etc/confined 2>/dev/null"));

    let verified = host.try_input(&["systemd-analyze", "verify", "raptor.service"], b"");
    let told = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(!told.contains("raptor.service"), "{told}");
    let rating = host.sh("systemd-analyze security --no-pager raptor.service | tail -1");
    let exposure = rating.split_whitespace().find_map(|word| word.parse::<f64>().ok()).unwrap();
    assert!(exposure < 2.0, "{rating}");

    // What runs through it is bound by nothing that binds the agent.
    let run = exec(
        &site,
        "touch /etc/made && chmod u+s /etc/made && unshare --mount true && \
         grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status && umask && ls -d /tmp/raptor-probe",
    );
    run.status(3).stdout_contains("No such file");
    host.sh("mkdir /tmp/raptor-probe; test -u /etc/made");
    let run = exec(
        &site,
        "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status; ls -d /tmp/raptor-probe; umask",
    );
    for part in ["NoNewPrivs:\\t0", "Seccomp:\\t0", "/tmp/raptor-probe", "0022"] {
        assert!(run.stdout.contains(part), "{part} in {run:?}");
    }
    let run = exec(&site, "kill -9 $$").status(3);
    assert!(run.stdout.contains("\"exit_status\":137"), "{run:?}");
    site.sandbox
        .raptor(["exec", "--", "no-such-program"])
        .run()
        .status(3)
        .stderr_contains("no-such-program: ");
    let literal = r"a\b %h $HOME ${X} $$";
    site.sandbox.raptor(["exec", "--", "echo", literal]).success().stdout_contains(literal);
    let journal = host.sh("journalctl --no-pager --quiet");
    assert!(!journal.contains("no-such-secret") && !journal.contains("raptor-probe"), "{journal}");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn programs_of_users_end_with_their_time_and_shells_are_terminals() {
    let site = Site::new();
    let host = Container::start_systemd("box", &site.network, &site.key);
    site.slave(&[&site.destination(&host)]).success();
    site.sandbox.wait_for_alive(1);
    let slow = ["exec", "--timeout", "2s", "--", "sh", "-c", "sleep 4711 & sleep 4711"];
    site.sandbox.raptor(slow).run().status(3).stderr_contains("did not end within 2s");
    wait_until(Duration::from_secs(20), "the program ends", || {
        let left = host.sh("pgrep -f 'sleep 4711' || true");
        if left.is_empty() { Ok(()) } else { Err(left) }
    });

    // A terminal through the agent: the host's own sshd is not asked.
    host.sh("grep -q '\"ssh_port\": 22' /var/lib/raptor/agent/agent.json
         sed -i 's/\"ssh_port\": 22/\"ssh_port\": null/' /var/lib/raptor/agent/agent.json
         systemctl restart raptor.service");
    wait_for_agreement(&[&host], 1);
    let line = "raptor ssh box -- 'tty; echo term=$TERM; stty size'";
    let shell = host.input(&["script", "--quiet", "--command", line, "/dev/null"], b"");
    assert!(shell.contains("/dev/pts/") && shell.contains("term="), "{shell}");

    // Killed, it comes back by itself and knows everybody.
    let before = property(&host, "raptor.service", "MainPID");
    host.sh(&format!("kill -9 {before}"));
    wait_until(CONVERGENCE_LIMIT, "a new agent", || {
        let pid = property(&host, "raptor.service", "MainPID");
        if pid != "0" && pid != before { Ok(()) } else { Err(pid) }
    });
    wait_for_agreement(&[&host], 1);
    let journal = host.sh("journalctl --no-pager --quiet --unit raptor.service");
    assert!(!journal.contains("ERROR") && !journal.contains("panicked"), "{journal}");
}

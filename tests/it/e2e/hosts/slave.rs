//! `slave` of hosts that are there already, when all goes well.

use std::fs;
use std::io::Write as _;
use std::time::Duration;

use super::{CONVERGENCE_LIMIT, Site, WORK_LIMIT, assert_sound, names, text, wait_for_agreement};
use crate::support::container::{Container, Sudo};
use crate::support::docker::Network;
use crate::support::wait::wait_until;

fn pid_of_agent(host: &Container) -> String {
    host.sh("cat /var/lib/raptor/agent/agent.lock").trim().to_owned()
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn hosts_are_taken_over_and_repaired_not_doubled() {
    let site = Site::new();
    let (one, two) = (site.host("one"), site.host("two"));
    let (first, second) = (site.destination(&one), site.destination(&two));
    // The default server type: its modules are what is tested, too.
    let run = site.slave(&["--server-type", "headless", "--label", "zone=home", &first, &second]);
    run.success().stderr_contains("copying raptor");
    let members = site.sandbox.wait_for_alive(2);
    assert_eq!(names(&members), ["one", "two"]);
    assert!(members.iter().all(|member| member["labels"]["zone"] == "home"), "{members:?}");
    wait_for_agreement(&[&one, &two], 2);
    assert_eq!(one.sh("stat -c %a /var/lib/raptor/agent/identity.key"), "600\n");

    // Again: nothing to copy, nobody started anew, what was asked for before still holds.
    let agent = pid_of_agent(&one);
    let again = site.slave(&[&first, &second]).success();
    assert!(!again.stderr.contains("copying raptor"), "{again:?}");
    assert!(again.took < Duration::from_secs(20), "{again:?}");
    assert_eq!(pid_of_agent(&one), agent, "the agent was started anew for nothing");
    let members = site.sandbox.wait_for_alive(2);
    assert!(members.iter().all(|member| member["labels"]["zone"] == "home"), "{members:?}");
    assert!(members.iter().all(|member| member["type"] == "headless"), "{members:?}");

    // Broken: the program is gone and the agent dead with its supervisor.
    one.sh("pkill -9 raptor; rm -rf /usr/local/lib/raptor/current /usr/local/lib/raptor/releases");
    site.slave(&[&first]).success().stderr_contains("copying raptor");
    let back = site.sandbox.wait_for_alive(2);
    let ids = |list: &[serde_json::Value]| {
        let mut ids: Vec<String> = list.iter().map(|member| text(&member["id"])).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&back), ids(&members), "it came back as somebody else");

    // A new label is told to the running agent.
    site.slave(&["--label", "zone=lab", &first]).success();
    wait_until(CONVERGENCE_LIMIT, "the new label", || {
        let members = site.sandbox.members();
        let has = members.iter().any(|member| member["labels"]["zone"] == "lab");
        if has { Ok(()) } else { Err(format!("{members:?}")) }
    });
    site.sandbox.wait_for_alive(2);
    site.sandbox.raptor(["ssh", "two", "--", "hostname"]).success().stdout_is("two\n");
    assert_sound(&[&one, &two]);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn sudo_users_serve_with_and_without_a_password() {
    let site = Site::new();
    let (free, asked) = (site.host("free"), site.host("asked"));
    free.add_user("ann", Sudo::Free);
    asked.add_user("bob", Sudo::Password("open sesame"));
    let ann = format!("ann@{}", free.address(&site.network));
    let bob = format!("bob@{}", asked.address(&site.network));
    site.slave(&[&ann]).success();
    site.sandbox.raptor(["ssh", "free", "--", "id -un"]).success().stdout_is("ann\n");

    let refused = site.slave(&[&bob]).run().status(1);
    refused
        .stderr_contains(&format!("error: {bob}: checking: sudo asks bob for a password\n"))
        .stderr_contains("hint: give --ask-sudo-pass");
    let wrong = site.slave(&["--ask-sudo-pass", &bob]).stdin("wrong\n").run().status(1);
    wrong.stderr_contains("sudo refused the password");
    assert_eq!(super::traces(&asked), "", "something was left behind");

    let run = site.slave(&["--ask-sudo-pass", &bob]).stdin("open sesame\n").success();
    assert!(!run.stderr.contains("sesame") && !run.stdout.contains("sesame"), "{run:?}");
    assert_eq!(names(&site.sandbox.wait_for_alive(2)), ["asked", "free"]);
    wait_for_agreement(&[&free, &asked], 2);
    for file in site.sandbox.files() {
        let bytes = fs::read(site.sandbox.home().join(&file)).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&bytes).contains("sesame"), "{file:?} holds it");
    }
    assert_sound(&[&free, &asked]);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_password_is_typed_unseen() {
    let site = Site::new();
    let host = site.host("asked");
    host.add_user("bob", Sudo::Password("open sesame"));
    let bob = format!("bob@{}", host.address(&site.network));
    let line = format!(
        "stty -a; {} slave -i {} --ask-sudo-pass {bob}; code=$?; stty -a; exit $code",
        env!("CARGO_BIN_EXE_raptor"),
        site.key.secret.display()
    );
    let asked = |typed: &str| {
        let terminal = site.sandbox.program("script").args(["-qec", &line, "/dev/null"]);
        let (mut running, mut keys) = terminal.start_for_typing();
        wait_until(WORK_LIMIT, "the question", || {
            if running.printed("sudo password: ") { Ok(()) } else { Err("not yet") }
        });
        keys.write_all(typed.as_bytes()).unwrap();
        let run = running.finish(WORK_LIMIT);
        assert!(!run.stdout.contains("sesam"), "{run:?}");
        let echoes = run.stdout.matches(" echo ").count();
        assert_eq!(echoes, 2, "the terminal is not as it was: {run:?}");
        run
    };
    asked("open sesam\u{3}").status(130).stdout_contains("interrupted");
    assert_eq!(super::traces(&host), "", "something was done");
    asked("open sesamx\u{7f}e\r").success().stdout_contains("asked ");
    assert_sound(&[&host]);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn an_inventory_names_ways_names_ports_and_labels() {
    let site = Site::new();
    let (jump, behind, moved) = (site.host("jump"), site.host("behind"), site.host("moved"));
    moved.sh("/usr/sbin/sshd -p 2222");
    let address = |host: &Container| host.address(&site.network);
    let inventory = site.sandbox.path().join("hosts.toml");
    let toml = format!(
        "[[hosts]]\ndst = 'root@{}'\nvia = 'root@{}'\nname = 'deep'\n\
         [[hosts]]\ndst = 'root@{}'\nport = 2222\nserver_type = 'headless'\nlabels = {{ zone = 'home' }}\n",
        address(&behind),
        address(&jump),
        address(&moved),
    );
    fs::write(&inventory, toml).unwrap();
    let inventory = inventory.display().to_string();
    site.slave(&["--inventory", &inventory]).success();
    let members = site.sandbox.wait_for_alive(2);
    assert_eq!(names(&members), ["deep", "moved"]);
    let moved_row = members.iter().find(|member| member["name"] == "moved").unwrap();
    assert_eq!(moved_row["labels"]["zone"], "home");
    assert_eq!(moved_row["type"], "headless");
    assert_eq!(behind.sh("who 2>/dev/null | wc -l"), "0\n");

    // The same as JSON: repaired, and both stay who they are.
    let json = format!(
        r#"[{{"dst":"root@{}","via":"root@{}","name":"deep"}},{{"dst":"root@{}:2222"}}]"#,
        address(&behind),
        address(&jump),
        address(&moved),
    );
    let file = site.sandbox.path().join("hosts.json");
    fs::write(&file, json).unwrap();
    site.slave(&["--inventory", &file.display().to_string()]).success();
    assert_eq!(names(&site.sandbox.wait_for_alive(2)), ["deep", "moved"]);
    assert_sound(&[&behind, &moved]);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_host_is_reached_by_ipv6() {
    let site = Site::new();
    let network = Network::create_ipv6();
    let host = Container::start("six", &network, &site.key);
    let address = host.sh("ip -6 -o addr show scope global | sed 's/.*inet6 \\([^/]*\\).*/\\1/'");
    site.slave(&[&format!("root@[{}]:22", address.trim())]).success();
    assert_eq!(names(&site.sandbox.wait_for_alive(1)), ["six"]);
    site.sandbox.raptor(["ssh", "six", "--", "hostname"]).success().stdout_is("six\n");
    assert_sound(&[&host]);
}

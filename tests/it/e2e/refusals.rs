//! What cannot be done is refused with a message that says what, where, why, and what to do next.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;

use crate::support::sandbox::Sandbox;

/// Runs `raptor WORDS`, and expects this status and exactly these lines on standard error. A `…`
/// stands for what grows with the program: the names it knows.
#[track_caller]
fn refused(sandbox: &Sandbox, words: &[&str], status: i32, expected: &str) {
    let run = sandbox.raptor(words).run().status(status);
    match expected.split_once('…') {
        Some((start, end)) => {
            let said = run.stderr.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
            assert!(said.is_some(), "{words:?}: {:?} is not {expected:?}", run.stderr);
        }
        None => assert_eq!(run.stderr, expected, "{words:?}"),
    }
    assert_eq!(run.stdout, "", "{words:?}");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn without_a_cluster_every_command_says_how_to_get_one() {
    let sandbox = Sandbox::new();
    let none = "error: there is no cluster yet\n  \
                hint: `raptor spawn` founds one; `raptor join TICKET` enters one\n";
    for words in [
        &["members"][..],
        &["status"],
        &["exec", "--", "true"],
        &["ssh"],
        &["ticket", "ls"],
        &["ticket", "create"],
        &["evict", "a", "--yes"],
        &["destroy", "a", "--yes"],
        &["destroy", "--all", "--yes"],
        &["prune", "--yes"],
        &["config", "log"],
    ] {
        refused(&sandbox, words, 1, none);
    }
    let unknown = "error: no cluster named lab is known here\n  \
                   hint: `raptor -c lab spawn` founds it; `raptor context ls` lists the known ones\n";
    refused(&sandbox, &["-c", "lab", "members"], 1, unknown);
    let unknown = "error: no cluster named lab is known here\n  \
                   hint: `raptor context ls` lists the known ones\n";
    refused(&sandbox, &["context", "use", "lab"], 1, unknown);
    let nothing = "error: no agent answers\n  - unix:/nowhere/agent.sock: No such file or directory (os error 2)\n  \
                   hint: is the agent running there? another member is named with --connect user@host\n";
    refused(&sandbox, &["--connect", "unix:/nowhere/agent.sock", "members"], 1, nothing);
    let dry = sandbox.raptor(["config", "set", "mesh.rings", "4", "--dry-run"]).success();
    dry.stdout_is("set mesh.rings to 4\n");
    assert!(sandbox.files().is_empty(), "{:?}", sandbox.files());
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_wrong_file_is_named_with_line_and_key() {
    let sandbox = Sandbox::new();
    let file = sandbox.home().join("mutable_config.json");
    let named = file.display();
    let hint = "\n  hint: `raptor config schema` prints what is possible\n";
    for (content, why) in [
        (
            "{\n  \"mesh\": {\n    \"rings\": \"many\"\n  }\n}",
            "3:5: mesh.rings: expected a whole number from 0 to 255, found the text \"many\"",
        ),
        (
            "{\n  \"mesh\": {\n    \"ring\": 3\n  }\n}",
            "3:5: mesh.ring: unknown key; did you mean \"rings\"? (known: listen, rings, …)",
        ),
        ("{\"mesh\":", "1:8: not JSON: EOF while parsing a value"),
        ("[]", "1:1: expected an object"),
    ] {
        fs::write(&file, content).unwrap();
        for words in [&["spawn"][..], &["members"], &["config", "check"], &["exec", "--", "true"]] {
            refused(&sandbox, words, 1, &format!("error: {named}:{why}{hint}"));
        }
    }
    assert_eq!(sandbox.files().len(), 1, "{:?}", sandbox.files());
    sandbox.raptor(["version"]).success();
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn wrong_words_are_refused_before_anything_is_done() {
    let sandbox = Sandbox::new();
    let spawn = |option: &str, value: &str, status: i32, expected: &str| {
        refused(&sandbox, &["spawn", option, value], status, expected);
    };
    spawn(
        "--compute-type",
        "cloud",
        1,
        "error: there is no compute type \"cloud\"\n  hint: known are digitalocean, docker, …\n",
    );
    spawn(
        "--server-type",
        "tail",
        1,
        "error: there is no server type \"tail\"\n  hint: known are …\n",
    );
    spawn(
        "--count",
        "0",
        2,
        &format!("error: invalid value '0' for '--count <N>': 0 is not in 1..=1000\n{MORE}"),
    );
    spawn(
        "--label",
        "zone",
        2,
        &format!(
            "error: invalid value 'zone' for '--label <K=V>': \"zone\" is not KEY=VALUE\n{MORE}"
        ),
    );
    assert!(sandbox.files().is_empty(), "{:?}", sandbox.files());
}

/// How clap ends what it says of a wrong word.
const MORE: &str = "\nFor more information, try '--help'.\n";

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn whom_no_member_fits_is_told_so() {
    let sandbox = Sandbox::new();
    sandbox.spawn(1);
    let members = "\n  hint: `raptor members` lists what is there\n";
    refused(
        &sandbox,
        &["exec", "--on", "zone=home", "--", "true"],
        1,
        &format!("error: no member fits \"zone=home\"{members}"),
    );
    refused(
        &sandbox,
        &["exec", "--on", "=a", "--", "true"],
        2,
        &format!(
            "error: invalid value '=a' for '--on <SELECTOR>': \"=a\" is not a selector: NAME, KEY=VALUE or KEY!=VALUE, joined by commas\n{MORE}"
        ),
    );
    refused(
        &sandbox,
        &["exec", "--timeout", "soon", "--", "true"],
        2,
        &format!(
            "error: invalid value 'soon' for '--timeout <TIME>': expected number at 0; write it as 30s, 10m or 2h\n{MORE}"
        ),
    );
    refused(&sandbox, &["evict", "web", "--yes"], 1, &format!("error: no member \"web\"{members}"));
    refused(&sandbox, &["ssh", "web"], 1, &format!("error: no member \"web\"{members}"));
    refused(
        &sandbox,
        &["destroy", "web", "--yes"],
        1,
        &format!("error: no machine or member is called \"web\"{members}"),
    );
    refused(
        &sandbox,
        &["destroy", "local-2", "--yes"],
        1,
        &format!("error: no machine or member is called \"local-2\"; similar: local-1{members}"),
    );
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn wrong_settings_and_hosts_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.spawn(1);
    refused(
        &sandbox,
        &["config", "get", "mesh.moon"],
        1,
        "error: nothing is set at mesh.moon\n  hint: `raptor config show` prints all\n",
    );
    refused(
        &sandbox,
        &["config", "set", "mesh.rings", "many"],
        2,
        "error: \"many\" is no JSON: expected value at line 1 column 1\n  hint: a text needs JSON's quotes inside the shell's: '\"docker\"'\n",
    );
    let schema = "\n  hint: `raptor config schema` prints what is possible\n";
    refused(
        &sandbox,
        &["config", "set", "mesh.ring", "4"],
        1,
        &format!(
            "error: document: mesh.ring: unknown key; did you mean \"rings\"? (known: listen, rings, …){schema}"
        ),
    );
    refused(
        &sandbox,
        &["config", "set", "mesh.rings", "900"],
        1,
        &format!(
            "error: document: mesh.rings: expected a whole number from 0 to 255, found the number 900{schema}"
        ),
    );
    refused(
        &sandbox,
        &["join", "a b"],
        2,
        "error: \"a b\" is not [USER@]HOST[:PORT]: a part starts with '-' or holds blanks\n",
    );
    let missing = sandbox.path().join("missing.json");
    sandbox
        .raptor(["config", "check", missing.to_str().unwrap()])
        .run()
        .status(1)
        .stderr_contains("hint: without FILE, mutable_config.json of the home folder is checked");
    refused(
        &sandbox,
        &["config", "apply", missing.to_str().unwrap()],
        1,
        &format!(
            "error: cannot read {}: No such file or directory (os error 2)\n  hint: check the path, and who may read it\n",
            missing.display()
        ),
    );
    assert_eq!(sandbox.members().len(), 1);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_busy_port_is_named_before_the_ticket_is_used_up() {
    let sandbox = Sandbox::new();
    sandbox.spawn(1);
    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let busy = holder.local_addr().unwrap();
    let home = sandbox.path().join("a");
    fs::create_dir(&home).unwrap();
    fs::write(
        home.join("mutable_config.json"),
        format!("{{\"mesh\": {{\"listen\": \"{busy}\"}}}}"),
    )
    .unwrap();
    let ticket = sandbox.raptor(["ticket", "create"]).success().stdout;
    let join =
        || sandbox.raptor(["--home", home.to_str().unwrap(), "join", "-"]).stdin(ticket.clone());
    join().run().status(1).stderr_contains(&format!(
        ": failed: not joined\nerror: UDP port {} is in use (address {busy})\n  hint: choose another \
         with mesh.listen in mutable_config.json; port 0 takes any free one\n",
        busy.port()
    ));
    drop(holder);
    join().success();
    sandbox.wait_for_alive(2);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_home_without_rights_is_named() {
    let sandbox = Sandbox::new();
    let home = sandbox.path().join("closed");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o555)).unwrap();
    // Rights hold nobody back who is root, so root runs it as somebody else.
    let raptor = env!("CARGO_BIN_EXE_raptor");
    let is_root = rustix::process::geteuid().is_root();
    let run = |words: &[&str]| {
        let base = if is_root {
            fs::set_permissions(sandbox.path(), fs::Permissions::from_mode(0o711)).unwrap();
            // A program that others may run, wherever the tests were built.
            let copy = sandbox.path().join("raptor");
            if !copy.exists() {
                fs::copy(raptor, &copy).unwrap();
            }
            let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
            sandbox.program("setpriv").args(nobody).arg(copy)
        } else {
            sandbox.program(raptor)
        };
        base.arg("--home").arg(&home).args(words).run()
    };
    let named = home.display();
    let denied = "Permission denied (os error 13)";
    let spawn = run(&["spawn"]).status(1);
    assert_eq!(
        spawn.stderr,
        format!(
            "error: write the wish for the machines down: cannot create folder {named}/founding: {denied}\n  hint: another home folder is named with --home DIR\n"
        )
    );
    let set = run(&["config", "set", "mesh.rings", "4"]).status(1);
    assert_eq!(
        set.stderr,
        format!(
            "error: cannot write {named}/mutable_config.json: {denied}\n  hint: check who owns it; another home folder is named with --home DIR\n"
        )
    );
    let agent = run(&["agent", "run"]).status(1);
    assert!(agent.stderr.contains("is no machine's home yet"), "{agent:?}");
    fs::set_permissions(&home, fs::Permissions::from_mode(0o000)).unwrap();
    let members = run(&["members"]).status(1);
    assert!(
        members.stderr.contains(&format!("{named}")) && members.stderr.contains(denied),
        "{members:?}"
    );
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).unwrap();
}

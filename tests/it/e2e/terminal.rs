//! `raptor ssh` on machines that have no sshd: a terminal through the agent.

use std::io::Write;
use std::time::Duration;

use crate::support::run::Invocation;
use crate::support::sandbox::Sandbox;
use crate::support::wait::wait_until;

/// `raptor WORDS` behind a terminal of its own (script(1) makes one).
fn on_a_terminal(sandbox: &Sandbox, words: &str) -> Invocation {
    let line = format!("{} {words}", env!("CARGO_BIN_EXE_raptor"));
    sandbox.program("script").args(["-qec", &line, "/dev/null"])
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_shell_on_a_member_without_sshd() {
    let sandbox = Sandbox::new();
    sandbox.spawn(2);
    for node in ["local-1", "local-2"] {
        // Without a terminal: what is given is what comes out, byte for byte.
        sandbox
            .raptor(["ssh", node, "--", "cat; exit 4"])
            .stdin("a\tb")
            .run()
            .status(4)
            .stdout_is("a\tb");
        sandbox.raptor(["ssh", node, "--", "tty"]).run().status(1).stdout_is("not a tty\n");
        sandbox
            .raptor(["ssh", node])
            .stdin("echo from a shell; exit 3\n")
            .run()
            .status(3)
            .stdout_is("from a shell\n");
        on_a_terminal(&sandbox, &format!("ssh {node} -- tty")).success().stdout_contains("/dev/");
        // A shell that is typed at: its prompt, echo and end go through.
        let typed =
            on_a_terminal(&sandbox, &format!("ssh {node}")).stdin("echo $((6*7)) times; exit 5\n");
        typed.run().status(5).stdout_contains("42 times\r\n");
        sandbox
            .raptor(["ssh", node, "--info-only"])
            .run()
            .status(1)
            .stdout_is("")
            .stderr_contains(&format!("error: no sshd answers on {node}\n"));
    }
    let error = sandbox.raptor(["ssh", "locla-2"]).run().status(1);
    assert_eq!(
        error.stderr,
        "error: no member \"locla-2\"; did you mean \"local-2\"?\n  hint: `raptor members` lists what is there\n"
    );
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn ctrl_c_answers_every_question() {
    const LIMIT: Duration = Duration::from_secs(30);
    let sandbox = Sandbox::new();
    sandbox.spawn(2);
    for words in ["evict local-2", "destroy local-2", "destroy --all"] {
        let (mut running, mut keys) = on_a_terminal(&sandbox, words).start_for_typing();
        wait_until(LIMIT, "the question", || {
            if running.printed("? [y/N] ") { Ok(()) } else { Err("nothing yet") }
        });
        keys.write_all(b"\x03").unwrap();
        running.finish(LIMIT).status(130);
        assert_eq!(sandbox.members().len(), 2, "{words}");
    }
}

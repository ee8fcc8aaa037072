//! Commands, scripts and streams through a real `sshd`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::ssh::error::Cause;
use crate::ssh::host::{Command, Host, Output, Script};
use crate::ssh::openssh::OpenSshHost;
use crate::ssh::testing::{Sshd, eventually};

async fn connected(sshd: &Sshd) -> OpenSshHost {
    OpenSshHost::connect(sshd.target()).await.unwrap()
}

fn runs(pid: &str) -> bool {
    // A zombie that nobody has reaped yet does not run.
    let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    state.is_ok_and(|state| !state.contains(") Z "))
}

#[tokio::test]
async fn arguments_and_input_arrive_as_they_are() {
    let sshd = Sshd::start();
    let host = connected(&sshd).await;
    let mut command = Command::new(["sh", "-c", "cat; printf '[%s]' \"$@\"; echo oops >&2", "sh"]);
    command.argv.extend(["it's", "", "a\nb", "$HOME `x` \\ !", "ü"].map(str::to_owned));
    command.stdin = "two\nlines 'quoted'\n\n".into();
    let output = host.run(command).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "two\nlines 'quoted'\n\n[it's][][a\nb][$HOME `x` \\ !][ü]");
    assert_eq!((output.status, output.stderr), (0, b"oops\n".to_vec()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sessions_that_were_got_ready_do_what_others_do() {
    let sshd = Sshd::start();
    let host = connected(&sshd).await;
    host.get_ready(3);
    let parent = Command::new(["sh", "-c", "echo $PPID"]);
    let text = |output: Output| String::from_utf8(output.stdout).unwrap();
    let mut command = Command::new(["sh", "-c", "cat; printf '[%s]' \"$@\"; exit 3", "sh"]);
    command.argv.extend(["it's", "", "$HOME `x` \\ !", "\"t\""].map(str::to_owned));
    command.stdin = b"input\n".to_vec();
    let output = host.run(command).await.unwrap();
    assert_eq!(output.status, 3);
    assert_eq!(text(output), "input\n[it's][][$HOME `x` \\ !][\"t\"]");
    let words = ["sh", "-c", "read -r x; echo \"$x\""].map(str::to_owned).to_vec();
    let mut stream = host.bridge(words, false).await.unwrap();
    stream.write_all(b"through\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "through\n");
    // One is left, and goes with the host.
    assert_eq!(host.run(parent).await.unwrap().status, 0);
    host.get_ready(2);
    drop(stream);
    drop(host);
    eventually("its ssh ended", || sshd.ssh_processes().is_empty());
}

#[tokio::test]
async fn statuses_and_signals_are_told() {
    let sshd = Sshd::start();
    let host = connected(&sshd).await;
    for (text, status) in [
        ("exit 7", 7),
        ("no-such-program-here", 127),
        ("exit 255", 255),
        ("kill -9 $$", 137),
        ("if", 2),
    ] {
        let output = host.script(Script::new("trying", text)).await.unwrap();
        assert_eq!(output.status, status, "{text}");
    }
    let output = host.run(Command::new(["no-such-program-here"])).await.unwrap();
    assert_eq!(output.status, 127);
    assert!(String::from_utf8_lossy(&output.stderr).contains("not found"));
}

#[tokio::test]
async fn a_script_is_watched_line_by_line_and_has_no_input() {
    let sshd = Sshd::start();
    let host = connected(&sshd).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut script = Script::new("counting", "echo one; cat; echo two");
    let sink = Arc::clone(&seen);
    script.observer = Some(Arc::new(move |line| sink.lock().unwrap().push(line.to_owned())));
    assert_eq!(host.script(script).await.unwrap().status, 0);
    assert_eq!(*seen.lock().unwrap(), ["one", "two"]);
}

#[tokio::test]
async fn more_commands_than_sshd_has_sessions_for_all_run() {
    let sshd = Sshd::start();
    let host = connected(&sshd).await;
    let runs = (0..20).map(|number: u32| host.run(Command::new(["echo", &number.to_string()])));
    for (number, result) in join_all(runs).await.into_iter().enumerate() {
        assert_eq!(result.unwrap().stdout, format!("{number}\n").into_bytes());
    }
}

#[tokio::test]
async fn what_takes_too_long_or_is_dropped_ends_on_the_host() {
    let sshd = Sshd::start();
    let host = connected(&sshd).await;
    let pids = sshd.path("pids");
    let text = format!("sleep 600 & echo $! $$ >{}; wait", pids.display());
    let mut script = Script::new("sleeping", text.clone());
    script.timeout = Duration::from_secs(2);
    let error = host.script(script).await.unwrap_err();
    assert_eq!(error.to_string(), "box: sleeping failed");
    assert_eq!(error.cause.to_string(), "not done within 2 s, and ended");
    let ended = || {
        let text = std::fs::read_to_string(&pids).unwrap_or_default();
        !text.split_whitespace().any(runs)
    };
    eventually("the timed out script ends", ended);

    // On a busy machine it may have been ended before it began.
    let _never_made = std::fs::remove_file(&pids);
    let dropped = host.script(Script::new("sleeping", text));
    let started = async {
        while std::fs::read_to_string(&pids).unwrap_or_default().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = dropped => panic!("it does not end by itself"),
        () = started => {}
    }
    eventually("the dropped script ends", ended);
}

#[tokio::test]
async fn a_flood_of_output_is_cut_off() {
    let sshd = Sshd::start();
    let host = connected(&sshd).await;
    let error = host.run(Command::new(["yes"])).await.unwrap_err();
    assert!(matches!(error.cause, Cause::OutputTooLong { .. }));
}

#[tokio::test]
async fn a_bridge_carries_bytes_both_ways_until_it_is_dropped() {
    let sshd = Sshd::start();
    let host = connected(&sshd).await;
    let argv = ["sh", "-c", "echo $$; exec cat"].map(str::to_owned).to_vec();
    let mut stream = host.bridge(argv, false).await.unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let mut pid = Vec::new();
    while !pid.ends_with(b"\n") {
        pid.push(stream.read_u8().await.unwrap());
    }
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut back = vec![0; bytes.len()];
    let (read, written) = tokio::join!(reader.read_exact(&mut back), writer.write_all(&bytes));
    read.unwrap();
    written.unwrap();
    assert_eq!(back, bytes);
    drop((reader, writer));
    eventually("cat ends", || !runs(&String::from_utf8_lossy(&pid)));
}

#[tokio::test]
async fn a_bridge_tells_the_end_from_a_failure() {
    let sshd = Sshd::start();
    let host = connected(&sshd).await;
    let argv = |text: &str| ["sh", "-c", text].map(str::to_owned).to_vec();
    let mut good = host.bridge(argv("echo done"), false).await.unwrap();
    let mut text = String::new();
    good.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "done\n");
    let mut bad = host.bridge(argv("exit 3"), false).await.unwrap();
    let error = bad.read_to_string(&mut text).await.unwrap_err();
    assert_eq!(error.to_string(), "it ended with status 3");
}

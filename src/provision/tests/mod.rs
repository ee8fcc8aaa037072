//! Provisioning against a recorder, and against a real shell below a folder of its own.

mod modules;
mod pure;
mod world;

use std::fs;
use std::sync::Arc;

use serde_json::json;

use crate::model::progress::{Progress, Silent};
use crate::provision::error::SlaveCause;
use crate::provision::slave::slave;
use crate::ssh::error::Cause;
use crate::ssh::host::{Output, Uploaded};
use crate::ssh::recorder::{Answer, Call, Recorder};

use world::{Cluster, World, fit_answer, step};

fn silent() -> Arc<dyn Progress> {
    Arc::new(Silent)
}

#[tokio::test]
async fn a_bare_machine_becomes_a_member_and_a_second_run_does_nothing_twice() {
    let world = World::new();
    let mut order = world.order();
    order.modules[0].steps =
        vec![step("greet", "cat \"$RAPTOR_MODULE/words\" >>\"$RAPTOR_ROOT/greeting\"")];
    order.modules[0].files = vec![("words".to_owned(), b"hello\0\n".to_vec())];
    let cluster = Cluster::default();
    let first = slave(&world.host, &order, &cluster, &silent()).await.unwrap();
    assert!(first.uploaded);
    assert_eq!(first.applied, ["test/greet"]);
    assert_eq!(fs::read(world.path("greeting")).unwrap(), b"hello\0\n");
    let calls = world.calls();
    assert_eq!(calls[..3], ["init", "adopt", "stop"]);
    assert!(calls.contains(&"supervise".to_owned()));
    let sent = fs::read_to_string(world.path("var/lib/raptor/init.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&sent).unwrap()["name"], "web");
    let adopted = fs::read_to_string(world.path("var/lib/raptor/adopt.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&adopted).unwrap(), json!({"it's": 1}));

    let second = slave(&world.host, &order, &cluster, &silent()).await.unwrap();
    assert!(!second.uploaded && second.applied.is_empty());
    assert_eq!(second.reply, first.reply);
    // The agent that answers is left running.
    assert_eq!(world.calls()[calls.len()..], ["status", "init", "adopt", "status", "status"]);

    order.modules[0].files[0].1 = b"changed\n".to_vec();
    let third = slave(&world.host, &order, &cluster, &silent()).await.unwrap();
    assert_eq!(third.applied, ["test/greet"]);
}

#[tokio::test]
async fn a_failed_step_is_named_and_the_machine_is_as_it_was() {
    let world = World::new();
    let mut order = world.order();
    let mut good = step("good", "touch \"$RAPTOR_ROOT/good\"");
    good.undo = Some("rm \"$RAPTOR_ROOT/good\"".to_owned());
    order.modules[0].steps = vec![good, step("bad", "seq 1 30; echo no luck >&2; exit 7")];
    let error = slave(&world.host, &order, &Cluster::default(), &silent()).await.unwrap_err();
    assert_eq!(error.to_string(), "here: test/bad failed");
    assert_eq!(error.cause.to_string(), "it ended with status 7");
    assert_eq!(error.exit_status, Some(7));
    assert_eq!((error.last_lines.len(), error.last_lines[19].as_str()), (20, "no luck"));
    assert_eq!(error.undone, ["step test/good", "the agent's home", "the command", "the program"]);
    assert_eq!(error.left, ["step test/bad"]);
    assert_eq!(world.traces(), Vec::<String>::new());
    let log = fs::read_to_string(error.log_path.unwrap()).unwrap();
    assert!(log.contains("test/bad") && log.contains("no luck"), "{log}");
}

#[tokio::test]
async fn an_agent_that_does_not_come_up_is_taken_away_and_its_admission_withdrawn() {
    let world = World::new();
    fs::write(world.path("broken"), "").unwrap();
    let cluster = Cluster::default();
    let error = slave(&world.host, &world.order(), &cluster, &silent()).await.unwrap_err();
    assert_eq!(error.step, "waiting for the agent");
    assert!(error.left.is_empty(), "{:?}", error.left);
    assert_eq!(*cluster.withdrawn.lock().unwrap(), 1);
    assert_eq!(world.traces(), Vec::<String>::new());
}

#[tokio::test]
async fn a_failure_leaves_an_agent_that_was_there_alone() {
    let world = World::new();
    let mut order = world.order();
    slave(&world.host, &order, &Cluster::default(), &silent()).await.unwrap();
    let before = world.traces();
    order.modules[0].steps = vec![step("bad", "exit 7")];
    let error = slave(&world.host, &order, &Cluster::default(), &silent()).await.unwrap_err();
    assert_eq!(error.step, "test/bad");
    let mut after = world.traces();
    // It remembers that the step was begun.
    after.retain(|path| path != "var/lib/raptor/steps/test.bad");
    assert_eq!(after, before);
    assert!(world.path("var/lib/raptor/running").exists());
}

#[tokio::test]
async fn a_step_that_hangs_is_ended() {
    let world = World::new();
    let mut order = world.order();
    order.modules[0].steps = vec![step("slow", "sleep 600")];
    order.modules[0].steps[0].timeout = std::time::Duration::from_secs(1);
    let error = slave(&world.host, &order, &Cluster::default(), &silent()).await.unwrap_err();
    assert!(matches!(error.cause, SlaveCause::TimedOut), "{:?}", error.cause);
}

#[tokio::test]
async fn four_sessions_are_enough_and_a_probe_that_fails_touches_nothing() {
    let world = World::new();
    let said = |text: &str| {
        Answer::Output(Output { stdout: text.as_bytes().to_vec(), ..Output::default() })
    };
    let init = format!("@raptor value init {}\n@raptor end\n", world.init_reply());
    let host = Recorder::new(
        "box",
        [
            said(&fit_answer()),
            Answer::Uploaded(Uploaded { skipped: false }),
            said(&init),
            said("@raptor end\n"),
        ],
    );
    slave(&host, &world.order(), &Cluster::default(), &silent()).await.unwrap();
    let calls = host.calls();
    assert!(matches!(&calls[..], [
        Call::Script { name: probing, .. },
        Call::Upload { mode: 0o755, .. },
        Call::Script { .. },
        Call::Script { .. },
    ] if probing == "probing"));

    let unfit = fit_answer().replace("privilege=root", "privilege=none");
    let host = Recorder::new("box", [said(&unfit)]);
    let error = slave(&host, &world.order(), &Cluster::default(), &silent()).await.unwrap_err();
    assert_eq!(error.cause.to_string(), "root is not root and there is no sudo");
    assert_eq!(host.calls().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_put_back_is_named() {
    let world = World::new();
    let answer = Answer::Output(Output { stdout: fit_answer().into_bytes(), ..Output::default() });
    let gone = || Answer::Fails(Cause::Disconnected { detail: "gone".to_owned() });
    let host = Recorder::new("box", [answer, gone(), gone()]);
    let error = slave(&host, &world.order(), &Cluster::default(), &silent()).await.unwrap_err();
    assert_eq!(error.step, "copying raptor");
    assert_eq!(error.left, ["the program"]);
    assert!(error.undone.is_empty());
}

#[tokio::test]
async fn the_headless_module_settles_and_can_be_taken_back() {
    let world = World::new();
    let mut order = world.order();
    let mut own_name =
        step("own-name", include_str!("../../../provisioning/headless/own-name.apply.sh"));
    own_name.check =
        Some(include_str!("../../../provisioning/headless/own-name.check.sh").to_owned());
    own_name.undo =
        Some(include_str!("../../../provisioning/headless/own-name.undo.sh").to_owned());
    fs::create_dir(world.path("etc")).unwrap();
    fs::write(world.path("etc/hosts"), "127.0.0.1\tlocalhost\n").unwrap();
    order.modules[0].steps = vec![own_name.clone(), step("bad", "exit 1")];
    let error = slave(&world.host, &order, &Cluster::default(), &silent()).await.unwrap_err();
    assert_eq!(error.left, ["step test/bad"]);
    let hosts = || fs::read_to_string(world.path("etc/hosts")).unwrap();
    assert_eq!(hosts(), "127.0.0.1\tlocalhost\n");

    order.modules[0].steps = vec![own_name];
    for applied in [1, 0] {
        let done = slave(&world.host, &order, &Cluster::default(), &silent()).await.unwrap();
        assert_eq!(done.applied.len(), applied);
        assert_eq!(hosts().lines().count(), 2);
    }
}

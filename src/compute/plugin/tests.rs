//! Plug-ins that keep the rules, and some that break them, as small shell programs.

use super::*;
use crate::compute::conformance;
use crate::compute::conformance::Terms;
use crate::compute::conformance::fresh_cluster;
use crate::compute::conformance::fresh_spec;
use crate::compute::open_with;
use crate::compute::plugin::wire::Code;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Keeps a file for each machine: the program that the page shows.
fn files_program() -> &'static str {
    let page = include_str!("../../../docs/providers.md");
    let program = page.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next());
    program.expect("docs/providers.md shows a program")
}

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The plug-in whose program is `text`.
    fn plugin(&self, text: &str, settings: Value) -> Plugin {
        let path = self.path("raptor-provider-it");
        // Written elsewhere and moved: a file that is open for writing cannot be run.
        let new = self.path("new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&new, &path).unwrap();
        Plugin::at("mine", serde_json::from_value(settings).unwrap(), &path)
    }

    fn files(&self, change: impl Fn(&str) -> String) -> Plugin {
        let store = self.path("store");
        let _there_already = fs::create_dir(&store);
        self.plugin(&change(files_program()), json!({"settings": {"store": store}}))
    }

    /// One that does this when asked who it is.
    fn says(&self, script: &str, settings: Value) -> Plugin {
        self.plugin(&format!("#!/bin/sh\ncat >/dev/null\n{script}\n"), settings)
    }

    /// The process ids that a plug-in wrote, once there are `count`.
    async fn pids(&self, count: usize) -> Vec<i32> {
        for _ in 0..1000 {
            let text = fs::read_to_string(self.path("pids")).unwrap_or_default();
            let pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
            if pids.len() == count {
                return pids;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it wrote no {count} process ids");
    }
}

async fn wait_until_gone(pids: &[i32]) {
    for _ in 0..1000 {
        let lives = |pid: &&i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        if pids.iter().all(|pid| !lives(&pid)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("of {pids:?} some live on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_plug_in_conforms() {
    let bench = Bench::new();
    let plugin = bench.files(str::to_owned);
    conformance::run(&plugin, Duration::from_millis(20)).await;
    let available = plugin.check().await.unwrap();
    assert_eq!(available.summary, "files 7, a folder");
    assert_eq!(plugin.scope().await.unwrap(), "mine");
    let catalog = plugin.catalog().await.unwrap().unwrap();
    assert_eq!(catalog.sizes.iter().map(|size| size.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_finds_what_a_plug_in_breaks_and_clears_up() {
    for (from, to) in [
        (
            "ln \"$new\" \"$store/$intent\" 2>/dev/null || : somebody was faster",
            "cp \"$new\" \"$store/$intent\"",
        ),
        ("grep -q \"$(field cluster)\"", "grep -q cluster"),
        ("rm -f \"$store/$intent\"", ":"),
        ("get) printf", "get) echo '{\"result\": null}' ;;\nnever) printf"),
        ("\"$(field name)\" >", "other >"),
        ("\"protocols\": [1]", "\"protocols\": [2, 3]"),
    ] {
        let bench = Bench::new();
        let plugin = bench.files(|text| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        let terms = Terms { create_time: Some(Duration::from_millis(20)), ..Terms::default() };
        let findings = conformance::examine(&plugin, terms, |_| {}).await;
        assert!(findings.iter().any(|finding| finding.fault.is_some()), "{to} goes unnoticed");
    }
}

#[tokio::test]
async fn the_cluster_s_secrets_reach_the_plug_in_of_a_compute_type() {
    let bench = Bench::new();
    let heard = bench.path("heard");
    let program = format!("#!/bin/sh\ncat >{}\necho '{{\"result\": null}}'\n", heard.display());
    // Only its file matters: the plug-in is opened as the configuration names it.
    drop(bench.plugin(&program, json!({})));
    let settings = json!({
        "driver": "plugin", "provider": "it", "folder": bench.folder.path(),
        "secrets": {"token": "secret:lab"},
    });
    let secrets: Secrets = Arc::new(|name| match name {
        "lab" => Ok(Zeroizing::new("hunter2".to_owned())),
        _ => Err("there is no such secret".to_owned()),
    });
    let open = |secrets| open_with("mine", &settings, &bench.path("machines"), secrets).unwrap();
    let found = open(secrets).find(IntentId::from_bytes([7; 10])).await.unwrap();
    assert_eq!(found, None);
    let line: Value = serde_json::from_str(&fs::read_to_string(heard).unwrap()).unwrap();
    assert_eq!(line["secrets"], json!({"token": "hunter2"}));
    let error = open(no_secrets()).find(IntentId::from_bytes([7; 10])).await.unwrap_err();
    assert!(error.cause.to_string().contains("secret:lab"), "{}", error.cause);
}

#[tokio::test]
async fn what_breaks_the_protocol_is_told_and_does_not_hang() {
    let bench = Bench::new();
    for (script, why) in [
        ("echo hello; sleep 100", "no JSON object"),
        ("echo '{\"result\": {}}'; echo '{\"result\": {}}'", "more after its answer"),
        ("yes '{\"progress\": \"on\"}'", "more than 10000 steps"),
        ("yes 1 | tr -d '\\n'", "it says more than"),
        ("echo '{\"result\": 3}'", "invalid type"),
    ] {
        let plugin = bench.says(script, json!({}));
        let error = plugin.describe().await.unwrap_err();
        let is_told = matches!(error, Cause::Plugin(PluginCause::Babble { .. }));
        assert!(is_told && error.to_string().contains(why), "{script}: {error}");
    }
    let script = "echo 'no route to the moon' >&2; exit 3";
    let error = bench.says(script, json!({})).describe().await.unwrap_err();
    let told = "`raptor-provider-it describe` ended without an answer (exit status: 3): \
                no route to the moon";
    assert_eq!(error.to_string(), told);
    let failing = bench.says("echo '{\"result\": {}}'; exit 1", json!({}));
    assert!(matches!(
        failing.describe().await.unwrap_err(),
        Cause::Plugin(PluginCause::Silent { .. })
    ));
}

#[tokio::test]
async fn a_background_child_that_holds_the_output_does_not_hold_us() {
    let bench = Bench::new();
    let script = "sleep 30 &\necho $! >\"${0%/*}/pids\"\necho '{\"result\": {\"protocols\": [1]}}'";
    let start = Instant::now();
    bench.says(script, json!({})).describe().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    // What a plug-in left running on purpose goes on: it may be the machine.
    let pid = bench.pids(1).await[0];
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Writes the ids of itself and of a child, neither of which heeds `SIGTERM`, and stays.
const STUBBORN: &str = "trap '' TERM\nsleep 100 &\nprintf '%s\\n' $$ $! >\"${0%/*}/pids\"\nwait";

#[tokio::test]
async fn at_its_deadline_it_is_ended_with_all_that_it_started() {
    let bench = Bench::new();
    let plugin = bench.says(STUBBORN, json!({"timeout_ms": 1000}));
    let error = plugin.describe().await.unwrap_err();
    assert!(matches!(error, Cause::TimedOut { .. }), "{error}");
    assert!(error.to_string().starts_with("`raptor-provider-it describe` took longer than"));
    wait_until_gone(&bench.pids(2).await).await;
}

#[tokio::test]
async fn a_call_that_is_dropped_is_ended_too() {
    let bench = Bench::new();
    let plugin = bench.says(STUBBORN, json!({}));
    let pids = tokio::select! {
        _ = plugin.describe() => panic!("it ended by itself"),
        pids = bench.pids(2) => pids,
    };
    wait_until_gone(&pids).await;
}

#[tokio::test]
async fn secrets_are_on_standard_input_and_nowhere_else() {
    let bench = Bench::new();
    let file = bench.path("token");
    fs::write(&file, "hunter2\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let script = "#!/bin/sh\nread -r line\n\
        case $line in *hunter2*) ;; *) exit 4 ;; esac\n\
        if tr '\\0' '\\n' </proc/$$/cmdline | grep hunter2; then exit 5; fi\n\
        if tr '\\0' '\\n' </proc/$$/environ | grep hunter2; then exit 6; fi\n\
        [ \"${CARGO_MANIFEST_DIR:-}\" ] || exit 7\n\
        [ -z \"${CARGO_PKG_NAME:-}\" ] || exit 8\n\
        echo \"the token hunter2 is wrong\" >&2\n\
        echo '{\"error\": {\"code\": \"auth\", \"message\": \"hunter2 is not accepted\"}}'\n";
    let settings = json!({"secrets": {"token": file}, "environment": ["CARGO_MANIFEST_DIR"]});
    let error = bench.plugin(script, settings).check().await.unwrap_err();
    let told = format!("{error} {} {:?} {}", error.cause, error.cause, error.hint());
    assert!(told.contains("[secret] is not accepted") && !told.contains("hunter2"), "{told}");
    assert!(told.contains("see that its secrets are set"), "{told}");
}

#[tokio::test]
async fn what_may_work_later_is_asked_again_and_a_no_is_a_no() {
    let bench = Bench::new();
    let count = |bench: &Bench| fs::read_to_string(bench.path("calls")).unwrap().lines().count();
    let script = "echo >>\"${0%/*}/calls\"\n\
        if [ \"$(wc -l <\"${0%/*}/calls\")\" -lt 3 ]; then\n\
        echo '{\"error\": {\"code\": \"rate_limited\", \"message\": \"slower\", \
        \"retryable\": true, \"retry_after_ms\": 10}}'\nelse\n\
        echo '{\"result\": {\"protocols\": [1]}}'\nfi";
    bench.says(script, json!({})).describe().await.unwrap();
    assert_eq!(count(&bench), 3);
    let bench = Bench::new();
    let script = "echo >>\"${0%/*}/calls\"\n\
        echo '{\"error\": {\"code\": \"quota\", \"message\": \"ten machines are enough\"}}'";
    let error = bench.says(script, json!({})).describe().await.unwrap_err();
    let Cause::Plugin(PluginCause::Refused { code: Code::Quota, .. }) = &error else {
        panic!("{error}")
    };
    assert_eq!(count(&bench), 1);
    assert_eq!(error.to_string(), "`raptor-provider-it describe` says: ten machines are enough");
}

#[test]
fn what_the_page_shows_is_what_is_said() {
    let page = include_str!("../../../docs/providers.md");
    let blocks = page.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut lines = blocks.skip(1).flat_map(str::lines);
    let asked: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    let question = wire::Question {
        parameters: &asked["parameters"],
        settings: asked["settings"].as_object().unwrap(),
        secrets: [("token", "hunter2")].into(),
        deadline: Duration::from_secs(60),
    };
    let said = wire::request(Verb::Get, question).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&said).unwrap(), asked);
    let mut conversation = wire::Conversation::default();
    let progress = conversation.line(lines.next().unwrap().as_bytes());
    assert_eq!(progress, Ok(Some("copying the disk".to_owned())));
    conversation.line(lines.next().unwrap().as_bytes()).unwrap();
    let told: Told = serde_json::from_value(conversation.end().unwrap().unwrap()).unwrap();
    let machine = told.machine().unwrap();
    assert!(machine.access.is_some() && machine.running);
    let mut refused = wire::Conversation::default();
    refused.line(lines.next().unwrap().as_bytes()).unwrap();
    let refusal = refused.end().unwrap().unwrap_err();
    assert_eq!((refusal.code, refusal.retry_after_ms), (Code::RateLimited, Some(2000)));
    assert_eq!(lines.next(), None);
}

#[tokio::test]
async fn a_machine_of_another_cluster_is_never_given_back() {
    let bench = Bench::new();
    let plugin = bench.files(str::to_owned);
    let spec = fresh_spec("web-1", fresh_cluster());
    let machine = plugin.create(&spec).await.unwrap();
    // Its id is forged: the one that is given back is the one that the plug-in finds.
    let forged = Machine { id: "f-1".to_owned(), ..machine.clone() };
    plugin.destroy(&Machine { cluster: fresh_cluster(), ..machine.clone() }).await.unwrap();
    assert_eq!(plugin.find(spec.intent).await.unwrap(), Some(machine));
    plugin.destroy(&forged).await.unwrap();
    assert_eq!(plugin.find(spec.intent).await.unwrap(), None);
}

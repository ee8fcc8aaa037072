//! The parts that decide.

use crate::provision::check::{Problem, check};
use crate::provision::input::ModuleInput;
use crate::provision::install::release_name;
use crate::provision::layout::Layout;
use crate::provision::many::for_each;
use crate::provision::probe::{Privilege, Probe, parse};
use crate::provision::script::{Composer, parse as parse_report};
use crate::provision::service::{Init, Service, service};
use crate::provision::steps::steps;
use crate::provision::tests::world::{fit_answer, requirements, step};

fn probe(change: impl Fn(String) -> String) -> Probe {
    parse(change(fit_answer()).as_bytes()).unwrap()
}

#[test]
fn a_probe_is_read_past_a_greeting() {
    let probe = probe(|answer| answer);
    assert_eq!((probe.hostname.as_str(), probe.privilege), ("Box.lan", Privilege::Root));
    assert_eq!((probe.init, probe.free_bytes), (Init::Systemd, Some(1_024_000_000)));
    assert!(!probe.home_there && probe.agent.is_none());
    assert!(parse(fit_answer().replace("end=1", "").as_bytes()).is_err());
}

#[test]
fn any_answer_is_read_without_panic() {
    bolero::check!().with_iterations(2000).with_type::<Vec<u8>>().for_each(|bytes| {
        let framed = [b"raptor_probe=1\n", bytes.as_slice(), b"\nend=1\n"].concat();
        let _probe = parse(&framed).map(|probe| check(&probe, &requirements()));
        let _report = parse_report(&[b"@raptor fail ", bytes.as_slice()].concat());
    });
}

#[test]
fn every_reason_against_a_machine_is_found() {
    for (from, to, reason) in [
        ("privilege=root", "privilege=none", "root is not root and there is no sudo"),
        ("privilege=root", "privilege=password", "sudo asks root for a password"),
        ("kernel=Linux", "kernel=Darwin", "Darwin is not supported"),
        ("free_kib=1000000", "free_kib=0", "0 MiB are free, 1 MiB are needed"),
        ("init=systemd", "noexec=1", "programs cannot be run from /usr/local/lib"),
        (
            "init=systemd",
            "agent={\"cluster_id\":\"other\"}",
            "it is a member of another cluster (other)",
        ),
    ] {
        let problems = check(&probe(|answer| answer.replace(from, to)), &requirements());
        let reasons: Vec<String> = problems.unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(reasons, [reason]);
    }
    let mut forced = requirements();
    forced.force = true;
    let other = probe(|answer| answer.replace("init=systemd", "agent={\"cluster_id\":\"other\"}"));
    assert!(check(&other, &forced).is_ok());
}

#[test]
fn clocks_are_warned_of_and_then_refused() {
    let at = |skew: u64| {
        let mut probe = probe(|answer| answer);
        probe.clock_s = Some(requirements().now.as_millis() / 1000 + skew);
        check(&probe, &requirements())
    };
    assert_eq!(at(10), Ok(vec![]));
    assert!(matches!(at(100).unwrap()[..], [Problem::ClockSkew { .. }]));
    assert!(at(400).is_err());
}

#[test]
fn steps_are_for_their_systems_and_stamps_follow_their_content() {
    let mut module = ModuleInput { name: "m".to_owned(), ..ModuleInput::default() };
    module.steps = vec![step("all", "a"), step("deb", "b"), step("alpine", "c")];
    module.steps[1].when = vec!["fedora".to_owned(), "debian".to_owned()];
    module.steps[2].when = vec!["alpine".to_owned()];
    let probe = probe(|answer| answer);
    let before = steps(&[module.clone()], &probe).unwrap();
    let titles: Vec<String> = before.iter().map(super::super::steps::Step::title).collect();
    assert_eq!(titles, ["m/all", "m/deb"]);
    module.steps[0].apply = Some("changed".to_owned());
    let after = steps(&[module.clone()], &probe).unwrap();
    assert_ne!(before[0].stamp, after[0].stamp);
    assert_eq!(before[1].stamp, after[1].stamp);
    module.files.push(("f".to_owned(), b"x".to_vec()));
    assert_ne!(steps(&[module], &probe).unwrap()[1].stamp, after[1].stamp);
}

#[test]
fn files_stay_inside_their_module() {
    for path in ["../up", "/etc/passwd", "a//b", "", "."] {
        let mut module = ModuleInput { name: "m".to_owned(), ..ModuleInput::default() };
        module.steps = vec![step("all", "a")];
        module.files = vec![(path.to_owned(), Vec::new())];
        let steps = steps(&[module.clone()], &probe(|answer| answer)).unwrap();
        let mut composer = Composer::new(&Layout::default());
        assert!(composer.add_steps(&[module], &steps).is_err(), "{path}");
    }
}

#[test]
fn each_init_system_has_its_service() {
    let real = Layout::default();
    let first = |init, layout: &Layout| service(init, layout).files[0].path.clone();
    assert_eq!(first(Init::Systemd, &real), "/etc/systemd/system/raptor.service");
    assert_eq!(first(Init::OpenRc, &real), "/etc/init.d/raptor");
    assert_eq!(first(Init::Runit, &real), "/etc/sv/raptor/run");
    assert_eq!(first(Init::Other, &real), "/usr/local/lib/raptor/boot");
    assert_eq!(first(Init::Systemd, &Layout::below("/x/")), "/x/usr/local/lib/raptor/boot");
}

#[test]
fn what_shells_run_of_a_service_is_sound() {
    let layout = Layout::default();
    for init in [Init::OpenRc, Init::Runit, Init::Other] {
        let Service { files, start, stop, remove } = service(init, &layout);
        let scripts = files.into_iter().map(|file| file.text);
        for script in scripts.filter(|text| text.starts_with("#!")).chain([start, stop, remove]) {
            let mut shell = std::process::Command::new("sh");
            let outcome = shell.args(["-n", "-c", &script]).output().unwrap();
            assert!(outcome.status.success(), "{script}: {outcome:?}");
        }
    }
    let openrc = &service(Init::OpenRc, &layout).files[0];
    assert_eq!(openrc.mode, 0o755);
    // Whom its cluster put out stays out: only raptor's own supervisor knows of that.
    assert!(openrc.text.contains("agent supervise\"\n"), "{}", openrc.text);
    // Not every system has such a service, and `need` would keep the agent from starting.
    assert!(!openrc.text.contains("need"), "{}", openrc.text);
}

#[test]
fn release_names_are_plain() {
    assert_eq!(release_name("0.1.0", "0123456789"), "0.1.0-01234567");
    assert_eq!(release_name("../x", "ab"), ".._x-ab");
}

#[tokio::test]
async fn many_keep_their_order_and_their_bound() {
    let running = std::cell::Cell::new(0);
    let done = for_each(vec![3u32, 1, 2], 2, |number| {
        let running = &running;
        async move {
            running.set(running.get() + 1);
            assert!(running.get() <= 2);
            for _ in 0..number {
                tokio::task::yield_now().await;
            }
            running.set(running.get() - 1);
            number * 10
        }
    })
    .await;
    assert_eq!(done, [30, 10, 20]);
}

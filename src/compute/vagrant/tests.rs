//! Without Vagrant: a shell script in its place. With it: `tests/it/e2e/vagrant.rs`.

use super::*;
use crate::compute::conformance;
use crate::compute::conformance::fresh_cluster;
use crate::compute::conformance::fresh_spec;
use crate::model::machine::Access;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// Does what Vagrant does, with files in the place of machines; one at a time works on a machine.
const SCRIPT: &str = r#"#!/bin/sh
set -eu
case $1 in
--version) echo 'Vagrant 9.9.9' ;;
up)
    grep -q authorized_keys vagrant.json
    mkdir busy 2>/dev/null || {
        echo 'An action was attempted, but another process is already executing an' >&2
        echo 'action on the machine.' >&2
        exit 1
    }
    trap 'rmdir busy' EXIT
    trap 'exit 130' INT
    echo '==> booting'
    tries=0
    while [ -e ../../slow ] && [ $tries -lt 1000 ]; do sleep 0.02; tries=$((tries + 1)); done
    [ ! -e ../../broken ] || { echo 'no hypervisor' >&2; exit 1; }
    mkdir -p .vagrant/machines/it/none
    : >booted
    : >.vagrant/machines/it/none/id
    key=AAAAC3NzaC1lZDI1NTE5AAAAIJ1v0ZZ0S5K3cV0q5yHc0m2Yp0q3V7i3v9V1l2s3t4u5
    echo "    it: raptor-host-key ssh-ed25519 $key"
    ;;
ssh-config)
    [ -e booted ]
    printf 'Host it\n  HostName 127.0.0.1\n  User ann\n  Port %s\n' "$(cat ../../port)"
    ;;
destroy)
    [ ! -e busy ] || { echo 'another process is already executing an action on the machine'; exit 1; }
    [ ! -e ../../broken ] || { echo 'no such provider'; exit 1; }
    rm -rf booted .vagrant
    ;;
esac
"#;

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    /// One whose machines all let in at one port of this computer.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("vagrant-script");
        let new = folder.path().join("new");
        fs::write(&new, SCRIPT).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&new, &script).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        fs::write(folder.path().join("port"), port.to_string()).unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _gone = stream.write_all(b"SSH-2.0-test\r\n").await;
            }
        });
        Self { folder }
    }

    fn vagrant(&self) -> Vagrant {
        let program = self.folder.path().join("vagrant-script");
        let settings = json!({"program": program, "box": "it"});
        let settings: VagrantSettings = serde_json::from_value(settings).unwrap();
        settings.check().unwrap();
        Vagrant::new("vagrant", settings, &self.folder.path().join("vagrant"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn machines(&self) -> usize {
        let entries = fs::read_dir(self.file("vagrant")).into_iter().flatten().flatten();
        entries.filter(|entry| entry.path().is_dir()).count()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms() {
    let bench = Bench::new().await;
    conformance::run(&bench.vagrant(), Duration::from_millis(40)).await;
    assert_eq!(bench.machines(), 0);
    let available = bench.vagrant().check().await.unwrap();
    assert_eq!(available.summary, "Vagrant 9.9.9, provider its own choice");
}

#[tokio::test]
async fn the_host_key_comes_with_the_machine_and_keys_go_as_data() {
    let bench = Bench::new().await;
    let key = "ssh-ed25519 AAAA #{`touch /tmp/x`} \"me\"".to_owned();
    let spec =
        MachineSpec { authorized_keys: vec![key.clone()], ..fresh_spec("web-1", fresh_cluster()) };
    let machine = bench.vagrant().create(&spec).await.unwrap();
    let Some(Access::Ssh { destination, host_keys, .. }) = &machine.access else { panic!() };
    assert_eq!((destination.user.as_deref(), host_keys.len()), (Some("ann"), 1));
    let folder = Path::new(&machine.id);
    let data = fs::read_to_string(folder.join("vagrant.json")).unwrap();
    let data: serde_json::Value = serde_json::from_str(&data).unwrap();
    assert_eq!(data["authorized_keys"], json!([key]));
    let program = fs::read_to_string(folder.join("Vagrantfile")).unwrap();
    assert!(!program.contains("touch"), "{program}");
    let mode = fs::metadata(folder).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
}

#[tokio::test]
async fn what_boots_goes_on_when_nobody_waits_and_is_stopped_when_it_is_given_back() {
    let bench = Bench::new().await;
    fs::write(bench.file("slow"), "").unwrap();
    let vagrant = bench.vagrant();
    let spec = fresh_spec("web-1", fresh_cluster());
    let cut_off = tokio::time::timeout(Duration::from_millis(500), vagrant.create(&spec)).await;
    assert!(cut_off.is_err());
    let found = vagrant.find(spec.intent).await.unwrap().unwrap();
    assert!(!found.running && found.access.is_none(), "{found:?}");
    assert_eq!(vagrant.at_work(spec.intent).len(), 1);
    vagrant.destroy(&found).await.unwrap();
    assert_eq!(vagrant.at_work(spec.intent).len(), 0);
    assert_eq!((vagrant.find(spec.intent).await.unwrap(), bench.machines()), (None, 0));
}

#[tokio::test]
async fn a_machine_that_does_not_boot_is_told_in_vagrants_words_and_stays_findable() {
    let bench = Bench::new().await;
    fs::write(bench.file("broken"), "").unwrap();
    let vagrant = bench.vagrant();
    let spec = fresh_spec("web-1", fresh_cluster());
    let error = vagrant.create(&spec).await.unwrap_err();
    assert_eq!(error.to_string(), "vagrant: machine web-1: could not boot it");
    assert!(
        error.cause.to_string().ends_with("status 1: ==> booting\nno hypervisor"),
        "{}",
        error.cause
    );
    let found = vagrant.find(spec.intent).await.unwrap().unwrap();
    vagrant.destroy(&found).await.unwrap();
    assert_eq!(bench.machines(), 0);
    let missing = VagrantSettings {
        program: "no-such-vagrant".to_owned(),
        box_name: Some("it".to_owned()),
        ..VagrantSettings::default()
    };
    let missing = Vagrant::new("vagrant", missing, &bench.file("vagrant"));
    let error = missing.check().await.unwrap_err();
    assert!(matches!(*error.cause, Cause::ClientMissing { .. }), "{error:?}");
}

//! Machines of libvirt, with a kernel and a processor of their own, and of LXC: by the plug-in that
//! comes with raptor, and by Vagrant.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::text;
use crate::support::hypervisors::Hypervisors;
use crate::support::wait::wait_until;

/// How long one machine may take: its processor is emulated, and others use the one below it.
const MACHINE_LIMIT: Duration = Duration::from_secs(280);
/// How long some twenty boots of a kernel may take.
const SUITE_LIMIT: Duration = Duration::from_secs(560);

/// What the plug-in makes machines of.
fn settings() -> Value {
    json!({
        "image": "/opt/machine/disk.qcow2",
        "type": "qemu",
        "memory_mb": 512,
        "kernel": "/opt/machine/vmlinuz",
        "initrd": "/opt/machine/initrd",
        "command_line": "root=/dev/vda rw quiet mitigations=off",
    })
}

/// A computer with libvirt and the plug-in.
fn with_plug_in() -> Hypervisors {
    let computer = Hypervisors::start();
    computer.start_libvirt();
    let example =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/raptor-provider-libvirt");
    computer.put(&example, "/root/r/providers/raptor-provider-libvirt");
    computer
}

/// Domains, whether they run or not, and what the plug-in keeps of them.
const LEFT_BY_PLUG_IN: &str = "virsh --quiet list --all; ls -A /var/lib/libvirt/raptor";
/// Domains, the disks of machines (the box's own stays for the next), and folders of Vagrant.
const LEFT_BY_LIBVIRT: &str = "virsh --quiet list --all
    virsh --quiet vol-list default | grep -v _vagrant_box_image_ || true
    find /root/r/vagrant -mindepth 1 -type d";
/// Containers, and folders of Vagrant.
const LEFT_BY_LXC: &str = "lxc-ls; find /root/r/vagrant -mindepth 1 -type d";

fn configure(computer: &Hypervisors, compute_type: &str, settings: &Value) {
    let config = json!({
        "version": 1,
        "default_server_type": "bare",
        "server_types": {"bare": {"modules": []}},
        "compute_types": {compute_type: settings},
    });
    computer.put_json(&config, "/root/r/mutable_config.json");
}

/// A machine is made, is alive, works, and is given back: then `left` has nothing to say.
fn lives_and_goes(computer: &Hypervisors, compute_type: &str, left: &str) {
    let spawn = ["spawn", "--compute-type", compute_type];
    computer.raptor(&spawn).limit(MACHINE_LIMIT).success();
    let name = wait_until(MACHINE_LIMIT, "one member alive", || {
        let run = computer.raptor(&["members", "-o", "json"]).run();
        let members: Vec<Value> =
            serde_json::from_str(&run.stdout).map_err(|_| format!("{run:?}"))?;
        match &members[..] {
            [one] if one["status"] == "alive" => Ok(text(&one["name"])),
            _ => Err(format!("{members:?}")),
        }
    });
    assert_eq!(name, format!("{compute_type}-1"));
    let ran = computer.raptor(&["exec", "--", "cat", "/etc/os-release"]).success();
    ran.stdout_contains("Debian GNU/Linux 13");
    // Its host key was told by what made it: nothing is accepted unseen.
    let told = computer.raptor(&["ssh", &name, "--info-only"]).success();
    told.stdout_contains("StrictHostKeyChecking=yes");
    assert_ne!(computer.sh(left), "", "a machine that nobody sees");

    let destroy = ["destroy", &name, "--yes"];
    computer.raptor(&destroy).limit(MACHINE_LIMIT).success();
    assert_eq!(computer.sh(left), "");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn the_libvirt_plug_in_keeps_all_promises() {
    let computer = with_plug_in();
    computer.put_json(&settings(), "/root/settings.json");
    let test = ["provider", "test", "libvirt", "-o", "json", "--settings", "/root/settings.json"];
    let run = computer.raptor(&test).limit(SUITE_LIMIT).run();
    assert!(run.stderr.contains("lets the keys in that it is given: ok\n"), "{run:?}");
    let report = run.success().stdout_json();
    assert_eq!(report["conforms"], true, "{report}");
    assert_eq!(report["findings"].as_array().unwrap().len(), 8, "{report}");
    assert_eq!(computer.sh(LEFT_BY_PLUG_IN), "");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_machine_of_the_libvirt_plug_in_lives_and_goes() {
    let computer = with_plug_in();
    let plugin = json!({"driver": "plugin", "provider": "libvirt", "settings": settings()});
    configure(&computer, "libvirt", &plugin);
    lives_and_goes(&computer, "libvirt", LEFT_BY_PLUG_IN);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_machine_of_vagrant_with_libvirt_lives_and_goes() {
    let computer = Hypervisors::start();
    computer.start_libvirt();
    let vagrant = json!({
        "driver": "vagrant",
        "provider": "libvirt",
        "box": "raptor-test",
        "box_url": "/opt/machine/libvirt.box",
        "memory_mb": 512,
        "provider_settings": {
            "driver": "qemu",
            "cpu_mode": "custom",
            "cpu_model": "qemu64",
            "video_type": "none",
            "graphics_type": "none",
            "kernel": "/opt/machine/vmlinuz",
            "initrd": "/opt/machine/initrd",
            "cmd_line": "root=/dev/vda rw quiet mitigations=off cloud-init=disabled",
        },
    });
    configure(&computer, "vagrant", &vagrant);
    lives_and_goes(&computer, "vagrant", LEFT_BY_LIBVIRT);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_machine_of_vagrant_with_lxc_lives_and_goes() {
    let computer = Hypervisors::start();
    computer.start_lxc();
    let vagrant = json!({
        "driver": "vagrant",
        "provider": "lxc",
        "box": "raptor-test",
        "box_url": "/opt/machine/lxc.box",
    });
    configure(&computer, "vagrant", &vagrant);
    lives_and_goes(&computer, "vagrant", LEFT_BY_LXC);
}

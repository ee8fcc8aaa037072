//! Machines that Vagrant boots, by its provider `docker`: it needs no hypervisor.

use std::fs;

use serde_json::{Value, json};

use super::{WORK_LIMIT, configure, names};
use crate::support::container::NESTING_RIGHTS;
use crate::support::docker::{LABEL, docker, image, run_name, try_docker};
use crate::support::sandbox::Sandbox;
use crate::support::wait::wait_until;

/// A user with a compute type `vagrant`, and the image that its machines boot from.
struct Site {
    // Dropped in this order: the sandbox gives its machines back.
    sandbox: Sandbox,
    image: String,
}

/// sshd, as all that a machine runs.
const PLAIN: &str = "exec /usr/sbin/sshd -D -e";

/// The same, on a machine that containers of its own can be made on.
const NESTING: &str = "for place in /sys/fs/cgroup /sys/fs/cgroup/*; do
        mount -o remount,bind,rw \"$place\" 2>/dev/null || true
    done
    exec /usr/sbin/sshd -D -e";

impl Site {
    fn new() -> Self {
        Self::with(PLAIN, &[])
    }

    /// One whose machines run `boot`, with further `rights`.
    fn with(boot: &str, rights: &[&str]) -> Self {
        let sandbox = Sandbox::new();
        // Vagrant writes its well-known key, with which it enters a new machine, when it first runs.
        sandbox.program("vagrant").args(["global-status"]).limit(WORK_LIMIT).success();
        let key = sandbox.path().join("home/.vagrant.d/insecure_private_key");
        let public = sandbox.program("ssh-keygen").args(["-y", "-f"]).arg(key).success().stdout;
        let dockerfile = format!(
            "FROM {}\nRUN useradd --create-home --shell /bin/bash vagrant \
             && mkdir -p /run/sshd /home/vagrant/.ssh && ssh-keygen -q -A \
             && echo 'vagrant ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/vagrant \
             && echo '{}' >/home/vagrant/.ssh/authorized_keys \
             && chown -R vagrant: /home/vagrant/.ssh && chmod -R go= /home/vagrant/.ssh\n\
             CMD {}\n",
            image(),
            public.trim(),
            json!(["/bin/sh", "-c", boot]),
        );
        let context = sandbox.path().join("image");
        fs::create_dir(&context).unwrap();
        fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        let image = docker(&["build", "--quiet", context.to_str().unwrap()]);
        let site = Self { sandbox, image };
        let label = format!("{LABEL}={}", run_name());
        let mark = site.mark();
        let mut arguments = vec!["--label", &label, "--label", &mark];
        arguments.extend(rights);
        let vagrant = json!({
            "driver": "vagrant",
            "provider": "docker",
            "provider_settings": {
                "image": site.image,
                "has_ssh": true,
                "remains_running": true,
                "create_args": arguments,
            },
        });
        configure(&site.sandbox, &json!({"compute_types": {"vagrant": vagrant}}));
        site.sandbox.destroys_on_drop();
        site
    }

    /// What its containers carry.
    fn mark(&self) -> String {
        format!("vagrant.home={}", self.sandbox.path().display())
    }

    fn containers(&self) -> String {
        docker(&["ps", "--all", "--quiet", "--filter", &format!("label={}", self.mark())])
    }

    /// Folders of machines.
    fn folders(&self) -> usize {
        let entries = fs::read_dir(self.sandbox.home().join("vagrant")).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _given_back =
            self.sandbox.raptor(["destroy", "--all", "--yes"]).limit(WORK_LIMIT).run();
        let _in_use = try_docker(&["rmi", &self.image]);
    }
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn machines_of_vagrant_live_and_go() {
    let site = Site::new();
    let sandbox = &site.sandbox;
    let checked = sandbox.raptor(["compute", "check", "vagrant"]).success();
    checked.stdout_contains("vagrant: Vagrant ").stdout_contains(", provider docker\n");
    let spawn = ["spawn", "--compute-type", "vagrant", "--count", "2"];
    sandbox.raptor(spawn).limit(WORK_LIMIT).success();
    let members = sandbox.wait_for_alive(2);
    assert_eq!(names(&members), ["vagrant-1", "vagrant-2"]);
    assert_eq!((site.containers().lines().count(), site.folders()), (2, 2));
    let ran = sandbox.raptor(["exec", "--", "cat", "/etc/os-release"]).success();
    ran.stdout_contains("2 / 2 node(s) completed / acknowledged\n");
    // A host key of its own, known from birth, though the image gives the same to all.
    let mut keys = Vec::new();
    for name in ["vagrant-1", "vagrant-2"] {
        let told = sandbox.raptor(["ssh", name, "--info-only"]).success();
        told.stdout_contains("StrictHostKeyChecking=yes");
        let read = ["ssh", name, "--", "cat /etc/ssh/ssh_host_ed25519_key.pub"];
        keys.push(sandbox.raptor(read).success().stdout);
    }
    assert_ne!(keys[0], keys[1]);

    sandbox.raptor(["destroy", "vagrant-2", "--yes"]).limit(WORK_LIMIT).success();
    sandbox.wait_for_alive(1);
    assert_eq!((site.containers().lines().count(), site.folders()), (1, 1));
    sandbox.raptor(["destroy", "--all", "--yes"]).limit(WORK_LIMIT).success();
    assert_eq!((site.containers(), site.folders()), (String::new(), 0));
    sandbox.wait_for_silence();
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_machine_of_vagrant_makes_two_of_docker_inside_itself() {
    let site = Site::with(NESTING, &NESTING_RIGHTS);
    let sandbox = &site.sandbox;
    let spawn = ["spawn", "--compute-type", "vagrant", "--server-type", "docker"];
    sandbox.raptor(spawn).limit(WORK_LIMIT).success();
    sandbox.wait_for_alive(1);
    // Its engine gets the tests' image from ours: there is no registry.
    let (outer, image) = (site.containers(), image());
    let load = format!("docker save {image} | docker exec --interactive {outer} docker load");
    sandbox.program("sh").args(["-c", &load]).limit(WORK_LIMIT).success();

    let docker_type = json!({"driver": "docker", "image": image});
    for (path, value) in [
        ("compute_types.docker", docker_type),
        ("server_types.bare", json!({"modules": []})),
        ("default_server_type", json!("bare")),
    ] {
        sandbox.raptor(["config", "set", path, &value.to_string()]).success();
    }
    let rule = ["rule", "add", "three", "--min", "3", "--compute-type", "docker"];
    sandbox.raptor(rule).success();
    let members = wait_until(WORK_LIMIT, "three alive", || {
        let run = sandbox.raptor(["members", "-o", "json"]).run();
        let members: Vec<Value> =
            serde_json::from_str(&run.stdout).map_err(|_| format!("{run:?}"))?;
        let alive = members.iter().filter(|member| member["status"] == "alive").count();
        if alive == 3 { Ok(members) } else { Err(format!("{members:?}")) }
    });
    let mut types: Vec<&str> =
        members.iter().filter_map(|member| member["compute_type"].as_str()).collect();
    types.sort_unstable();
    assert_eq!(types, ["docker", "docker", "vagrant"], "{members:?}");
    let inside = docker(&["exec", &outer, "docker", "ps", "--quiet"]);
    assert_eq!(inside.lines().count(), 2, "{inside}");
    let ran = sandbox.raptor(["exec", "cat /etc/*release"]).success();
    let ran = ran.stdout_contains("3 / 3 node(s) completed / acknowledged\n");
    assert_eq!(ran.stdout.matches("PRETTY_NAME=").count(), 3, "{ran:?}");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn what_vagrant_says_when_it_cannot_is_told_and_nothing_stays() {
    let site = Site::new();
    let sandbox = &site.sandbox;
    let broken = json!({
        "driver": "vagrant",
        "provider": "docker",
        "provider_settings": {"image": "raptor-test-no-such-image:0", "has_ssh": true},
    });
    configure(sandbox, &json!({"compute_types": {"vagrant": broken}}));
    let run = sandbox.raptor(["spawn", "--compute-type", "vagrant"]).limit(WORK_LIMIT).run();
    let run = run.status(1);
    run.stderr_contains("could not boot it").stderr_contains("raptor-test-no-such-image");
    assert_eq!(site.folders(), 0);
    let unknown = json!({"driver": "vagrant", "box": "x", "provider": "no_such_provider"});
    configure(sandbox, &json!({"compute_types": {"vagrant": unknown}}));
    let run = sandbox.raptor(["spawn", "--compute-type", "vagrant"]).limit(WORK_LIMIT).run();
    run.status(1).stderr_contains("no_such_provider");
    assert_eq!(site.folders(), 0);
}

/// The values that `configure` writes are those that a user would: nothing else is needed.
#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_wrong_setting_of_vagrant_is_refused_by_name() {
    let sandbox = Sandbox::new();
    let refused = |settings: Value, expected: &str| {
        configure(&sandbox, &json!({"compute_types": {"vagrant": settings}}));
        let run = sandbox.raptor(["compute", "check", "vagrant"]).run().status(1);
        run.stderr_contains(expected);
    };
    refused(json!({"driver": "vagrant", "boxx": "a"}), "did you mean \"box\"?");
    refused(json!({"driver": "vagrant", "cpus": 2}), "provider: is needed for memory_mb");
}

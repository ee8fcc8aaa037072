//! EC2's back-end against `moto`, which others wrote: what raptor says must be understood there, too.
//! Its machines are on paper, so that nobody can log in to them.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::json;

use crate::support::sandbox::Sandbox;
use crate::support::wait::wait_until;

/// How long `moto` may take to start, and an instance to come and go.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn an_instance_is_made_looked_for_and_terminated_as_moto_understands_it() {
    let sandbox = Sandbox::new();
    let script = "exec moto_server -H 127.0.0.1 -p 0 2>&1";
    let mut server = sandbox.program("/bin/sh").args(["-c", script]).start();
    let mut count = 1;
    let address = wait_until(LIMIT, "an address of moto", || {
        let lines = server.lines(count);
        count += 1;
        let found = lines.iter().find_map(|line| line.split_once("Running on "));
        found.map(|(_, address)| address.trim().to_owned()).ok_or(lines.join("\n"))
    });
    let token = sandbox.path().join("token");
    std::fs::write(&token, "AKIDEXAMPLE wJalrXUtnFEMI\n").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let config = json!({
        "version": 1,
        "default_server_type": "bare",
        "server_types": {"bare": {"modules": []}},
        // Nothing is sent to the addresses that moto invents.
        "ssh": {"options": {"ProxyCommand": "false"}},
        "compute_types": {"ec2": {
            "driver": "ec2", "api": address, "token_file": token, "region": "eu-central-1",
            "size": "t3.micro", "image": "ami-12c6146b", "boot_timeout_ms": 1500,
        }},
    });
    std::fs::write(sandbox.home().join("mutable_config.json"), config.to_string()).unwrap();
    let checked = sandbox.raptor(["compute", "check", "ec2"]).limit(LIMIT).success();
    checked.stdout_contains("ec2: EC2 in eu-central-1");
    let catalog = sandbox.raptor(["compute", "catalog", "ec2"]).limit(LIMIT).success();
    catalog.stdout_contains("t3.micro").stdout_contains("eu-central-1");
    let run = sandbox.raptor(["spawn", "--compute-type", "ec2"]).limit(LIMIT).run().status(1);
    run.stderr_contains("ec2-1: log in").stderr_contains("undone: the machine was destroyed\n");
}

//! Clusters of real agents, one in each namespace.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::world::{Running, inside, shell};

/// The program that is measured: the one built beside this, unless `RAPTOR_BINARY` names another.
fn binary() -> String {
    std::env::var("RAPTOR_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_raptor").to_owned())
}

/// Set for agents that are to use the cipher of machines without AES instructions.
const PORTABLE: &str = "RAPTOR_BENCH_PORTABLE_CIPHER";

/// One member.
pub struct Member {
    namespace: &'static str,
    home: PathBuf,
    /// Its address in the mesh.
    pub address: String,
    _agent: Running,
}

impl Member {
    fn ask(&self, words: &[&str]) -> String {
        let output = raptor(self.namespace, &self.home).args(words).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {told}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn raptor(namespace: &str, home: &Path) -> Command {
    let mut command = inside(namespace, &binary());
    command.arg("--home").arg(home);
    command
}

/// A cluster with an agent in each of `namespaces`; each has entered through the one before.
/// `interface` names their devices.
pub fn cluster(
    folder: &Path,
    namespaces: &[&'static str],
    interface: &str,
    is_portable: bool,
) -> Vec<Member> {
    let mut members: Vec<Member> = Vec::new();
    for namespace in namespaces {
        let home = folder.join(format!("{interface}-{namespace}"));
        fs::create_dir_all(&home).unwrap();
        let config = serde_json::json!({
            "mesh": {"listen": "[::]:0", "interface": {"name": interface, "enabled": "on"}}
        });
        fs::write(home.join("mutable_config.json"), config.to_string()).unwrap();
        let first = members.is_empty();
        let mut request = serde_json::json!({
            "name": namespace, "compute_type": "bench", "server_type": "headless"
        });
        if first {
            request["found"] = serde_json::json!({"cluster": "bench", "nonce": 1});
        }
        let reply = told(raptor(namespace, &home).args(["agent", "init"]), &request.to_string());
        let reply: Value = serde_json::from_str(&reply).unwrap();
        if let Some(before) = members.last() {
            let ticket = before.ask(&["ticket", "create"]);
            told(raptor(namespace, &home).args(["join", "-"]), &ticket);
            raptor(namespace, &home).args(["agent", "stop"]).output().unwrap();
        }
        let mut command = raptor(namespace, &home);
        command.args(["agent", "run"]);
        if is_portable {
            command.env(PORTABLE, "1");
        }
        let agent = Running::start_logged(&mut command, &home.join("log"));
        let socket = home.join("agent/agent.sock");
        crate::world::until("an agent", || socket.exists());
        let address = reply["address"].as_str().unwrap().to_owned();
        members.push(Member { namespace, home, address, _agent: agent });
    }
    members
}

/// Runs a command with this input; its output.
fn told(command: &mut Command, input: &str) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Ends what the joining left behind in the namespaces of this run.
pub fn sweep(namespaces: &[&str]) {
    for namespace in namespaces {
        shell(&format!("ip netns pids {namespace} | xargs -r kill -9 2>/dev/null; true"));
    }
}

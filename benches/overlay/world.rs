//! Three computers in a row, each a network namespace: `a` - `b` - `c`, joined by veth pairs of
//! MTU 1,500. `a` and `c` have no way to each other but through what is measured.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// Runs a shell line in this namespace; ends the measurement when it fails.
pub fn shell(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {told}{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A command that runs in namespace `name`.
pub fn inside(name: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", name, program]);
    command
}

/// Runs a shell line in namespace `name`.
pub fn shell_in(name: &str, line: &str) -> String {
    let output = inside(name, "sh").args(["-c", line]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {line}: {told}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Makes the namespaces and the cables.
pub fn build() {
    shell(
        "mount -t tmpfs none /run/netns 2>/dev/null || { mkdir -p /run/netns; mount -t tmpfs none /run/netns; }",
    );
    shell("ip link set lo up");
    for name in ["a", "b", "c"] {
        shell(&format!("ip netns add {name} && ip -n {name} link set lo up"));
    }
    cable(("a", "10.81.0.1"), ("b", "10.81.0.2"));
    cable(("b", "10.82.0.1"), ("c", "10.82.0.2"));
}

fn cable(left: (&str, &str), right: (&str, &str)) {
    let ends = (format!("to-{}", right.0), format!("to-{}", left.0));
    shell(&format!(
        "ip link add {} netns {} type veth peer name {} netns {}",
        ends.0, left.0, ends.1, right.0
    ));
    for ((name, address), end) in [(left, &ends.0), (right, &ends.1)] {
        shell(&format!("ip -n {name} address add {address}/24 dev {end}"));
        shell(&format!("ip -n {name} link set {end} up"));
    }
}

/// A program that runs until dropped.
pub struct Running {
    child: Child,
    _input: Option<ChildStdin>,
}

impl Running {
    /// Starts it and does not wait.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        Self { child, _input: input }
    }

    /// Starts it; what it says goes into a file.
    pub fn start_logged(command: &mut Command, log: &std::path::Path) -> Self {
        let file = std::fs::File::create(log).unwrap();
        let copy = file.try_clone().unwrap();
        let mut child = command.stdin(Stdio::piped()).stdout(file).stderr(copy).spawn().unwrap();
        let input = child.stdin.take();
        Self { child, _input: input }
    }

    /// Starts it and waits for the line `ready`.
    pub fn start_ready(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        let line = BufReader::new(output).lines().next();
        assert!(line.is_some_and(|line| line.unwrap() == "ready"), "{command:?} did not start");
        Self { child, _input: input }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks until `look` holds.
pub fn until(what: &str, mut look: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !look() {
        assert!(begun.elapsed() < Duration::from_secs(40), "not within 40 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until `destination` answers a ping from namespace `name`.
pub fn wait_for(name: &str, destination: &str) {
    let begun = Instant::now();
    loop {
        let ping = inside(name, "ping")
            .args(["-c1", "-W1", "-i0.2", destination])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        if ping.success() {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(40), "{destination} does not answer {name}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

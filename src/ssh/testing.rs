//! A real `sshd` on loopback for this room's tests.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::ssh::target::SshTarget;

const SSHD: &str = "/usr/sbin/sshd";

/// A running `sshd` with a host key and an accepted client key of its own.
pub(crate) struct Sshd {
    folder: TempDir,
    port: u16,
    child: Child,
}

impl Sshd {
    pub(crate) fn start() -> Self {
        assert!(Path::new(SSHD).exists(), "{SSHD} is missing: install openssh-server");
        let folder = tempfile::Builder::new().prefix("sshd").tempdir().unwrap();
        make_key(&folder.path().join("host"));
        make_key(&folder.path().join("client"));
        // sshd refuses to run without it, and only its package's start script makes it.
        let _there_or_not_root = fs::create_dir_all("/run/sshd");
        for _attempt in 0..10 {
            let port = free_port();
            if let Some(child) = launch(folder.path(), port) {
                return Self { folder, port, child };
            }
        }
        panic!("sshd does not start: {}", fs::read_to_string(folder.path().join("log")).unwrap());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn key_name(&self) -> String {
        format!("[127.0.0.1]:{}", self.port)
    }

    pub(crate) fn host_key(&self) -> String {
        let text = fs::read_to_string(self.path("host.pub")).unwrap();
        text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }

    /// The way in, with nothing of the tester's own `ssh_config`.
    pub(crate) fn target(&self) -> SshTarget {
        let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
        let text = format!("{user}@127.0.0.1:{}", self.port);
        let mut target = SshTarget::new(text.parse().unwrap(), self.path("known_hosts"));
        target.name = "box".to_owned();
        target.config_file = Some(self.path("ssh_config"));
        target.identity_file = Some(self.path("client"));
        target
    }

    /// Processes (other than `sshd`) whose command line names this server's folder.
    pub(crate) fn ssh_processes(&self) -> Vec<String> {
        let folder = self.folder.path().to_str().unwrap().to_owned();
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
            .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
            .filter(|line| line.contains(&folder) && line.starts_with("ssh "))
            .collect()
    }

    /// Ends the connections of clients, and leaves the server.
    pub(crate) fn cut_connections(&self) {
        let parent = self.child.id().to_string();
        Command::new("pkill").args(["-9", "-P", &parent]).status().unwrap();
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Waits until `done` says so, and fails the test when it never does.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "never happened: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn make_key(path: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(path)
        .status()
        .expect("ssh-keygen is missing: install openssh-client");
    assert!(made.success());
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn launch(folder: &Path, port: u16) -> Option<Child> {
    let place = folder.display();
    let configuration = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {place}/host\nPidFile none\nStrictModes no\n\
         AuthorizedKeysFile {place}/client.pub\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nPermitRootLogin yes\nUsePAM no\nMaxStartups 100\n"
    );
    fs::write(folder.join("sshd_config"), configuration).unwrap();
    fs::write(folder.join("ssh_config"), "").unwrap();
    #[expect(clippy::zombie_processes, reason = "`Sshd` waits for it when it is dropped")]
    let mut child = Command::new(SSHD)
        .args(["-D", "-e", "-f"])
        .arg(folder.join("sshd_config"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut log = String::new();
    loop {
        let before = log.len();
        if lines.read_line(&mut log).unwrap() == 0 {
            fs::write(folder.join("log"), log).unwrap();
            let _reaped = child.wait();
            return None;
        }
        if log[before..].contains("Server listening") {
            // Somebody must read on, or sshd would wait for room in the pipe.
            thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
            return Some(child);
        }
    }
}

//! A real sshd on this computer's loopback, on a port that was free.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::keys::KeyPair;
use super::process;
use super::wait::try_wait_until;

/// Someone else may take a port between our look and sshd's bind: so many looks are enough.
const PORT_TRIES: usize = 5;

/// A running sshd that lets in whoever runs the tests, by one key. Dropped, it ends with all its
/// sessions.
pub struct Sshd {
    folder: TempDir,
    child: Child,
    /// The key that opens it.
    pub client_key: KeyPair,
    /// The key by which it is known.
    pub host_key: KeyPair,
    /// Where it listens.
    pub address: SocketAddr,
    /// The login name that it lets in.
    pub user: String,
    extra: String,
}

impl Sshd {
    /// Starts one.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with further lines for its `sshd_config`.
    pub fn start_with(extra: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("rtsshd").tempdir_in("/tmp").unwrap();
        let client_key = KeyPair::create(folder.path(), "client");
        let host_key = KeyPair::create(folder.path(), "host");
        fs::write(folder.path().join("authorized_keys"), format!("{}\n", client_key.public))
            .unwrap();
        let extra = extra.join("\n");
        for _ in 0..PORT_TRIES {
            let address = free_address();
            if let Ok(child) = listen(folder.path(), address, &extra) {
                let user = login_name();
                return Self { folder, child, client_key, host_key, address, user, extra };
            }
        }
        panic!("sshd does not listen: {}", log(folder.path()));
    }

    /// `USER@127.0.0.1:PORT`.
    pub fn destination(&self) -> String {
        format!("{}@{}", self.user, self.address)
    }

    /// The file of the secret key that opens it.
    pub fn identity_file(&self) -> &Path {
        &self.client_key.secret
    }

    /// What it logged.
    pub fn log(&self) -> String {
        log(self.folder.path())
    }

    /// Comes back at the same address under another host key, as an impostor would.
    pub fn change_host_key(&mut self) {
        self.end();
        self.host_key = KeyPair::create(self.folder.path(), "host");
        self.child = listen(self.folder.path(), self.address, &self.extra)
            .unwrap_or_else(|why| panic!("sshd does not listen again: {why}"));
    }

    /// Lets nobody in from here on.
    pub fn forget_client_key(&self) {
        fs::write(self.folder.path().join("authorized_keys"), "").unwrap();
    }

    fn end(&mut self) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // Sessions first: they are known as its children only while it lives.
        let sessions = process::descendants(pid);
        let _already_gone = self.child.kill();
        let _already_waited_for = self.child.wait();
        sessions.iter().for_each(process::Process::kill);
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.end();
    }
}

/// An address of loopback where nobody listens.
pub fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

fn login_name() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("sshd.log")).unwrap_or_default()
}

fn program() -> PathBuf {
    ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .expect("sshd is missing: run ./runtests.sh, which installs openssh-server")
}

/// Starts sshd and waits until it answers; the error is its log.
fn listen(folder: &Path, address: SocketAddr, extra: &str) -> Result<Child, String> {
    // Its privilege separation asks for this folder, which only the package's service makes.
    let _exists_or_not_root = fs::create_dir("/run/sshd");
    let mut config = String::new();
    let lines = [
        format!("ListenAddress {address}"),
        format!("HostKey {}", folder.join("host").display()),
        format!("AuthorizedKeysFile {}", folder.join("authorized_keys").display()),
        format!("PidFile {}", folder.join("sshd.pid").display()),
        "StrictModes no".to_owned(),
        "UsePAM no".to_owned(),
        "PasswordAuthentication no".to_owned(),
        "KbdInteractiveAuthentication no".to_owned(),
        "PermitRootLogin prohibit-password".to_owned(),
        "MaxStartups 100".to_owned(),
        extra.to_owned(),
    ];
    for line in lines {
        writeln!(config, "{line}").unwrap();
    }
    fs::write(folder.join("sshd_config"), config).unwrap();
    // A line of an earlier start would be taken for this one's.
    let _absent = fs::remove_file(folder.join("sshd.log"));
    let mut child = Command::new(program())
        .arg("-D")
        .arg("-f")
        .arg(folder.join("sshd_config"))
        .arg("-E")
        .arg(folder.join("sshd.log"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ours = format!("Server listening on {}", address.ip());
    let ready = try_wait_until(Duration::from_secs(20), || {
        let ended = child.try_wait().unwrap().is_some();
        let answers = !ended && log(folder).contains(&ours) && TcpStream::connect(address).is_ok();
        match (answers, ended) {
            (true, _) => Ok(Ok(())),
            (false, true) => Ok(Err(log(folder))),
            (false, false) => Err(log(folder)),
        }
    });
    match ready {
        Ok(Ok(())) => Ok(child),
        Ok(Err(why)) | Err(why) => {
            let _already_gone = child.kill();
            let _already_waited_for = child.wait();
            Err(why)
        }
    }
}

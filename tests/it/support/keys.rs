//! SSH keys, made by `ssh-keygen`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A key pair in a folder of the test's.
#[derive(Debug, Clone)]
pub struct KeyPair {
    /// The file of the secret half.
    pub secret: PathBuf,
    /// `TYPE BASE64`, without a comment.
    pub public: String,
}

impl KeyPair {
    /// Makes an Ed25519 pair at `folder/name`, in place of one that is there.
    pub fn create(folder: &Path, name: &str) -> Self {
        let secret = folder.join(name);
        let public_file = folder.join(format!("{name}.pub"));
        for file in [&secret, &public_file] {
            let _absent = fs::remove_file(file);
        }
        let output = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
            .arg(&secret)
            .output()
            .expect("ssh-keygen is missing: run ./runtests.sh, which installs openssh-client");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = fs::read_to_string(public_file).unwrap();
        Self { secret, public: text.trim().to_owned() }
    }
}

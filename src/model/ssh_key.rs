//! SSH key pairs that follow from a seed: a machine's first host key, made before the machine so that
//! its first connection can be strict, and the cluster's own.
//!
//! The format is OpenSSH's `PROTOCOL.key` (openssh-key-v1), unencrypted.

use data_encoding::BASE64;
use ed25519_dalek::SigningKey;
use zeroize::Zeroizing;

const KIND: &[u8] = b"ssh-ed25519";

/// Characters in one line of the secret key's file.
const LINE_WIDTH: usize = 70;

/// A key pair of type `ssh-ed25519`.
pub struct SshKey {
    /// The 32 bytes of the public key.
    pub public: [u8; 32],
    /// The text of the secret key's file.
    pub secret_file: Zeroizing<String>,
}

impl SshKey {
    /// The key pair that follows from 32 random bytes.
    #[must_use]
    pub fn from_seed(seed: &Zeroizing<[u8; 32]>) -> Self {
        let signing = SigningKey::from_bytes(seed);
        let public = signing.verifying_key().to_bytes();
        let mut pair = Zeroizing::new(seed.to_vec());
        pair.extend_from_slice(&public);
        let mut secret = Zeroizing::new(Vec::with_capacity(160));
        // Two equal numbers tell whoever decrypts that the passphrase was right: here there is none.
        secret.extend_from_slice(&[0; 8]);
        for part in [KIND, &public, &pair, b"raptor"] {
            append(&mut secret, part);
        }
        for pad in 1_u8..=7 {
            if secret.len() % 8 == 0 {
                break;
            }
            secret.push(pad);
        }
        let mut file = Zeroizing::new(b"openssh-key-v1\0".to_vec());
        for part in [b"none".as_slice(), b"none", b""] {
            append(&mut file, part);
        }
        file.extend_from_slice(&1_u32.to_be_bytes());
        append(&mut file, &public_blob(&public));
        append(&mut file, &secret);
        let encoded = Zeroizing::new(BASE64.encode(&file));
        let mut text = Zeroizing::new(String::with_capacity(encoded.len() + 120));
        text.push_str("-----BEGIN OPENSSH PRIVATE KEY-----\n");
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(LINE_WIDTH));
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str("-----END OPENSSH PRIVATE KEY-----\n");
        Self { public, secret_file: text }
    }

    /// `ssh-ed25519 BASE64`.
    #[must_use]
    pub fn public_line(&self) -> String {
        public_line(&self.public)
    }
}

/// `ssh-ed25519 BASE64`, as it stands in `known_hosts`.
#[must_use]
pub fn public_line(public: &[u8; 32]) -> String {
    format!("ssh-ed25519 {}", BASE64.encode(&public_blob(public)))
}

fn public_blob(public: &[u8; 32]) -> Vec<u8> {
    let mut blob = Vec::with_capacity(51);
    append(&mut blob, KIND);
    append(&mut blob, public);
    blob
}

/// Appends a length (32 bits, big-endian) and the bytes: RFC 4251, section 5.
fn append(buffer: &mut Vec<u8>, bytes: &[u8]) {
    // All that is appended here is shorter than 1 KiB.
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    buffer.extend_from_slice(&length.to_be_bytes());
    buffer.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    /// The judge is OpenSSH itself.
    #[test]
    fn openssh_reads_the_secret_key_and_finds_the_public_one() {
        for byte in [0, 7, 255] {
            let key = SshKey::from_seed(&Zeroizing::new([byte; 32]));
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("key");
            fs::write(&file, key.secret_file.as_bytes()).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            let output = Command::new("ssh-keygen").args(["-y", "-f"]).arg(&file).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(said.trim(), format!("{} raptor", public_line(&key.public)), "{output:?}");
        }
    }
}

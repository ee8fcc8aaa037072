//! Host keys as machines and programs tell them.

use data_encoding::BASE64;

/// The most host keys that a machine is believed to have.
const HOST_KEYS_MAX: usize = 8;

/// The `TYPE BASE64` of each line that is a public key: they will stand in a `known_hosts` file, so
/// nothing else gets through.
pub(super) fn parse(text: &str) -> Vec<String> {
    let sound = |kind: &str, key: &str| {
        kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-@.".contains(&byte))
            && key.len() >= 32
            && BASE64.decode(key.as_bytes()).is_ok()
    };
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let (kind, key) = (words.next()?, words.next()?);
            sound(kind, key).then(|| format!("{kind} {key}"))
        })
        .take(HOST_KEYS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1v0ZZ0S5K3cV0q5yHc0m2Yp0q3V7i3v9V1l2s3t4u5";

    #[test]
    fn only_public_keys_get_through() {
        let text = format!("{KEY} root@x\n\n@cert-authority * {KEY}\nssh-rsa short\n* {KEY}\n");
        assert_eq!(parse(&text), [KEY]);
        assert_eq!(parse(&format!("{KEY}\n").repeat(100)).len(), HOST_KEYS_MAX);
    }
}

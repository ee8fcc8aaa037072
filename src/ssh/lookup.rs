//! The host keys that ssh knows of a host, whatever name and file its configuration leads to.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use crate::ssh::known_hosts::KnownHosts;
use crate::ssh::target::SshTarget;

/// Keys of one host that are kept: a host has one of each type.
const KEYS_MAX: usize = 16;

/// Where ssh looks besides raptor's own file: `UserKnownHostsFile` and `GlobalKnownHostsFile` of
/// `ssh_config(5)` as they are when nobody says otherwise.
const USERS_FILES: [&str; 2] = [".ssh/known_hosts", ".ssh/known_hosts2"];
const GLOBAL_FILES: [&str; 2] = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"];

/// The keys (`TYPE BASE64`) of a host to which a connection stands; empty where ssh knows it by an
/// authority, or cannot be asked.
pub(crate) async fn lookup(target: &SshTarget) -> Vec<String> {
    let name = match &target.host_key_alias {
        Some(alias) => alias.clone(),
        None => configured_name(target).await.unwrap_or_else(|| target.key_name()),
    };
    // In raptor's own file no name is hashed. ssh notes a host's in small letters.
    let own = KnownHosts::new(&target.known_hosts);
    let mut keys = own.keys(&name).unwrap_or_default();
    if keys.is_empty() {
        keys = own.keys(&name.to_ascii_lowercase()).unwrap_or_default();
    }
    keys.truncate(KEYS_MAX);
    for file in files() {
        // ssh-keygen finds hashed names, too.
        let answer = output(Command::new("ssh-keygen").args(["-F", &name, "-f"]).arg(&file)).await;
        for key in answer.iter().flat_map(|answer| answer.lines()).filter_map(key_of) {
            if !keys.contains(&key) && keys.len() < KEYS_MAX {
                keys.push(key);
            }
        }
    }
    keys
}

/// The name under which ssh looks the key up: `ssh_config` may lead elsewhere.
async fn configured_name(target: &SshTarget) -> Option<String> {
    let answer = output(Command::new("ssh").args(target.query_arguments())).await?;
    name_in(&answer)
}

fn name_in(answer: &str) -> Option<String> {
    let value = |key: &str| {
        let mut lines = answer.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(word, _)| *word == key).map(|(_, value)| value.trim().to_owned())
    };
    let host = value("hostkeyalias").or_else(|| value("hostname"))?;
    let is_alias = value("hostkeyalias").is_some();
    match value("port") {
        Some(port) if port != "22" && !is_alias => Some(format!("[{host}]:{port}")),
        _ => Some(host),
    }
}

fn files() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let users = home.into_iter().flat_map(|home| USERS_FILES.map(|file| home.join(file)));
    users.chain(GLOBAL_FILES.map(PathBuf::from)).filter(|file| file.is_file()).collect()
}

/// The key of a line `NAMES TYPE BASE64`; none of a remark, nor of a line about an authority.
fn key_of(line: &str) -> Option<String> {
    let mut fields = line.split_whitespace();
    fields.next().filter(|names| !names.starts_with(['#', '@']))?;
    Some(format!("{} {}", fields.next()?, fields.next()?))
}

async fn output(command: &mut Command) -> Option<String> {
    let command = command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_follows_the_configuration() {
        let direct = "user me\nhostname 10.0.0.1\nport 22\n";
        assert_eq!(name_in(direct).unwrap(), "10.0.0.1");
        assert_eq!(name_in("hostname box\nport 2222\n").unwrap(), "[box]:2222");
        let alias = "hostname box\nport 2222\nhostkeyalias web\n";
        assert_eq!(name_in(alias).unwrap(), "web");
        assert_eq!(name_in("nonsense"), None);
    }

    #[test]
    fn authorities_and_remarks_are_no_keys() {
        assert_eq!(key_of("box ssh-ed25519 AAAA me@here").unwrap(), "ssh-ed25519 AAAA");
        assert_eq!(key_of("|1|salt|hash ssh-rsa BBBB").unwrap(), "ssh-rsa BBBB");
        for line in
            ["# Host box found: line 1", "@cert-authority * ssh-rsa C", "@revoked b t k", ""]
        {
            assert_eq!(key_of(line), None, "{line}");
        }
    }
}

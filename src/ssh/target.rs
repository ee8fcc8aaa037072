//! Where and how to connect, and the `ssh` command line that follows from it. Pure.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::model::destination::Destination;
use crate::ssh::quote::quote_all;
use crate::ssh::secret_file::SecretFile;
use crate::ssh::sudo::SudoPassword;

/// How long a connection may take to stand when nobody says.
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);

/// A host to connect to. The user's `ssh_config`, agent and keys hold besides.
#[derive(Debug, Clone)]
pub struct SshTarget {
    /// What the user calls the machine; in every message.
    pub name: String,
    /// Login, host and port.
    pub destination: Destination,
    /// Machines to go through, the first one first.
    pub via: Vec<Destination>,
    /// The secret key to offer.
    pub identity_file: Option<PathBuf>,
    /// A further one, which is on no disk.
    pub secret_key: Option<Arc<SecretFile>>,
    /// Read in place of the user's `ssh_config` (`-F`).
    pub config_file: Option<PathBuf>,
    /// Further options, each as `-o` takes it.
    pub options: Vec<String>,
    /// raptor's own file of known host keys.
    pub known_hosts: PathBuf,
    /// The name under which the host's key is known, so that two machines that had one address
    /// one after the other are not taken for each other.
    pub host_key_alias: Option<String>,
    /// Keys (`TYPE BASE64`) known beforehand: when there are any, no other is accepted.
    pub host_keys: Vec<String>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// What sudo is told when it asks.
    pub sudo_password: Option<SudoPassword>,
}

impl SshTarget {
    /// A target that leaves everything else to the user's configuration.
    #[must_use]
    pub fn new(destination: Destination, known_hosts: PathBuf) -> Self {
        Self {
            name: destination.to_string(),
            destination,
            via: Vec::new(),
            identity_file: None,
            secret_key: None,
            config_file: None,
            options: Vec::new(),
            known_hosts,
            host_key_alias: None,
            host_keys: Vec::new(),
            connect_timeout: CONNECT_TIMEOUT_DEFAULT,
            sudo_password: None,
        }
    }

    /// The name under which the host's key stands in a known-hosts file.
    #[must_use]
    pub fn key_name(&self) -> String {
        let host = &self.destination.host;
        match (&self.host_key_alias, self.destination.port) {
            (Some(alias), _) => alias.clone(),
            (None, Some(port)) if port != 22 => format!("[{host}]:{port}"),
            (None, _) => host.clone(),
        }
    }

    /// Arguments of the `ssh` that holds the connection and serves sessions on `socket`.
    #[must_use]
    pub fn master_arguments(&self, socket: &Path) -> Vec<OsString> {
        let mut arguments = vec!["-M".into(), "-N".into(), "-T".into(), "-S".into()];
        // In a path of a socket, ssh expands percent signs.
        arguments.push(OsString::from(escape_percent(&socket.to_string_lossy())));
        let mut options = self.common_options(&self.host_keys);
        options.extend(
            ["ControlPersist=no", "ClearAllForwardings=yes", "RemoteCommand=none"]
                .map(str::to_owned),
        );
        options.extend(self.own_options());
        // The first value ssh sees for an option holds: what keeps the connection safe and free of
        // questions comes before the caller's options, and all of it before the user's files.
        let mut words = self.file_arguments();
        words.extend(as_arguments(&options));
        words.extend(destination_arguments(&self.destination));
        arguments.extend(words.into_iter().map(OsString::from));
        arguments
    }

    /// Arguments with which `ssh` tells what its configuration makes of this target.
    #[must_use]
    pub(crate) fn query_arguments(&self) -> Vec<String> {
        let mut words = vec!["-G".to_owned()];
        words.extend(self.file_arguments());
        words.extend(as_arguments(&self.options));
        words.extend(destination_arguments(&self.destination));
        words
    }

    /// What `raptor ssh` hands to the user's terminal: the same way in, without a master.
    #[must_use]
    pub fn interactive_arguments(&self) -> Vec<String> {
        let mut options = vec![
            known_hosts_option(&self.known_hosts, self.host_keys.is_empty()),
            strictness(&self.host_keys),
            "ForwardAgent=no".to_owned(),
        ];
        options.extend(self.own_options());
        let mut words = self.file_arguments();
        words.extend(as_arguments(&options));
        words.extend(destination_arguments(&self.destination));
        words
    }

    /// Options that are this target's own affair, and not those of the hosts on the way.
    fn own_options(&self) -> Vec<String> {
        let alias = self.host_key_alias.as_ref().map(|alias| format!("HostKeyAlias={alias}"));
        let only = self.identity_file.as_ref().map(|_| "IdentitiesOnly=yes".to_owned());
        let proxy = self.proxy_command(&self.via).map(|proxy| format!("ProxyCommand={proxy}"));
        [alias, only, proxy].into_iter().flatten().collect()
    }

    fn file_arguments(&self) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(file) = &self.config_file {
            words.extend(["-F".to_owned(), file.display().to_string()]);
        }
        if let Some(file) = &self.identity_file {
            words.extend(["-i".to_owned(), file.display().to_string()]);
        }
        if let Some(key) = &self.secret_key {
            words.extend(["-i".to_owned(), key.path().display().to_string()]);
        }
        words
    }

    fn common_options(&self, host_keys: &[String]) -> Vec<String> {
        let mut options = vec![
            "BatchMode=yes".to_owned(),
            "ForwardAgent=no".to_owned(),
            "ForwardX11=no".to_owned(),
            "PermitLocalCommand=no".to_owned(),
            "LogLevel=INFO".to_owned(),
            known_hosts_option(&self.known_hosts, host_keys.is_empty()),
            strictness(host_keys),
            "HashKnownHosts=no".to_owned(),
            "UpdateHostKeys=no".to_owned(),
            "CheckHostIP=no".to_owned(),
            format!("ConnectTimeout={}", self.connect_timeout.as_secs().max(1)),
        ];
        options.extend(self.options.iter().cloned());
        options.extend(["ServerAliveInterval=5", "ServerAliveCountMax=3"].map(str::to_owned));
        options
    }

    /// The command through which the last of `hops` is passed. `ProxyJump` would be shorter, but
    /// hands neither our known hosts nor our key to the machines in between.
    fn proxy_command(&self, hops: &[Destination]) -> Option<String> {
        let (last, earlier) = hops.split_last()?;
        let mut options = self.common_options(&[]);
        options.extend(["ControlMaster=no", "ControlPath=none"].map(str::to_owned));
        if let Some(proxy) = self.proxy_command(earlier) {
            options.push(format!("ProxyCommand={proxy}"));
        }
        let mut words = vec!["ssh".to_owned()];
        words.extend(self.file_arguments());
        words.extend(as_arguments(&options));
        let (before, after) = (quote_all(&words), quote_all(&destination_arguments(last)));
        Some(format!("{} -W '[%h]:%p' {}", escape_percent(&before), escape_percent(&after)))
    }
}

fn known_hosts_option(own: &Path, with_the_users: bool) -> String {
    let own = escape_percent(&own.to_string_lossy());
    let users = if with_the_users { " ~/.ssh/known_hosts ~/.ssh/known_hosts2" } else { "" };
    format!("UserKnownHostsFile=\"{own}\"{users}")
}

fn strictness(host_keys: &[String]) -> String {
    let mode = if host_keys.is_empty() { "accept-new" } else { "yes" };
    format!("StrictHostKeyChecking={mode}")
}

fn escape_percent(text: &str) -> String {
    text.replace('%', "%%")
}

fn as_arguments(options: &[String]) -> Vec<String> {
    options.iter().flat_map(|option| ["-o".to_owned(), option.clone()]).collect()
}

fn destination_arguments(destination: &Destination) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(port) = destination.port {
        words.extend(["-p".to_owned(), port.to_string()]);
    }
    if let Some(user) = &destination.user {
        words.extend(["-l".to_owned(), user.clone()]);
    }
    words.extend(["--".to_owned(), destination.host.clone()]);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> SshTarget {
        SshTarget::new(text.parse().unwrap(), PathBuf::from("/h/known_hosts"))
    }

    fn arguments(target: &SshTarget) -> String {
        let words = target.master_arguments(Path::new("/run/x"));
        words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_safe_options_always_stand() {
        let text = arguments(&target("me@box:2222"));
        for option in [
            "-M -N -T -S /run/x",
            "BatchMode=yes",
            "ForwardAgent=no",
            "StrictHostKeyChecking=accept-new",
            "ControlPersist=no",
            "-p 2222 -l me -- box",
        ] {
            assert!(text.contains(option), "{option} in {text}");
        }
    }

    #[test]
    fn known_keys_make_the_first_connection_strict() {
        let mut target = target("box");
        target.host_keys = vec!["ssh-ed25519 AAAA".to_owned()];
        let text = arguments(&target);
        assert!(text.contains("StrictHostKeyChecking=yes"), "{text}");
        assert!(!text.contains("~/.ssh"), "{text}");
    }

    #[test]
    fn hops_nest_and_percent_signs_survive() {
        let mut target = target("box");
        target.known_hosts = PathBuf::from("/h%/known hosts");
        target.via = vec!["a".parse().unwrap(), "me@b:23".parse().unwrap()];
        let text = arguments(&target);
        assert!(text.contains("-W '[%h]:%p' -p 23 -l me -- b"), "{text}");
        assert!(text.contains("[%%h]:%%p"), "{text}");
    }

    #[test]
    fn key_names_are_those_of_ssh() {
        assert_eq!(target("box").key_name(), "box");
        assert_eq!(target("box:22").key_name(), "box");
        assert_eq!(target("[::1]:23").key_name(), "[::1]:23");
        let mut named = target("box:23");
        named.host_key_alias = Some("web".to_owned());
        assert_eq!(named.key_name(), "web");
    }
}

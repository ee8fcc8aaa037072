//! What can go wrong with a host: the machine, the step, the cause, and what to do next.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A step on a host failed.
#[derive(Debug, thiserror::Error)]
#[error("{machine}: {step} failed")]
pub struct HostError {
    /// What the user calls the machine.
    pub machine: String,
    /// What was being done: `connecting`, `running apt-get`, `copying to /usr/...`.
    pub step: String,
    /// Why it failed.
    #[source]
    pub cause: Cause,
}

impl HostError {
    /// Names the machine and the step of a cause.
    #[must_use]
    pub fn new(machine: &str, step: impl Into<String>, cause: Cause) -> Self {
        Self { machine: machine.to_owned(), step: step.into(), cause }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        self.cause.hint(&self.machine)
    }
}

/// Why a step on a host failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// Nothing listens there.
    #[error("the connection was refused ({detail})")]
    Refused {
        /// What ssh said.
        detail: String,
    },
    /// The name does not resolve.
    #[error("the host name {host} is not known")]
    UnknownHost {
        /// That name.
        host: String,
    },
    /// No route, or the network is down.
    #[error("the host cannot be reached ({detail})")]
    Unreachable {
        /// What ssh said.
        detail: String,
    },
    /// No answer in time.
    #[error("no answer within {} s", after.as_secs())]
    ConnectTimeout {
        /// How long was waited.
        after: Duration,
    },
    /// The host answers and none of our keys opens it.
    #[error("the login was refused; the host accepts: {methods}")]
    LoginRefused {
        /// Ways to log in that the host named.
        methods: String,
    },
    /// The host shows another key than the one known.
    #[error("the host key has changed: {file} line {line} holds another {key_type} key")]
    HostKeyChanged {
        /// The file with the known key.
        file: PathBuf,
        /// Its line; 0 when ssh did not say.
        line: u32,
        /// `ED25519`, `ECDSA`, ...
        key_type: String,
    },
    /// The host shows a key, and only keys known beforehand are accepted.
    #[error("the host key is none of the keys known beforehand")]
    HostKeyUnknown,
    /// The host shows another key than those that the cluster recorded.
    #[error("the host key has changed: it is none of those that the cluster recorded")]
    HostKeyNotRecorded,
    /// The machine in between failed.
    #[error("the jump host {jump} failed")]
    JumpHost {
        /// Its name.
        jump: String,
        /// What happened there.
        #[source]
        cause: Box<Cause>,
    },
    /// The `ssh` program or a part of its configuration is missing or wrong.
    #[error("ssh cannot be started: {detail}")]
    Client {
        /// What is wrong.
        detail: String,
    },
    /// The folder for connections' sockets is not ours alone.
    #[error("the folder {} cannot hold connections: {detail}", folder.display())]
    ControlFolder {
        /// That folder.
        folder: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The connection broke.
    #[error("the connection was lost ({detail})")]
    Disconnected {
        /// What ssh said last.
        detail: String,
    },
    /// `sudo` is not there and the login is not root.
    #[error("the login is not root and sudo is not installed")]
    SudoMissing,
    /// `sudo` wants a password, and none was given.
    #[error("sudo needs a password ({detail})")]
    SudoNeedsPassword {
        /// What sudo said.
        detail: String,
    },
    /// `sudo` did not take the password.
    #[error("sudo refused the password")]
    SudoRefused,
    /// The command ran too long; it was ended on the host.
    #[error("not done within {} s, and ended", after.as_secs())]
    CommandTimeout {
        /// How long was waited.
        after: Duration,
    },
    /// The command wrote more than is kept.
    #[error("the output is longer than {limit} bytes")]
    OutputTooLong {
        /// Most that is kept.
        limit: usize,
    },
    /// No room for a file.
    #[error("the disk is full: {path} cannot be written")]
    DiskFull {
        /// That file, on the host.
        path: String,
    },
    /// A file cannot be written.
    #[error("{path} cannot be written: {detail}")]
    NotWritable {
        /// That file, on the host.
        path: String,
        /// What the host said.
        detail: String,
    },
    /// The bytes that arrived are not the bytes that were sent.
    #[error("{path} did not arrive whole")]
    Damaged {
        /// That file, on the host.
        path: String,
    },
    /// The request itself cannot be carried out on any host.
    #[error("{detail}")]
    Invalid {
        /// Why.
        detail: String,
    },
    /// A file of this machine cannot be read or written.
    #[error("{} cannot be used", path.display())]
    LocalFile {
        /// That file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something else; the words are those of ssh or of the host.
    #[error("{detail}")]
    Other {
        /// Those words.
        detail: String,
    },
}

impl Cause {
    /// What to do about it; `machine` is what the user calls the host.
    #[must_use]
    pub fn hint(&self, machine: &str) -> String {
        match self {
            Self::Refused { .. } => format!(
                "check that sshd runs on {machine} and that the port is right (user@host:port)"
            ),
            Self::UnknownHost { host } => {
                format!("check the spelling of {host}, or give its address")
            }
            Self::Unreachable { .. } | Self::ConnectTimeout { .. } => format!(
                "check that {machine} is on and its firewall lets you in; --via HOST goes through \
                 another machine"
            ),
            Self::LoginRefused { .. } => format!(
                "check the user name, and that your key is in {machine}'s authorized_keys: \
                 `ssh-copy-id` puts it there, -i KEY offers another one"
            ),
            Self::HostKeyChanged { file, line, .. } => format!(
                "if {machine} was installed anew, remove line {line} of {} and try again; if not, \
                 somebody may be answering in its place",
                file.display()
            ),
            Self::HostKeyUnknown => {
                format!("somebody may be answering in place of {machine}; do not go on")
            }
            Self::HostKeyNotRecorded => format!(
                "somebody may be answering in place of {machine}; if it was installed anew, \
                 `raptor destroy` on its name forgets the old keys, and it can be taken over again"
            ),
            Self::JumpHost { jump, cause } => cause.hint(jump),
            Self::Client { .. } => {
                "install OpenSSH's client (Debian: openssh-client) and check ~/.ssh/config"
                    .to_owned()
            }
            Self::ControlFolder { folder, .. } => {
                format!("remove {} or set XDG_RUNTIME_DIR to a folder of yours", folder.display())
            }
            Self::Disconnected { .. } => {
                "try again: every step can be repeated, nothing is done twice".to_owned()
            }
            Self::SudoMissing => format!("log in as root, or install sudo on {machine}"),
            Self::SudoNeedsPassword { .. } => {
                "give --ask-sudo-pass, or allow sudo without a password".to_owned()
            }
            Self::SudoRefused => "try again with the right password".to_owned(),
            Self::CommandTimeout { .. } => format!("look at what {machine} is busy with"),
            Self::OutputTooLong { .. } => "let the command write less".to_owned(),
            Self::DiskFull { .. } => format!("make room on {machine} and try again"),
            Self::NotWritable { .. } => format!("check the folder's rights on {machine}"),
            Self::Damaged { .. } => "try again".to_owned(),
            Self::Invalid { .. } | Self::LocalFile { .. } | Self::Other { .. } => String::new(),
        }
    }
}

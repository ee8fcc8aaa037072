//! Whether a machine can be taken over. Pure.

use std::fmt;

use crate::model::cluster::ClusterId;
use crate::model::time::Timestamp;
use crate::provision::probe::{Privilege, Probe};

/// Clocks further apart than this are reported.
pub const SKEW_WARNING_S: u64 = 30;

/// Clocks further apart than this are refused: signatures and tickets carry times.
pub const SKEW_MAX_S: u64 = 300;

/// What a machine must have.
#[derive(Debug, Clone)]
pub struct Requirements {
    /// The architecture raptor's program was built for, as `uname -m` says it.
    pub architecture: String,
    /// Bytes that must be free.
    pub free_bytes: u64,
    /// The time.
    pub now: Timestamp,
    /// The cluster it is to join; none when it founds one.
    pub cluster: Option<ClusterId>,
    /// Whether a sudo password is at hand.
    pub has_sudo_password: bool,
    /// Take it from another cluster.
    pub force: bool,
}

/// One reason against, or a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// Not root, no sudo.
    NoRoot {
        /// The login.
        user: String,
    },
    /// sudo asks for a password.
    SudoNeedsPassword {
        /// The login.
        user: String,
    },
    /// Not Linux.
    UnsupportedSystem {
        /// What it is.
        kernel: String,
    },
    /// Another processor than the program's.
    UnsupportedArchitecture {
        /// What it is.
        found: String,
        /// What the program needs.
        needed: String,
    },
    /// The disk is too full.
    DiskTooFull {
        /// Free bytes.
        free_bytes: u64,
        /// Needed bytes.
        needed_bytes: u64,
    },
    /// Programs cannot be run where raptor goes.
    NoExec,
    /// The clocks differ.
    ClockSkew {
        /// By how many seconds.
        skew_s: u64,
    },
    /// It belongs to another cluster.
    OtherCluster {
        /// That cluster's id.
        cluster: String,
    },
}

impl Problem {
    /// Whether it only has to be said.
    #[must_use]
    pub fn is_warning(&self) -> bool {
        matches!(self, Self::ClockSkew { skew_s } if *skew_s <= SKEW_MAX_S)
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoRoot { .. } => "log in as root, or install sudo and allow it to the login",
            Self::SudoNeedsPassword { .. } => {
                "give --ask-sudo-pass, or allow sudo without a password"
            }
            Self::UnsupportedSystem { .. } => "raptor's agent runs on Linux",
            Self::UnsupportedArchitecture { .. } => {
                "`raptor artefact add --target ARCHITECTURE FILE` gives the cluster a static raptor for it"
            }
            Self::DiskTooFull { .. } => "make room below /usr/local/lib",
            Self::NoExec => "mount /usr/local/lib without noexec",
            Self::ClockSkew { .. } => "set the machine's clock (for one: timedatectl set-ntp true)",
            Self::OtherCluster { .. } => "give --force to take it from there",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoot { user } => {
                write!(formatter, "{user} is not root and there is no sudo")
            }
            Self::SudoNeedsPassword { user } => {
                write!(formatter, "sudo asks {user} for a password")
            }
            Self::UnsupportedSystem { kernel } => write!(formatter, "{kernel} is not supported"),
            Self::UnsupportedArchitecture { found, needed } => {
                write!(formatter, "the processor is {found}, this raptor is for {needed}")
            }
            Self::DiskTooFull { free_bytes, needed_bytes } => write!(
                formatter,
                "{} MiB are free, {} MiB are needed",
                free_bytes >> 20,
                needed_bytes.div_ceil(1 << 20)
            ),
            Self::NoExec => formatter.write_str("programs cannot be run from /usr/local/lib"),
            Self::ClockSkew { skew_s } => write!(formatter, "the clock is {skew_s} s off"),
            Self::OtherCluster { cluster } => {
                write!(formatter, "it is a member of another cluster ({cluster})")
            }
        }
    }
}

/// Compares a machine with what it must have: the warnings when it will do.
///
/// # Errors
/// All problems, warnings included, when at least one is no warning.
pub fn check(probe: &Probe, needed: &Requirements) -> Result<Vec<Problem>, Vec<Problem>> {
    let mut problems = Vec::new();
    let user = || probe.user.clone();
    match probe.privilege {
        Privilege::None => problems.push(Problem::NoRoot { user: user() }),
        Privilege::SudoWithPassword if !needed.has_sudo_password => {
            problems.push(Problem::SudoNeedsPassword { user: user() });
        }
        _ => {}
    }
    if probe.kernel != "Linux" {
        problems.push(Problem::UnsupportedSystem { kernel: probe.kernel.clone() });
    }
    if probe.architecture != needed.architecture {
        problems.push(Problem::UnsupportedArchitecture {
            found: probe.architecture.clone(),
            needed: needed.architecture.clone(),
        });
    }
    if let Some(free_bytes) = probe.free_bytes.filter(|free| *free < needed.free_bytes) {
        let needed_bytes = needed.free_bytes;
        problems.push(Problem::DiskTooFull { free_bytes, needed_bytes });
    }
    if probe.noexec {
        problems.push(Problem::NoExec);
    }
    let skew_s = probe.clock_s.map(|clock| clock.abs_diff(needed.now.as_millis() / 1000));
    if let Some(skew_s) = skew_s.filter(|skew| *skew > SKEW_WARNING_S) {
        problems.push(Problem::ClockSkew { skew_s });
    }
    if let Some(cluster) = probe.cluster() {
        let same = needed.cluster.is_some_and(|own| own.to_string() == cluster);
        if !same && !needed.force {
            problems.push(Problem::OtherCluster { cluster: cluster.to_owned() });
        }
    }
    if problems.iter().all(Problem::is_warning) { Ok(problems) } else { Err(problems) }
}

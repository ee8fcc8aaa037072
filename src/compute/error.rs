//! Why a back-end could not do what it was asked, and what to do next.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::compute::DRIVERS;
use crate::compute::cloud::error::CloudCause;
use crate::compute::plugin::error::PluginCause;
use crate::model::name::Name;

/// A step of a back-end that failed. The cause is its source.
#[derive(Debug, thiserror::Error)]
pub struct ComputeError {
    /// The compute type.
    pub backend: String,
    /// The machine, when the step was about one.
    pub machine: Option<Name>,
    /// What could not be done, as an infinitive: `start the container`.
    pub step: &'static str,
    /// Why.
    #[source]
    pub cause: Box<Cause>,
}

impl ComputeError {
    /// `backend` could not do `step` for `machine` because of `cause`.
    #[must_use]
    pub fn new(backend: &str, machine: Option<&Name>, step: &'static str, cause: Cause) -> Self {
        let backend = backend.to_owned();
        Self { backend, machine: machine.cloned(), step, cause: Box::new(cause) }
    }

    /// What to do next, in one sentence.
    #[must_use]
    pub fn hint(&self) -> String {
        self.cause.hint()
    }
}

impl fmt::Display for ComputeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.backend)?;
        if let Some(machine) = &self.machine {
            write!(formatter, "machine {machine}: ")?;
        }
        write!(formatter, "could not {}", self.step)
    }
}

/// Why a step failed. `said` holds the last lines of what the program printed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The configuration names a driver that is not built in.
    #[error("{driver:?} is no driver ({})", DRIVERS.join(", "))]
    UnknownDriver {
        /// The name.
        driver: String,
    },
    /// A parameter of the compute type is wrong.
    #[error("{path}: {message}")]
    Settings {
        /// The parameter's path, `.` for all of them.
        path: String,
        /// What was expected.
        message: String,
    },
    /// What was asked for cannot be given to a machine.
    #[error("{what} {why}")]
    Request {
        /// The part of the wish.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The client program is not installed.
    #[error("the program {program:?} was not found")]
    ClientMissing {
        /// Its name.
        program: String,
    },
    /// Nothing answers where the engine should be.
    #[error("the Docker engine does not answer: {said}")]
    EngineUnreachable {
        /// The client's words.
        said: String,
    },
    /// This user may not speak to the engine.
    #[error("this user may not speak to the Docker engine: {said}")]
    EngineDenied {
        /// The client's words.
        said: String,
    },
    /// The image is not here and could not be got.
    #[error("image {image} is not here and could not be had: {said}")]
    ImageUnavailable {
        /// Its name.
        image: String,
        /// The client's words.
        said: String,
    },
    /// Something else holds the machine's name or place.
    #[error("{holder} is taken by something else")]
    NameTaken {
        /// The container's name, or the folder.
        holder: String,
    },
    /// The disk or a quota is full.
    #[error("no space is left: {said}")]
    NoSpace {
        /// The words of whoever found out.
        said: String,
    },
    /// Nothing came in time.
    #[error("{what} took longer than {} s", after.as_secs_f64())]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
    },
    /// A command failed for a reason that has no name here.
    #[error(
        "`{command}` ended with {}: {said}",
        status.map_or("a signal".to_owned(), |status| format!("status {status}"))
    )]
    Command {
        /// Its first words.
        command: String,
        /// Its exit status; none after a signal.
        status: Option<i32>,
        /// Its words.
        said: String,
    },
    /// A command's answer was not what it promises.
    #[error("the answer of `{command}` was not understood")]
    Answer {
        /// Its first words.
        command: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The machine was made and ended before its sshd answered.
    #[error("it ended while it booted: {said}")]
    DidNotBoot {
        /// The last lines of its console.
        said: String,
    },
    /// A cloud did not do it.
    #[error(transparent)]
    Cloud(#[from] CloudCause),
    /// A plug-in did not do it.
    #[error(transparent)]
    Plugin(#[from] PluginCause),
    /// Its processes outlived `SIGKILL`.
    #[error("its process {pid} does not end")]
    DoesNotEnd {
        /// One of them.
        pid: i32,
    },
    /// A file or process operation failed.
    #[error("{action} {path:?}")]
    Io {
        /// What was tried: `write`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Cause {
    /// An I/O error with what was tried; a full disk becomes [`Cause::NoSpace`].
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace { said: format!("{action} {}: {source}", path.display()) }
            }
            _ => Self::Io { action, path, source },
        }
    }

    /// What to do next, in one sentence.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::UnknownDriver { .. } => {
                format!("set the compute type's driver to one of: {}", DRIVERS.join(", "))
            }
            Self::Settings { path, .. } => format!("correct {path} in the compute type's settings"),
            Self::Request { what, .. } => format!("correct {what} and try again"),
            Self::ClientMissing { program } => {
                format!("install {program}, or choose another compute type such as `local`")
            }
            Self::EngineUnreachable { .. } => {
                "start the Docker engine, or point DOCKER_HOST or `docker context use` at one that \
                 runs"
                .to_owned()
            }
            Self::EngineDenied { .. } => {
                "join the engine's group (`usermod -aG docker $USER`, then log in again), or run as \
                 root"
                .to_owned()
            }
            Self::ImageUnavailable { .. } => {
                "make the registry reachable, or set `image` of the compute type to an image that is \
                 here and has sshd (`docker image ls`)"
                .to_owned()
            }
            Self::NameTaken { holder } => format!("remove or rename {holder}, or choose another name"),
            Self::NoSpace { .. } => {
                "free some disk (`docker system df` shows Docker's share), then try again".to_owned()
            }
            Self::TimedOut { .. } => "see whether the machine is overloaded, then try again".to_owned(),
            Self::Command { command, .. } => format!("run `{command}` by hand to see more"),
            Self::Answer { .. } => "see whether a newer raptor knows this version of it".to_owned(),
            Self::DidNotBoot { .. } => {
                "the image needs /bin/sh, ssh-keygen and sshd: choose another `image`".to_owned()
            }
            Self::Cloud(cause) => cause.hint(),
            Self::Plugin(cause) => cause.hint(),
            Self::DoesNotEnd { pid } => format!("see what holds process {pid}, then destroy it again"),
            Self::Io { path, .. } => {
                format!("see that {} and its parents are yours and writable", path.display())
            }
        }
    }
}

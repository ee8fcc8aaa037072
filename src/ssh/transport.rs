//! One session on a host: a command line for the login shell, and its three streams.

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::ssh::error::Cause;

/// A running command line.
pub(crate) struct Channel {
    /// Its standard input. Closing it tells the guard on the host that nobody waits any more.
    pub(crate) stdin: Box<dyn AsyncWrite + Send + Unpin>,
    /// Its standard output.
    pub(crate) stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// Its standard error.
    pub(crate) stderr: Box<dyn AsyncRead + Send + Unpin>,
    /// Its exit status; 128 + N for signal N. Resolves after both outputs ended.
    pub(crate) status: BoxFuture<'static, Result<i32, Cause>>,
}

/// A way to start command lines on a host.
pub(crate) trait Transport: Send + Sync {
    /// Starts `command_line` in the login shell.
    fn open(&self, command_line: String) -> BoxFuture<'_, Result<Channel, Cause>>;
}

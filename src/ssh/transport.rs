//! One session on a host: a command line for the login shell, and its three streams.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::unix::pipe;

use crate::ssh::error::Cause;

/// A running command line.
pub(crate) struct Channel {
    /// Its standard input. Closing it tells the guard on the host that nobody waits any more.
    pub(crate) stdin: Input,
    /// Its standard output.
    pub(crate) stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// Its standard error.
    pub(crate) stderr: Box<dyn AsyncRead + Send + Unpin>,
    /// Its exit status; 128 + N for signal N. Resolves after both outputs ended.
    pub(crate) status: BoxFuture<'static, Result<i32, Cause>>,
}

/// What a command line reads.
pub(crate) enum Input {
    /// A pipe that files can be moved into.
    Pipe(pipe::Sender),
    /// Anything else.
    Other(Box<dyn AsyncWrite + Send + Unpin>),
}

impl Input {
    fn writer(&mut self) -> Pin<&mut (dyn AsyncWrite + Send + Unpin)> {
        match self {
            Self::Pipe(pipe) => Pin::new(pipe),
            Self::Other(other) => Pin::new(other.as_mut()),
        }
    }
}

impl AsyncWrite for Input {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writer().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_shutdown(context)
    }
}

/// A way to start command lines on a host.
pub(crate) trait Transport: Send + Sync {
    /// Starts `command_line` in the login shell.
    fn open(&self, command_line: String) -> BoxFuture<'_, Result<Channel, Cause>>;

    /// See [`Host::get_ready`](crate::ssh::host::Host::get_ready).
    fn get_ready(&self, _sessions: usize) {}
}

//! Runs, scripts and bridges over any transport: what [`Host`](crate::ssh::host::Host) promises,
//! once for all of them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::ssh::error::{Cause, HostError};
use crate::ssh::host::{
    BoxedStream, Command, Host, LineObserver, Output, Script, Upload, Uploaded,
};
use crate::ssh::shell::{
    Elevation, bridged, elevation_failure, guarded, program_of_command, program_of_script,
};
use crate::ssh::sudo::SudoPassword;
use crate::ssh::transport::{Channel, Input, Transport};
use crate::ssh::upload::upload;

/// Most that is kept of either output.
const OUTPUT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A host as this room's helpers see it.
#[derive(Clone, Copy)]
pub(crate) struct Carrier<'a> {
    /// What the user calls the machine.
    pub(crate) machine: &'a str,
    /// How sessions are opened.
    pub(crate) transport: &'a dyn Transport,
    /// What sudo is told, when it asks.
    pub(crate) sudo_password: Option<&'a SudoPassword>,
}

/// What has a carrier is a [`Host`].
pub(crate) trait Carried: Send + Sync {
    /// How its helpers see it.
    fn carrier(&self) -> Carrier<'_>;

    /// See [`Host::reconnect`]; where there is no connection there is nothing to try.
    fn connect_anew(&self) -> BoxFuture<'_, Result<(), HostError>> {
        Box::pin(async { Ok(()) })
    }
}

impl<T: Carried> Host for T {
    fn name(&self) -> &str {
        self.carrier().machine
    }

    fn run(&self, command: Command) -> BoxFuture<'_, Result<Output, HostError>> {
        Box::pin(self.carrier().run(command))
    }

    fn script(&self, script: Script) -> BoxFuture<'_, Result<Output, HostError>> {
        Box::pin(self.carrier().script(script))
    }

    fn get_ready(&self, sessions: usize) {
        self.carrier().transport.get_ready(sessions);
    }

    fn reconnect(&self) -> BoxFuture<'_, Result<(), HostError>> {
        self.connect_anew()
    }

    fn upload(&self, file: Upload) -> BoxFuture<'_, Result<Uploaded, HostError>> {
        Box::pin(upload(self.carrier(), file))
    }

    fn bridge(
        &self,
        argv: Vec<String>,
        sudo: bool,
    ) -> BoxFuture<'_, Result<BoxedStream, HostError>> {
        Box::pin(self.carrier().bridge(argv, sudo))
    }
}

impl Carrier<'_> {
    /// Runs one program.
    pub(crate) async fn run(self, command: Command) -> Result<Output, HostError> {
        let step = format!("running {}", command.argv.first().map_or("nothing", String::as_str));
        let work = async {
            let program = program_of_command(&command.argv, &command.stdin)?;
            self.execute(Zeroizing::new(program), command.sudo, command.timeout, None).await
        };
        work.await.map_err(|cause| HostError::new(self.machine, step, cause))
    }

    /// Runs one script.
    pub(crate) async fn script(self, script: Script) -> Result<Output, HostError> {
        let work = async {
            let program = Zeroizing::new(program_of_script(&script.text)?);
            self.execute(program, script.sudo, script.timeout, script.observer.as_ref()).await
        };
        work.await.map_err(|cause| HostError::new(self.machine, script.name.clone(), cause))
    }

    /// Joins a program's streams.
    pub(crate) async fn bridge(
        self,
        argv: Vec<String>,
        sudo: bool,
    ) -> Result<BoxedStream, HostError> {
        let step = format!("running {}", argv.first().map_or("nothing", String::as_str));
        let work = async {
            let mut channel = self.transport.open(bridged(&argv, self.elevation(sudo))?).await?;
            self.send_password(&mut channel, sudo).await.map_err(lost)?;
            Ok(Box::new(Bridge { channel }) as BoxedStream)
        };
        work.await.map_err(|cause| HostError::new(self.machine, step, cause))
    }

    /// How to become root on this host.
    pub(crate) fn elevation(self, sudo: bool) -> Elevation {
        match (sudo, self.sudo_password) {
            (false, _) => Elevation::None,
            (true, None) => Elevation::Sudo,
            (true, Some(_)) => Elevation::SudoWithPassword,
        }
    }

    /// Sends the password's line where the elevation reads it: once to try, once for sudo.
    pub(crate) async fn send_password(self, channel: &mut Channel, sudo: bool) -> io::Result<()> {
        if let (true, Some(password)) = (sudo, self.sudo_password) {
            channel.stdin.write_all(&password.line()).await?;
            channel.stdin.write_all(&password.line()).await?;
            channel.stdin.flush().await?;
        }
        Ok(())
    }

    async fn execute(
        self,
        program: Zeroizing<String>,
        sudo: bool,
        limit: Duration,
        observer: Option<&LineObserver>,
    ) -> Result<Output, Cause> {
        let work = async {
            let command_line = guarded(program.len(), self.elevation(sudo));
            let mut channel = self.transport.open(command_line).await?;
            // The host may end before it has read everything; its status says more than the
            // broken pipe. Standard input stays open: its end would end the program.
            let _refused = match self.send_password(&mut channel, sudo).await {
                Ok(()) => channel.stdin.write_all(program.as_bytes()).await,
                refused => refused,
            };
            let _refused = channel.stdin.flush().await;
            finish(channel, observer).await
        };
        timeout(limit, work).await.map_err(|_| Cause::CommandTimeout { after: limit })?
    }
}

/// Reads both outputs to their end, then the status.
pub(crate) async fn finish(
    channel: Channel,
    observer: Option<&LineObserver>,
) -> Result<Output, Cause> {
    let Channel { stdin, mut stdout, mut stderr, status } = channel;
    let (stdout, stderr) = tokio::try_join!(
        read_bounded(stdout.as_mut(), observer),
        read_bounded(stderr.as_mut(), None)
    )?;
    let status = status.await?;
    drop(stdin);
    if let Some(cause) = elevation_failure(status, &stderr) {
        return Err(cause);
    }
    Ok(Output { status, stdout, stderr })
}

async fn read_bounded(
    source: &mut (dyn AsyncRead + Send + Unpin),
    observer: Option<&LineObserver>,
) -> Result<Vec<u8>, Cause> {
    let mut bytes = Vec::new();
    let mut told = 0;
    loop {
        let length = source.read_buf(&mut bytes).await.map_err(lost)?;
        if bytes.len() > OUTPUT_BYTES_MAX {
            return Err(Cause::OutputTooLong { limit: OUTPUT_BYTES_MAX });
        }
        if let Some(observer) = observer {
            while let Some(end) = bytes[told..].iter().position(|&byte| byte == b'\n') {
                observer(&String::from_utf8_lossy(&bytes[told..told + end]));
                told += end + 1;
            }
        }
        if length == 0 {
            return Ok(bytes);
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
pub(crate) fn lost(error: io::Error) -> Cause {
    Cause::Disconnected { detail: error.to_string() }
}

/// A session's streams as one. Dropping it closes the program's input.
struct Bridge {
    channel: Channel,
}

impl AsyncRead for Bridge {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.channel.stdout).poll_read(context, buffer);
        let ended = matches!(read, Poll::Ready(Ok(()))) && buffer.filled().len() == before;
        if !ended || buffer.remaining() == 0 {
            return read;
        }
        self.poll_ending(context)
    }
}

impl Bridge {
    /// Why sudo did not let the program run, when that is why it ended.
    fn refusal(&mut self, status: i32, context: &mut Context<'_>) -> Option<Cause> {
        let mut room = [0u8; 1024];
        let mut words = ReadBuf::new(&mut room);
        // The program has ended: what it said is there.
        let _said = Pin::new(&mut self.channel.stderr).poll_read(context, &mut words);
        elevation_failure(status, words.filled())
    }

    /// The program closed its output: its status decides between the end and an error.
    fn poll_ending(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let status = std::task::ready!(self.channel.status.as_mut().poll(context));
        let result = match &status {
            Ok(0) => Ok(()),
            Ok(status) => Err(match self.refusal(*status, context) {
                Some(cause) => io::Error::new(io::ErrorKind::PermissionDenied, cause.to_string()),
                None => io::Error::other(format!("it ended with status {status}")),
            }),
            Err(cause) => Err(io::Error::other(cause.to_string())),
        };
        // A second read at the end sees the same: the future must not be polled after it is done.
        self.channel.status = Box::pin(std::future::ready(status));
        result.map_or_else(|error| Poll::Ready(Err(error)), |()| Poll::Ready(Ok(())))
    }
}

impl AsyncWrite for Bridge {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.channel.stdin).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.channel.stdin).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The pipe ends when it is dropped: shutting it down has no effect of its own.
        let flushed = std::task::ready!(Pin::new(&mut self.channel.stdin).poll_shutdown(context));
        self.channel.stdin = Input::Other(Box::new(tokio::io::sink()));
        Poll::Ready(flushed)
    }
}

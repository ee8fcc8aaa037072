//! `raptor connect-stream`: what `ssh` runs as its `ProxyCommand`.

use clap::Args;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::cli::connection;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;

/// Join standard input and output to a TCP port of a member
#[derive(Debug, Args)]
pub struct ConnectStreamArguments {
    /// Name, id or unique beginning of an id
    pub node: String,
    /// The port on that machine
    pub port: u16,
}

/// Carries bytes until either side ends.
///
/// # Errors
/// No agent answers, or the member cannot be reached.
pub async fn run(
    invocation: &Invocation,
    arguments: ConnectStreamArguments,
) -> Result<ExitStatus, CliError> {
    let connection = connection::open(invocation).await?;
    let stream = connection.client.connect(&arguments.node, arguments.port).await?;
    join_stdio(stream).await?;
    Ok(ExitStatus::DONE)
}

/// Joins a stream to this process's input and output. The far end ends it: when input ends first,
/// that is passed on, and what still comes is still printed.
///
/// # Errors
/// Standard output is gone, or the stream broke.
pub async fn join_stdio(stream: impl AsyncRead + AsyncWrite) -> Result<(), CliError> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let upstream = async {
        // A far end that takes no more input may still be answering.
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut writer).await;
        let _ = writer.shutdown().await;
        std::future::pending::<()>().await;
    };
    let downstream = async {
        let mut stdout = tokio::io::stdout();
        tokio::io::copy(&mut reader, &mut stdout).await?;
        stdout.flush().await
    };
    tokio::select! {
        result = downstream => result.map_err(CliError::from),
        () = upstream => Ok(()),
    }
}

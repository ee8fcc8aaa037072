//! A session on a far machine, through its agent: keys there, output here, the exit status back.

use std::io::IsTerminal;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::agent::api::TerminalRequest;
use crate::agent::terminal_frame::ClientFrame;
use crate::agent::terminal_frame::Frame;
use crate::agent::terminal_frame::FrameDecoder;
use crate::agent::terminal_frame::ServerFrame;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::terminal::raw::ChangedTerminal;
use crate::http::client::ApiClient;

/// Bytes read at once.
const READ_LENGTH: usize = 16 * 1024;

/// Opens a session on `node` and stays in it to its end.
///
/// Without a terminal on both sides of this process the far program gets plain pipes: the request
/// then asks for 0 rows.
///
/// # Errors
/// The agent refuses, or the session broke off.
pub async fn run(
    client: &ApiClient,
    node: &str,
    argv: Vec<String>,
) -> Result<ExitStatus, CliError> {
    let interactive = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let (rows, columns) = if interactive { size() } else { (0, 0) };
    let term = if interactive { std::env::var("TERM").unwrap_or_default() } else { String::new() };
    let request = TerminalRequest { rows, columns, term, argv };
    let stream = client.terminal(node, &request).await?;
    let raw = interactive.then(ChangedTerminal::raw).transpose()?;
    let result = tokio::select! {
        result = converse(
            node,
            stream,
            tokio::io::stdin(),
            tokio::io::stdout(),
            tokio::io::stderr(),
            interactive,
        ) => result,
        signal = ended() => Err(signal),
    };
    drop(raw);
    result.map(ExitStatus::of_program)
}

/// The size of this terminal; the classic one where it is not known.
fn size() -> (u16, u16) {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row, size.ws_col),
        _ => (24, 80),
    }
}

/// Waits until this program is told to end, so that the terminal is mended first.
async fn ended() -> CliError {
    let (Ok(mut terminate), Ok(mut hang_up)) =
        (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    CliError::interrupted()
}

/// Carries both directions until the far program ends; gives its exit status.
async fn converse(
    node: &str,
    stream: impl AsyncRead + AsyncWrite,
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
    errors: impl AsyncWrite + Unpin,
    resizes: bool,
) -> Result<i32, CliError> {
    let (reader, writer) = tokio::io::split(stream);
    tokio::select! {
        // Only the far end ends a session: what is typed may end long before the output does.
        status = receive(node, reader, output, errors) => status,
        error = send(writer, input, resizes) => Err(error),
    }
}

async fn receive(
    node: &str,
    mut reader: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    mut errors: impl AsyncWrite + Unpin,
) -> Result<i32, CliError> {
    let broken = |why: &str| {
        CliError::remote(format!("{node}: the session broke off{why}"))
            .with_hint(format!("does it live? `raptor members` and `raptor ping {node}` tell"))
    };
    let mut decoder = FrameDecoder::default();
    let mut buffer = vec![0; READ_LENGTH];
    loop {
        while let Some(frame) = decoder
            .next_frame::<ServerFrame>()
            .map_err(|error| CliError::remote(format!("the session is damaged: {error}")))?
        {
            match frame {
                ServerFrame::Data(data) => output.write_all(&data).await?,
                ServerFrame::Error(data) => {
                    output.flush().await?;
                    errors.write_all(&data).await?;
                    errors.flush().await?;
                }
                ServerFrame::Exit(status) => {
                    output.flush().await?;
                    return Ok(status);
                }
            }
        }
        output.flush().await?;
        match reader.read(&mut buffer).await {
            Ok(length) if length > 0 => decoder.push(&buffer[..length]),
            Ok(_) => return Err(broken("")),
            Err(error) => return Err(broken(&format!(": {error}"))),
        }
    }
}

/// Returns only when the stream is broken; `receive` mostly sees that first.
async fn send(
    mut writer: impl AsyncWrite + Unpin,
    mut input: impl AsyncRead + Unpin,
    resizes: bool,
) -> CliError {
    let mut window_changed = signal(SignalKind::window_change()).ok().filter(|_| resizes);
    let mut input_open = true;
    let mut buffer = vec![0; READ_LENGTH];
    loop {
        let frame = tokio::select! {
            read = input.read(&mut buffer), if input_open => match read {
                Ok(length) if length > 0 => ClientFrame::Data(buffer[..length].to_vec()),
                _ => {
                    input_open = false;
                    ClientFrame::EndOfInput
                }
            },
            () = changed(window_changed.as_mut()) => {
                let (rows, columns) = size();
                ClientFrame::Resize { rows, columns }
            }
        };
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        let written = writer.write_all(&bytes).await;
        if written.is_err() || writer.flush().await.is_err() {
            // What the far end still said comes before the complaint: `receive` ends the session.
            return std::future::pending().await;
        }
    }
}

async fn changed(signal: Option<&mut tokio::signal::unix::Signal>) {
    let heard = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if heard.is_none() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn input_and_its_end_go_there_and_output_and_status_come_back() {
        let (near, mut far) = tokio::io::duplex(1024);
        let machine = tokio::spawn(async move {
            let mut decoder = FrameDecoder::default();
            let mut typed = Vec::new();
            'session: loop {
                let mut buffer = [0; 16];
                let length = far.read(&mut buffer).await.unwrap();
                decoder.push(&buffer[..length]);
                while let Some(frame) = decoder.next_frame::<ClientFrame>().unwrap() {
                    match frame {
                        ClientFrame::Data(data) => typed.extend(data),
                        ClientFrame::EndOfInput => break 'session,
                        ClientFrame::Resize { .. } => panic!("nothing was resized"),
                    }
                }
            }
            let mut answer = Vec::new();
            ServerFrame::Data(typed).encode(&mut answer);
            ServerFrame::Error(b"wrong".to_vec()).encode(&mut answer);
            ServerFrame::Exit(7).encode(&mut answer);
            far.write_all(&answer).await.unwrap();
            far
        });
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let session = converse("a", near, b"hello".as_slice(), &mut output, &mut errors, false);
        assert_eq!(session.await.unwrap(), 7);
        assert_eq!((output.as_slice(), errors.as_slice()), (&b"hello"[..], &b"wrong"[..]));
        drop(machine.await.unwrap());
    }

    #[tokio::test]
    async fn a_session_without_an_exit_status_broke_off() {
        let (near, far) = tokio::io::duplex(64);
        drop(far);
        let error = converse("a", near, tokio::io::empty(), Vec::new(), Vec::new(), false)
            .await
            .unwrap_err();
        assert!(error.render(false).contains("broke off"));
    }
}

//! A terminal on this machine for somebody at another one.

use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;

use crate::agent::api::TerminalRequest;
use crate::agent::process::exit_code;
use crate::agent::terminal_frame::FrameReader;
use crate::agent::terminal_frame::TerminalFrame;

/// Bytes read from the terminal at once.
const CHUNK_SIZE: usize = 8 * 1024;

/// Serves one terminal over `stream` until the program ends or the caller hangs up. The program
/// is the login shell unless the request names one.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: TerminalRequest) {
    let status = match open(&request) {
        Ok((pty, child)) => relay(&mut stream, pty, child).await,
        Err(error) => {
            let text = format!("raptor: cannot open a terminal: {error}\r\n");
            let frame = TerminalFrame::Data(Bytes::from(text));
            let _ = stream.write_all(&frame.encode()).await;
            Some(127)
        }
    };
    if let Some(status) = status {
        let _ = stream.write_all(&TerminalFrame::Exit(status).encode()).await;
        let _ = stream.shutdown().await;
    }
}

type Opened = (pty_process::Pty, tokio::process::Child);

fn open(request: &TerminalRequest) -> Result<Opened, pty_process::Error> {
    let (pty, pts) = pty_process::open()?;
    pty.resize(pty_process::Size::new(request.rows, request.columns))?;
    let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
    let command = match request.argv.split_first() {
        Some((program, arguments)) => pty_process::Command::new(program).args(arguments),
        None => pty_process::Command::new(shell).arg("-l"),
    };
    let child = command.env("TERM", &request.term).kill_on_drop(true).spawn(pts)?;
    Ok((pty, child))
}

/// Carries bytes both ways. Returns the exit status, or none when the caller hung up first.
async fn relay<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    mut pty: pty_process::Pty,
    mut child: tokio::process::Child,
) -> Option<i32> {
    let mut frames = FrameReader::default();
    let mut incoming = vec![0u8; CHUNK_SIZE];
    let mut outgoing = vec![0u8; CHUNK_SIZE];
    loop {
        tokio::select! {
            read = pty.read(&mut outgoing) => match read {
                // The last writer of the terminal's other side is gone.
                Ok(0) | Err(_) => break,
                Ok(length) => {
                    let data = Bytes::copy_from_slice(&outgoing[..length]);
                    stream.write_all(&TerminalFrame::Data(data).encode()).await.ok()?;
                }
            },
            read = stream.read(&mut incoming) => {
                let length = read.ok().filter(|&length| length > 0)?;
                frames.push(&incoming[..length]);
                while let Some(frame) = frames.next_frame() {
                    apply(&mut pty, frame).await?;
                }
            }
        }
    }
    child.wait().await.ok().map(exit_code)
}

async fn apply(pty: &mut pty_process::Pty, frame: TerminalFrame) -> Option<()> {
    match frame {
        TerminalFrame::Data(data) => pty.write_all(&data).await.ok(),
        TerminalFrame::Resize { rows, columns } => {
            pty.resize(pty_process::Size::new(rows, columns)).ok()
        }
        // Control-D at the start of a line: what a terminal makes of the end of input.
        TerminalFrame::EndOfInput => pty.write_all(&[4]).await.ok(),
        TerminalFrame::Exit(_) => None,
    }
}


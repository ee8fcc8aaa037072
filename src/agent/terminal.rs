//! A terminal, or plain pipes, on this machine for somebody at another one.

use std::process::Stdio;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::process::Child;
use tokio::process::ChildStdin;
use tokio::process::Command;

use crate::agent::api::TerminalRequest;
use crate::agent::process::exit_code;
use crate::agent::terminal_frame::ClientFrame;
use crate::agent::terminal_frame::Frame;
use crate::agent::terminal_frame::FrameDecoder;
use crate::agent::terminal_frame::ServerFrame;

/// Bytes read from the program at once.
const CHUNK_SIZE: usize = 8 * 1024;

/// What a shell answers for a program it cannot start.
const CANNOT_START: i32 = 127;

/// What a terminal makes of the end of input: Control-D.
const END_OF_TRANSMISSION: u8 = 4;

/// Serves one session over `stream` until the program ends or the caller hangs up. The program is
/// the login shell unless the request names one; with no rows it gets pipes and no terminal.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: TerminalRequest) {
    let outcome = match open(&request) {
        Ok(Opened::Terminal(pty, child)) => {
            let (output, input) = pty.into_split();
            relay(&mut stream, output, Input::Terminal(input), child).await
        }
        Ok(Opened::Pipes(mut child)) => {
            let input = child.stdin.take();
            match child.stdout.take() {
                Some(output) => relay(&mut stream, output, Input::Pipe(input), child).await,
                None => None,
            }
        }
        Err(error) => {
            let text = format!("raptor: cannot start it: {error}\r\n").into_bytes();
            send(&mut stream, &ServerFrame::Data(text)).await.and(Some(CANNOT_START))
        }
    };
    if let Some(status) = outcome {
        let _ = send(&mut stream, &ServerFrame::Exit(status)).await;
        let _ = stream.shutdown().await;
    }
}

enum Opened {
    Terminal(pty_process::Pty, Child),
    Pipes(Child),
}

/// Where what is typed goes.
enum Input {
    Terminal(pty_process::OwnedWritePty),
    Pipe(Option<ChildStdin>),
}

fn open(request: &TerminalRequest) -> Result<Opened, pty_process::Error> {
    let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
    let login = [shell, "-l".to_owned()];
    let argv = if request.argv.is_empty() { &login[..] } else { &request.argv[..] };
    let (program, arguments) = argv.split_first().unwrap_or((&login[0], &[]));
    if request.rows == 0 {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What goes wrong is told in line: a session has one stream of output.
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()?;
        return Ok(Opened::Pipes(child));
    }
    let (pty, pts) = pty_process::open()?;
    pty.resize(pty_process::Size::new(request.rows, request.columns))?;
    let child = pty_process::Command::new(program)
        .args(arguments)
        .env("TERM", &request.term)
        .kill_on_drop(true)
        .spawn(pts)?;
    Ok(Opened::Terminal(pty, child))
}

/// Carries bytes both ways. Returns the exit status, or none when the caller hung up first.
async fn relay<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    mut output: impl AsyncRead + Unpin,
    mut input: Input,
    mut child: Child,
) -> Option<i32> {
    let mut frames = FrameDecoder::default();
    let mut incoming = vec![0u8; CHUNK_SIZE];
    let mut outgoing = vec![0u8; CHUNK_SIZE];
    loop {
        tokio::select! {
            read = output.read(&mut outgoing) => match read {
                // The last writer of the other side is gone.
                Ok(0) | Err(_) => break,
                Ok(length) => {
                    send(stream, &ServerFrame::Data(outgoing[..length].to_vec())).await?;
                }
            },
            read = stream.read(&mut incoming) => {
                let length = read.ok().filter(|&length| length > 0)?;
                frames.push(&incoming[..length]);
                while let Some(frame) = frames.next_frame().ok()? {
                    apply(&mut input, frame).await;
                }
            }
        }
    }
    child.wait().await.ok().map(exit_code)
}

/// A program that stopped listening is no reason to stop hearing what it says.
async fn apply(input: &mut Input, frame: ClientFrame) {
    let _ = match (input, frame) {
        (Input::Terminal(pty), ClientFrame::Data(data)) => pty.write_all(&data).await,
        (Input::Terminal(pty), ClientFrame::Resize { rows, columns }) => {
            pty.resize(pty_process::Size::new(rows, columns)).map_err(std::io::Error::other)
        }
        (Input::Terminal(pty), ClientFrame::EndOfInput) => {
            pty.write_all(&[END_OF_TRANSMISSION]).await
        }
        (Input::Pipe(Some(pipe)), ClientFrame::Data(data)) => pipe.write_all(&data).await,
        (Input::Pipe(pipe), ClientFrame::EndOfInput) => {
            *pipe = None;
            Ok(())
        }
        (Input::Pipe(_), _) => Ok(()),
    };
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), frame: &ServerFrame) -> Option<()> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    stream.write_all(&bytes).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn session(rows: u16, argv: &[&str], typed: &[ClientFrame]) -> (String, i32) {
        let request = TerminalRequest {
            rows,
            columns: 80,
            term: "xterm".to_owned(),
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
        };
        let (mut near, far) = tokio::io::duplex(4096);
        let serving = tokio::spawn(serve(far, request));
        let mut bytes = Vec::new();
        for frame in typed {
            frame.encode(&mut bytes);
        }
        near.write_all(&bytes).await.unwrap();
        let mut received = Vec::new();
        near.read_to_end(&mut received).await.unwrap();
        serving.await.unwrap();
        let mut frames = FrameDecoder::default();
        frames.push(&received);
        let (mut text, mut status) = (Vec::new(), None);
        while let Some(frame) = frames.next_frame().unwrap() {
            match frame {
                ServerFrame::Data(data) => text.extend(data),
                ServerFrame::Exit(code) => status = Some(code),
            }
        }
        (String::from_utf8(text).unwrap(), status.unwrap())
    }

    #[tokio::test]
    async fn a_program_gets_a_terminal_of_the_callers_size() {
        let (text, status) = session(33, &["sh", "-c", "stty size; echo $TERM; exit 5"], &[]).await;
        assert_eq!(text, "33 80\r\nxterm\r\n");
        assert_eq!(status, 5);
    }

    #[tokio::test]
    async fn without_rows_it_gets_pipes_that_end() {
        let typed = [ClientFrame::Data(b"hello".to_vec()), ClientFrame::EndOfInput];
        let (text, status) = session(0, &["sh", "-c", "cat; test -t 0"], &typed).await;
        assert_eq!(text, "hello");
        assert_eq!(status, 1);
    }

    #[tokio::test]
    async fn a_missing_program_is_told() {
        let (text, status) = session(24, &["/nonexistent"], &[]).await;
        assert!(text.contains("cannot start it"), "{text}");
        assert_eq!(status, CANNOT_START);
    }
}

//! A terminal, or plain pipes, on this machine for somebody at another one.

use std::process::Stdio;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::split;
use tokio::process::ChildStdin;
use tokio::sync::Mutex;
use tokio::sync::watch;

use crate::agent::api::TerminalRequest;
use crate::agent::outside;
use crate::agent::outside::Channel;
use crate::agent::process::Group;
use crate::agent::process::exit_code;
use crate::agent::process::own_settings;
use crate::agent::process::read_until_gone;
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
/// the login shell unless the request names one; with no rows it gets pipes and no terminal. When
/// the caller hangs up the program is ended with all that it started.
pub async fn serve<S: AsyncRead + AsyncWrite>(stream: S, request: TerminalRequest) {
    let (reader, writer) = split(stream);
    let mut writer = writer;
    let outcome = match open(&request) {
        Ok(session) => relay(reader, &mut writer, session).await,
        Err(error) => {
            let text = format!("raptor: cannot start it: {error}\r\n").into_bytes();
            send(&mut writer, &ServerFrame::Data(text)).await.and(Some(CANNOT_START))
        }
    };
    if let Some(status) = outcome {
        let _ = send(&mut writer, &ServerFrame::Exit(status)).await;
        let _ = writer.shutdown().await;
    }
}

/// A program that was started, and its ends of what it reads and writes.
struct Session {
    group: Group,
    input: Input,
    output: Box<dyn AsyncRead + Send + Unpin>,
    errors: Box<dyn AsyncRead + Send + Unpin>,
}

/// Where what is typed goes.
enum Input {
    Terminal(pty_process::OwnedWritePty),
    Pipe(Option<ChildStdin>),
}

fn open(request: &TerminalRequest) -> Result<Session, pty_process::Error> {
    let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
    let login = [shell, "-l".to_owned()];
    let argv = if request.argv.is_empty() { &login[..] } else { &request.argv[..] };
    if request.rows == 0 {
        let mut group = Group::spawn(argv, |command| {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        })?;
        let input = Input::Pipe(group.child.stdin.take());
        let output = group.child.stdout.take().map_or_else(nothing, boxed);
        let errors = group.child.stderr.take().map_or_else(nothing, boxed);
        return Ok(Session { group, input, output, errors });
    }
    let (pty, pts) = pty_process::open()?;
    pty.resize(pty_process::Size::new(request.rows, request.columns))?;
    let outside = outside::program(argv, Channel::Terminal(&request.term))?;
    let (program, arguments) =
        outside.argv.split_first().ok_or(std::io::Error::from(std::io::ErrorKind::InvalidInput))?;
    let mut command = pty_process::Command::new(program).args(arguments);
    for name in own_settings() {
        command = command.env_remove(name);
    }
    // The terminal makes the program the leader of a session, and so of a group.
    let child = command
        .env("TERM", &request.term)
        // systemd-run would colour the caller's terminal.
        .env("SYSTEMD_TINT_BACKGROUND", "0")
        .kill_on_drop(true)
        .spawn(pts)?;
    let (output, input) = pty.into_split();
    Ok(Session {
        group: Group::of(child, outside.unit),
        input: Input::Terminal(input),
        output: boxed(output),
        errors: nothing(),
    })
}

fn boxed(reader: impl AsyncRead + Send + Unpin + 'static) -> Box<dyn AsyncRead + Send + Unpin> {
    Box::new(reader)
}

fn nothing() -> Box<dyn AsyncRead + Send + Unpin> {
    Box::new(tokio::io::empty())
}

/// Carries bytes both ways, each at its own pace: a program may wait for its output to be read
/// before it reads on. Returns the exit status, or none when the caller hung up first.
async fn relay(
    reader: impl AsyncRead + Unpin,
    writer: &mut (impl AsyncWrite + Unpin),
    session: Session,
) -> Option<i32> {
    let Session { mut group, input, output, errors } = session;
    let (gone, is_gone) = watch::channel(false);
    let writer = Mutex::new(writer);
    let ended = async {
        let (status, said, complained) = tokio::join!(
            async {
                let status = group.child.wait().await;
                gone.send_replace(true);
                status
            },
            tell(output, &writer, is_gone.clone(), ServerFrame::Data),
            tell(errors, &writer, is_gone.clone(), ServerFrame::Error),
        );
        said.and(complained)?;
        status.ok().map(exit_code)
    };
    let status = tokio::select! {
        status = ended => status,
        () = listen(reader, input) => None,
    };
    if status.is_some() {
        group.release();
    }
    status
}

/// Carries what the program says; none when the caller hung up.
async fn tell<W: AsyncWrite + Unpin>(
    mut output: impl AsyncRead + Unpin,
    writer: &Mutex<&mut W>,
    mut is_gone: watch::Receiver<bool>,
    frame: impl Fn(Vec<u8>) -> ServerFrame,
) -> Option<()> {
    let mut buffer = vec![0u8; CHUNK_SIZE];
    while let Some(length) = read_until_gone(&mut output, &mut buffer, &mut is_gone).await {
        let frame = frame(buffer[..length].to_vec());
        send(&mut **writer.lock().await, &frame).await?;
    }
    Some(())
}

/// Carries what the caller types, until it hangs up or speaks nonsense.
async fn listen(mut reader: impl AsyncRead + Unpin, mut input: Input) {
    let mut frames = FrameDecoder::default();
    let mut buffer = vec![0u8; CHUNK_SIZE];
    while let Some(length) = reader.read(&mut buffer).await.ok().filter(|length| *length > 0) {
        frames.push(&buffer[..length]);
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => apply(&mut input, frame).await,
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
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
    stream.write_all(&bytes).await.ok()?;
    stream.flush().await.ok()
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
                ServerFrame::Data(data) | ServerFrame::Error(data) => text.extend(data),
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

    #[tokio::test]
    async fn what_a_program_complains_of_comes_apart_from_what_it_says() {
        let (text, _) = session(0, &["sh", "-c", "echo wrong >&2"], &[]).await;
        assert_eq!(text, "wrong\n");
    }

    #[tokio::test]
    async fn much_input_is_answered_while_it_is_still_sent() {
        let request = TerminalRequest {
            rows: 0,
            columns: 0,
            term: String::new(),
            argv: vec!["cat".to_owned()],
        };
        let (near, far) = tokio::io::duplex(1024);
        let serving = tokio::spawn(serve(far, request));
        let (mut reader, mut writer) = split(near);
        let typing = async {
            let mut bytes = Vec::new();
            ClientFrame::Data(vec![b'x'; 1_000_000]).encode(&mut bytes);
            ClientFrame::EndOfInput.encode(&mut bytes);
            writer.write_all(&bytes).await.unwrap();
        };
        let mut received = Vec::new();
        let exchange = async { tokio::join!(typing, reader.read_to_end(&mut received)) };
        let limit = std::time::Duration::from_secs(30);
        tokio::time::timeout(limit, exchange).await.expect("both sides wait").1.unwrap();
        assert!(received.len() > 1_000_000);
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn hanging_up_ends_what_the_program_started() {
        for rows in [0, 24] {
            let script = "sleep 1000 & echo $!; wait";
            let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
            let request = TerminalRequest { rows, columns: 80, term: "xterm".to_owned(), argv };
            let (mut near, far) = tokio::io::duplex(1024);
            let serving = tokio::spawn(serve(far, request));
            let mut frames = FrameDecoder::default();
            let mut text = String::new();
            while !text.ends_with('\n') {
                let mut buffer = [0; 64];
                let length = near.read(&mut buffer).await.unwrap();
                frames.push(&buffer[..length]);
                while let Some(ServerFrame::Data(data)) = frames.next_frame().unwrap() {
                    text.push_str(&String::from_utf8(data).unwrap());
                }
            }
            drop(near);
            serving.await.unwrap();
            let stat = format!("/proc/{}/stat", text.trim());
            let is_gone =
                || std::fs::read_to_string(&stat).map_or(true, |text| text.contains(") Z "));
            let gone = async {
                while !is_gone() {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            };
            let limit = std::time::Duration::from_secs(20);
            tokio::time::timeout(limit, gone).await.expect("it survived");
        }
    }
}

//! Files onto a host: asked for by their SHA-256, sent through `cat`'s place in one session.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use crate::ssh::carry::{Carrier, finish, lost};
use crate::ssh::error::{Cause, HostError};
use crate::ssh::host::{Output, Source, Upload, Uploaded};
use crate::ssh::pipe;
use crate::ssh::shell::receiving;
use crate::ssh::transport::{Channel, Input};

/// How long a host may take over one piece, or over its answer.
const STALL: Duration = Duration::from_secs(60);

/// Bytes that are sent in one piece.
const PIECE: usize = 64 * 1024;

/// Bytes of a file that are moved in one go.
const MOVE: usize = 1024 * 1024;

/// What has the host take the bytes that follow.
const GO: &[u8] = b"go\n";

/// What is sent.
enum Bytes {
    Memory(Arc<[u8]>),
    File(File),
}

/// SHA-256 of `bytes` in hexadecimal.
#[must_use]
pub fn sha256_of_bytes(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

/// SHA-256 of a file in hexadecimal.
///
/// # Errors
/// What reading it gave.
pub fn sha256_of_file(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut std::fs::File::open(path)?, &mut hash)?;
    Ok(data_encoding::HEXLOWER.encode(&hash.finalize()))
}

/// Puts a file on a host.
pub(crate) async fn upload(carrier: Carrier<'_>, upload: Upload) -> Result<Uploaded, HostError> {
    let step = format!("copying to {}", upload.destination);
    send(carrier, &upload).await.map_err(|cause| HostError::new(carrier.machine, step, cause))
}

async fn send(carrier: Carrier<'_>, upload: &Upload) -> Result<Uploaded, Cause> {
    let path = &upload.destination;
    if !path.starts_with('/') || path.ends_with('/') || path.contains(['\0', '\n']) {
        return Err(Cause::Invalid { detail: format!("{path:?} is not the path of a file") });
    }
    let (bytes, length, sha256) = open(&upload.source, upload.sha256.clone()).await?;
    let elevation = carrier.elevation(upload.sudo);
    let command_line = receiving(path, upload.mode, length, &sha256, elevation);
    let mut channel = within(carrier.transport.open(command_line)).await??;
    within(carrier.send_password(&mut channel, upload.sudo)).await?.map_err(lost)?;

    let mut stdout = BufReader::new(channel.stdout);
    let mut answer = String::new();
    within((&mut stdout).take(64).read_line(&mut answer)).await?.map_err(lost)?;
    channel.stdout = Box::new(stdout);
    if answer.trim() == "send" {
        if let Some(permission) = &upload.permission {
            permission.notified().await;
        }
        stream(&mut channel, bytes, length, upload).await?;
    }
    let output = within(finish(channel, None)).await??;
    if output.status != 0 {
        return Err(refusal(path, &output));
    }
    Ok(Uploaded { skipped: answer.trim() == "same" })
}

/// Sends all bytes. A host that ends early is no error here: its status says why.
async fn stream(
    channel: &mut Channel,
    bytes: Bytes,
    length: u64,
    upload: &Upload,
) -> Result<(), Cause> {
    if within(channel.stdin.write_all(GO)).await?.is_err() {
        return Ok(());
    }
    let mut rest: Box<dyn AsyncRead + Send + Unpin> = match bytes {
        Bytes::Memory(bytes) => Box::new(io::Cursor::new(bytes)),
        Bytes::File(file) => match move_into(channel, &file, length, upload).await? {
            Moved::All => return Ok(()),
            Moved::Nothing => Box::new(tokio::fs::File::from_std(file)),
        },
    };
    let mut piece = vec![0u8; PIECE];
    let mut sent = 0u64;
    while sent < length {
        let read = rest.read(&mut piece).await.map_err(|source| unreadable(upload, source))?;
        if read == 0 {
            return Err(unreadable(upload, io::ErrorKind::UnexpectedEof.into()));
        }
        if within(channel.stdin.write_all(&piece[..read])).await?.is_err() {
            return Ok(());
        }
        sent += read as u64;
        tell(upload, sent);
    }
    let _early_end = within(channel.stdin.flush()).await?;
    Ok(())
}

/// How far a file got without being copied.
enum Moved {
    /// To its end, or to that of the host.
    All,
    /// That is not done with this file, or this session.
    Nothing,
}

/// Has the system move a file into the session's pipe.
async fn move_into(
    channel: &mut Channel,
    file: &File,
    length: u64,
    upload: &Upload,
) -> Result<Moved, Cause> {
    let Input::Pipe(pipe) = &mut channel.stdin else { return Ok(Moved::Nothing) };
    let mut sent = 0u64;
    while sent < length {
        let left = usize::try_from(length - sent).unwrap_or(MOVE).min(MOVE);
        match within(pipe::move_into(pipe, file, left)).await? {
            Ok(0) => return Err(unreadable(upload, io::ErrorKind::UnexpectedEof.into())),
            Ok(moved) => sent += moved as u64,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Moved::All),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput && sent == 0 => {
                return Ok(Moved::Nothing);
            }
            Err(source) => return Err(unreadable(upload, source)),
        }
        tell(upload, sent);
    }
    Ok(Moved::All)
}

fn tell(upload: &Upload, sent: u64) {
    if let Some(observer) = &upload.observer {
        observer(sent);
    }
}

async fn open(source: &Source, known: Option<String>) -> Result<(Bytes, u64, String), Cause> {
    match source {
        Source::Bytes(bytes) => {
            let sha256 = known.unwrap_or_else(|| sha256_of_bytes(bytes));
            Ok((Bytes::Memory(bytes.clone()), bytes.len() as u64, sha256))
        }
        Source::File(path) => {
            let local = |source| Cause::LocalFile { path: path.clone(), source };
            let sha256 = if let Some(sha256) = known {
                sha256
            } else {
                let path = path.clone();
                tokio::task::spawn_blocking(move || sha256_of_file(&path))
                    .await
                    .map_err(|_| local(io::Error::other("reading was given up")))?
                    .map_err(local)?
            };
            let file = File::open(path).map_err(local)?;
            let length = file.metadata().map_err(local)?.len();
            Ok((Bytes::File(file), length, sha256))
        }
    }
}

fn unreadable(upload: &Upload, source: io::Error) -> Cause {
    match &upload.source {
        Source::File(path) => Cause::LocalFile { path: path.clone(), source },
        Source::Bytes(_) => Cause::Other { detail: source.to_string() },
    }
}

fn refusal(path: &str, output: &Output) -> Cause {
    let text = String::from_utf8_lossy(&output.stderr);
    let path = path.to_owned();
    if text.contains("No space left on device") || text.contains("Disk quota exceeded") {
        return Cause::DiskFull { path };
    }
    let detail = text.lines().last().unwrap_or_default().trim().to_owned();
    match output.status {
        75 => Cause::Damaged { path },
        _ if detail.is_empty() => {
            Cause::NotWritable { path, detail: format!("status {}", output.status) }
        }
        _ => Cause::NotWritable { path, detail },
    }
}

async fn within<Work: Future>(work: Work) -> Result<Work::Output, Cause> {
    timeout(STALL, work).await.map_err(|_| Cause::CommandTimeout { after: STALL })
}

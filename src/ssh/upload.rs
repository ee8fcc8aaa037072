//! Files onto a host: asked for by their SHA-256, sent through `cat`'s place in one session.

use std::io;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use crate::ssh::carry::{Carrier, finish, lost};
use crate::ssh::error::{Cause, HostError};
use crate::ssh::host::{Output, Source, Upload, Uploaded};
use crate::ssh::shell::receiving;
use crate::ssh::transport::Channel;

/// How long a host may take over one piece, or over its answer.
const STALL: Duration = Duration::from_secs(60);

/// Bytes that are sent in one piece.
const PIECE: usize = 64 * 1024;

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
    let (mut bytes, length, sha256) = open(&upload.source, upload.sha256.clone()).await?;
    let elevation = carrier.elevation(upload.sudo);
    let command_line = receiving(path, upload.mode, length, &sha256, elevation);
    let mut channel = within(carrier.transport.open(command_line)).await??;
    within(carrier.send_password(&mut channel, upload.sudo)).await?.map_err(lost)?;

    let mut stdout = BufReader::new(channel.stdout);
    let mut answer = String::new();
    within((&mut stdout).take(64).read_line(&mut answer)).await?.map_err(lost)?;
    channel.stdout = Box::new(stdout);
    if answer.trim() == "send" {
        stream(&mut channel, bytes.as_mut(), length, upload).await?;
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
    bytes: &mut (dyn AsyncRead + Send + Unpin),
    length: u64,
    upload: &Upload,
) -> Result<(), Cause> {
    let mut piece = vec![0u8; PIECE];
    let mut sent = 0u64;
    while sent < length {
        let read = bytes.read(&mut piece).await.map_err(|source| unreadable(upload, source))?;
        if read == 0 {
            let source = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(unreadable(upload, source));
        }
        if within(channel.stdin.write_all(&piece[..read])).await?.is_err() {
            return Ok(());
        }
        sent += read as u64;
        if let Some(observer) = &upload.observer {
            observer(sent);
        }
    }
    let _early_end = within(channel.stdin.flush()).await?;
    Ok(())
}

async fn open(
    source: &Source,
    known: Option<String>,
) -> Result<(Box<dyn AsyncRead + Send + Unpin>, u64, String), Cause> {
    match source {
        Source::Bytes(bytes) => {
            let sha256 = known.unwrap_or_else(|| sha256_of_bytes(bytes));
            let length = bytes.len() as u64;
            Ok((Box::new(io::Cursor::new(bytes.clone())), length, sha256))
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
            let file = tokio::fs::File::open(path).await.map_err(local)?;
            let length = file.metadata().await.map_err(local)?.len();
            Ok((Box::new(file), length, sha256))
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

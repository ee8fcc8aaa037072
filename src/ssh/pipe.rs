//! What a session on a host reads: a pipe of our own, into which files go without being copied.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, splice};
use tokio::net::unix::pipe;

/// Bytes that wait in the pipe at most, where the system allows so many (`pipe-max-size`, `pipe(7)`).
const SIZE: usize = 1024 * 1024;

/// The end to write to, and the end to hand to another process.
pub(crate) fn new() -> io::Result<(pipe::Sender, OwnedFd)> {
    let (sender, receiver) = pipe::pipe()?;
    // With less there are only more turns.
    let _as_it_was = fcntl_setpipe_size(&sender, SIZE);
    Ok((sender, receiver.into_blocking_fd()?))
}

/// Moves up to `length` bytes of `file`, from where it stands, into the pipe (`splice(2)`): how many;
/// 0 at its end. `InvalidInput` when its file system cannot do so.
pub(crate) async fn move_into(
    pipe: &mut pipe::Sender,
    file: &File,
    length: usize,
) -> io::Result<usize> {
    loop {
        pipe.writable().await?;
        let moved = pipe.try_io(|| Ok(splice(file, None, &*pipe, None, length, FLAGS)?));
        match moved {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            moved => return moved,
        }
    }
}

const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK;

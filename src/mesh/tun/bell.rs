//! How the threads wait, and wake each other.

use std::io;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::event::EventfdFlags;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::event::eventfd;
use rustix::event::poll;

/// Once rung it is heard by all who wait for it, until somebody silences it.
#[derive(Debug, Clone)]
pub(super) struct Bell(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: OwnedFd,
    rings: AtomicBool,
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }
}

impl Bell {
    /// A silent one.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self(Arc::new(Inner { file: eventfd(0, flags)?, rings: AtomicBool::new(false) })))
    }

    /// Rings until it is silenced.
    pub(super) fn ring(&self) {
        self.0.rings.store(true, Ordering::Release);
        let _ = rustix::io::write(&self.0.file, &1u64.to_ne_bytes());
    }

    /// Ends the ringing.
    pub(super) fn silence(&self) {
        let _ = rustix::io::read(&self.0.file, &mut [0u8; 8]);
        self.0.rings.store(false, Ordering::Release);
    }

    /// Whether it rings.
    pub(super) fn rings(&self) -> bool {
        self.0.rings.load(Ordering::Acquire)
    }
}

/// Waits until one of `files` has something to read, at most for `time`; which of them have.
///
/// # Errors
/// The operating system's: one of them is gone.
pub(super) fn wait<const N: usize>(
    files: [BorrowedFd<'_>; N],
    time: Option<Duration>,
) -> io::Result<[bool; N]> {
    let mut polled = files.map(|file| PollFd::from_borrowed_fd(file, PollFlags::IN));
    let time = time.map(|time| Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    });
    match poll(&mut polled, time.as_ref()) {
        // Whoever was interrupted looks again.
        Err(rustix::io::Errno::INTR) => return Ok([false; N]),
        outcome => outcome?,
    };
    if polled.iter().any(|one| one.revents().intersects(PollFlags::ERR | PollFlags::NVAL)) {
        return Err(ErrorKind::BrokenPipe.into());
    }
    Ok(polled.map(|one| !one.revents().is_empty()))
}

//! Who works when. The first thread does everything: one that waits for both the device and the
//! socket answers a packet without another thread having to wake, which costs more than all else on
//! a packet's way. Under load the second thread takes the way out over, until that has been quiet
//! for a while.

use std::io;
use std::num::NonZero;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::mesh::socket::data::DataSocket;
use crate::mesh::tun::bell::Bell;
use crate::mesh::tun::bell::wait;
use crate::mesh::tun::carrier::Carrier;
use crate::mesh::tun::device::DeviceFile;
use crate::mesh::tun::inward::Inward;
use crate::mesh::tun::outward::Outward;

/// Turns on which something went out, without a quiet time between them, after which there is enough for two.
const BUSY_TURNS: u32 = 16;
/// Who slept so long was quiet. Its processor slept as well, and another's may by now: waking one
/// takes longer than all else on a packet's way.
const SPARSE: Duration = Duration::from_millis(1);
/// When nothing has gone out for so long the second thread gives the way out back.
const QUIET: Duration = Duration::from_millis(5);

/// For so long the answer to what was sent is watched for before the thread sleeps: longer than a
/// neighbour in the same building takes, and short enough to cost little.
const WATCH: Duration = Duration::from_micros(100);
/// Watches in vain after which only one of [`WATCH_RARELY`] is kept.
const VAIN_MAX: u32 = 4;
/// See [`VAIN_MAX`].
const WATCH_RARELY: u32 = 32;

/// What one turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// There was nothing to do.
    Idle,
    /// Something was done, and nothing sent.
    Worked,
    /// Something was sent to others.
    Sent,
}

/// Neither way had anything.
const IDLE: [Turn; 2] = [Turn::Idle; 2];

/// Decides whether an answer is worth watching for.
#[derive(Debug, Default)]
struct Patience {
    in_vain: u32,
    skipped: u32,
}

impl Patience {
    /// Whether to watch this time.
    fn watches(&mut self) -> bool {
        if self.in_vain < VAIN_MAX {
            return true;
        }
        self.skipped += 1;
        let is_turn = self.skipped >= WATCH_RARELY;
        self.skipped = if is_turn { 0 } else { self.skipped };
        is_turn
    }

    /// Whether something came while it was watched for.
    fn ended(&mut self, came: bool) {
        self.in_vain = if came { 0 } else { self.in_vain.saturating_add(1) };
    }
}

/// What both threads share.
pub(super) struct Crew<C: Carrier> {
    outward: Mutex<Outward<C>>,
    device: DeviceFile,
    /// Whether the second thread has the way out.
    is_shared: AtomicBool,
    /// Wakes the second thread.
    call: Bell,
    /// Wakes the first one: it has the way out again.
    back: Bell,
    stop: Bell,
}

impl<C: Carrier> Crew<C> {
    pub(super) fn new(
        outward: Outward<C>,
        device: DeviceFile,
        stop: Bell,
    ) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            outward: Mutex::new(outward),
            device,
            is_shared: AtomicBool::new(false),
            call: Bell::new()?,
            back: Bell::new()?,
            stop,
        }))
    }

    fn outward(&self) -> MutexGuard<'_, Outward<C>> {
        self.outward.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first thread, until stopped.
    ///
    /// # Errors
    /// The operating system's: the device or the socket is gone.
    pub(super) fn lead(&self, mut inward: Inward<C>, socket: &DataSocket) -> io::Result<()> {
        // Where there is one processor, whoever is to answer needs it.
        let may_watch =
            thread::available_parallelism().is_ok_and(|count| count > NonZero::<usize>::MIN);
        let mut patience = Patience::default();
        // Turns on which something went out since it was quiet, and whether the answer to what was
        // sent may be watched for: once after each quiet time.
        let (mut busy_turns, mut has_sent, mut is_fresh) = (0u32, false, true);
        while !self.stop.rings() {
            let is_shared = self.is_shared.load(Ordering::Acquire);
            let [came, went] = self.turn(&mut inward, is_shared)?;
            if [came, went] != IDLE {
                has_sent |= came == Turn::Sent || went == Turn::Sent;
                busy_turns = busy_turns.saturating_add(u32::from(went != Turn::Idle));
                if busy_turns >= BUSY_TURNS && !is_shared {
                    self.is_shared.store(true, Ordering::Release);
                    self.call.ring();
                }
                continue;
            }
            let watches = may_watch && !is_shared && is_fresh && has_sent;
            has_sent = false;
            if watches && patience.watches() {
                is_fresh = false;
                let came = self.watch(&mut inward)?;
                patience.ended(came);
                if came {
                    continue;
                }
            }
            let slept = Instant::now();
            self.sleep(socket, is_shared)?;
            if slept.elapsed() >= SPARSE {
                (busy_turns, is_fresh) = (0, true);
            }
        }
        Ok(())
    }

    /// Waits for work, or for the other thread's word.
    fn sleep(&self, socket: &DataSocket, is_shared: bool) -> io::Result<()> {
        let (socket, stop, back) = (socket.as_fd(), self.stop.as_fd(), self.back.as_fd());
        let [_, _, returned, _] = if is_shared {
            wait([socket, stop, back, stop], None)?
        } else {
            wait([socket, stop, back, self.device.as_fd()], None)?
        };
        if returned {
            self.back.silence();
        }
        Ok(())
    }

    /// One look at each way: in, then out.
    fn turn(&self, inward: &mut Inward<C>, is_shared: bool) -> io::Result<[Turn; 2]> {
        let came = inward.turn()?;
        let went = if is_shared { Turn::Idle } else { self.outward().turn()? };
        Ok([came, went])
    }

    /// Watches for an answer a moment, others that want the processor first. Whether one came.
    fn watch(&self, inward: &mut Inward<C>) -> io::Result<bool> {
        let end = Instant::now() + WATCH;
        while Instant::now() < end {
            if self.turn(inward, false)? != IDLE {
                return Ok(true);
            }
            thread::yield_now();
        }
        Ok(false)
    }

    /// The second thread, until stopped.
    ///
    /// # Errors
    /// The operating system's: the device is gone.
    pub(super) fn assist(&self) -> io::Result<()> {
        while !self.stop.rings() {
            let [called, _] = wait([self.call.as_fd(), self.stop.as_fd()], None)?;
            if !called {
                continue;
            }
            self.call.silence();
            let mut goes = true;
            while goes && !self.stop.rings() {
                while self.outward().turn()? != Turn::Idle && !self.stop.rings() {}
                [goes, _] = wait([self.device.as_fd(), self.stop.as_fd()], Some(QUIET))?;
            }
            self.is_shared.store(false, Ordering::Release);
            self.back.ring();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_watches_in_vain_watches_rarely_until_something_comes() {
        let mut patience = Patience::default();
        let vain = (0..1_000).filter(|_| {
            let watches = patience.watches();
            if watches {
                patience.ended(false);
            }
            watches
        });
        let count = u32::try_from(vain.count()).unwrap();
        assert!((VAIN_MAX..=VAIN_MAX + 1_000 / WATCH_RARELY).contains(&count), "{count}");
        patience.ended(true);
        assert!((0..VAIN_MAX).all(|_| {
            let watches = patience.watches();
            patience.ended(false);
            watches
        }));
        assert!(!patience.watches());
    }
}

//! The loop: waits for a packet, a request, the disk or a timer, and lets [`Core`] deal with it.

use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio::time::sleep_until;

use crate::agent::clock::Clock;
use crate::agent::core::Core;
use crate::agent::core::Inbox;
use crate::agent::core::Stopping;
use crate::agent::handle::Command;
use crate::agent::storage::Stored;
use crate::mesh::interfaces::watch::AddressWatch;
use crate::model::time::Moment;

/// Timers that are due so shortly after one another are dealt with together, when the last of them is:
/// each time of its own costs a wakeup.
const TICK: Duration = Duration::from_millis(10);

/// Requests dealt with before the socket is looked at again.
const COMMAND_BATCH: usize = 32;

/// What the loop waits for besides packets and timers.
pub struct Sources {
    /// Requests of the API and of other members.
    pub commands: mpsc::Receiver<Command>,
    /// Answers of the disk.
    pub stored: mpsc::UnboundedReceiver<Stored>,
    /// What the agent's own tasks report.
    pub inbox: mpsc::Receiver<Inbox>,
    /// Monotonic time.
    pub clock: Clock,
}

/// Runs until the agent is to end; why it does.
///
/// # Errors
/// When signals cannot be received.
pub async fn run(core: &mut Core, mut sources: Sources) -> std::io::Result<Stopping> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let watch = AddressWatch::open();
    core.addresses_are_told(watch.is_open());
    let mut commands = Vec::with_capacity(COMMAND_BATCH);
    loop {
        if let Some(why) = core.stopping() {
            return Ok(why);
        }
        let due = at_tick(core.next_timeout(), core.now());
        let due = Instant::from_std(sources.clock.instant(due));
        let (socket, lane, interface) = core.waits();
        tokio::select! {
            readable = socket.ready() => match readable {
                Ok(()) => core.receive_packets(),
                Err(error) => {
                    tracing::error!(%error, "the mesh socket is gone");
                    core.stop(Stopping::Asked, false);
                }
            },
            arrival = interface.next() => core.receive_arrivals(arrival),
            Some((destination, packet)) = lane.outgoing() => {
                core.send_stream_packets(destination, packet);
            }
            () = sleep_until(due) => core.handle_timeout(),
            count = sources.commands.recv_many(&mut commands, COMMAND_BATCH) => {
                // The core itself holds a handle, so the queue never closes while it runs.
                debug_assert!(count > 0, "the queue closed while the core runs");
                for command in commands.drain(..) {
                    core.handle_command(command);
                }
            }
            Some(outcome) = sources.stored.recv() => core.stored(outcome),
            Some(message) = sources.inbox.recv() => core.handle_inbox(message),
            () = watch.changed() => core.addresses_changed(),
            () = ended(&mut terminate, &mut interrupt) => core.end(),
        }
    }
}

/// When what is due at `due` is dealt with: at the end of its tick, unless it is late already.
fn at_tick(due: Moment, now: Moment) -> Moment {
    if due <= now {
        return due;
    }
    let ticks = due.since(Moment::START).as_nanos().div_ceil(TICK.as_nanos());
    Moment::at(TICK * u32::try_from(ticks).unwrap_or(u32::MAX))
}

async fn ended(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_within_a_tick_is_due_at_its_end_and_what_is_late_at_once() {
        let at = |micros| Moment::at(Duration::from_micros(micros));
        for (due, now, expected) in [
            (20_001, 0, 30_000),
            (29_999, 0, 30_000),
            (30_000, 29_999, 30_000),
            (29_999, 29_999, 29_999),
            (5, 1_000_000, 5),
        ] {
            assert_eq!(at_tick(at(due), at(now)), at(expected), "{due} at {now}");
        }
    }
}

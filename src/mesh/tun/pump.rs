//! The two threads between the device and the socket, and what they share with the agent's loop.

use std::io;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;

use tokio::sync::Notify;
use tokio::sync::mpsc;

use crate::mesh::plane::header::InnerProtocol;
use crate::mesh::socket::data::DataSocket;
use crate::mesh::tun::bell::Bell;
use crate::mesh::tun::carrier::Carrier;
use crate::mesh::tun::crew::Crew;
use crate::mesh::tun::device::DeviceFile;
use crate::mesh::tun::inward::Inward;
use crate::mesh::tun::outward::Outward;
use crate::model::time::Moment;

/// What waits for the agent's loop at most; more is lost, as from a full socket.
const ARRIVALS_MAX: usize = 1_024;

/// What the threads hand to the agent's loop.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A datagram of the control plane.
    Datagram {
        /// Where it came from.
        source: SocketAddr,
        /// The datagram.
        datagram: Vec<u8>,
    },
    /// A payload that is not for the device.
    Payload {
        /// The member that sent it.
        source: Ipv6Addr,
        /// What it is for.
        protocol: InnerProtocol,
        /// The payload.
        payload: Vec<u8>,
    },
    /// A packet that has no session or no way yet.
    Unsent {
        /// Where it should go.
        destination: Ipv6Addr,
        /// What it is.
        protocol: InnerProtocol,
        /// The packet.
        payload: Vec<u8>,
    },
}

/// What went through the device.
#[derive(Debug, Default)]
pub struct Counters {
    packets_sent: AtomicU64,
    bytes_sent: AtomicU64,
    packets_received: AtomicU64,
    bytes_received: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
}

/// [`Counters`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceCounts {
    /// Packets from this machine's programs that were sent.
    pub packets_sent: u64,
    /// Their bytes, headers of cut packets counted once.
    pub bytes_sent: u64,
    /// Packets for this machine's programs.
    pub packets_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Packets too long for their path, or not what their sender may send.
    pub refused: u64,
    /// What the agent's loop had no room for.
    pub lost: u64,
}

impl Counters {
    pub(super) fn sent(&self, packets: usize, bytes: usize) {
        self.packets_sent.fetch_add(packets as u64, Ordering::Relaxed);
        self.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.packets_received.fetch_add(1, Ordering::Relaxed);
        self.bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn counts(&self) -> DeviceCounts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        DeviceCounts {
            packets_sent: get(&self.packets_sent),
            bytes_sent: get(&self.bytes_sent),
            packets_received: get(&self.packets_received),
            bytes_received: get(&self.bytes_received),
            refused: get(&self.refused),
            lost: get(&self.lost),
        }
    }
}

/// What both threads hold.
pub(super) struct Shared<C: Carrier> {
    pub(super) carrier: Arc<C>,
    pub(super) device: DeviceFile,
    pub(super) own: Ipv6Addr,
    pub(super) counters: Arc<Counters>,
    clock: Arc<dyn Fn() -> Moment + Send + Sync>,
    arrivals: mpsc::Sender<Arrival>,
    events: Arc<Notify>,
}

impl<C: Carrier> Clone for Shared<C> {
    fn clone(&self) -> Self {
        Self {
            carrier: Arc::clone(&self.carrier),
            device: self.device.clone(),
            own: self.own,
            counters: Arc::clone(&self.counters),
            clock: Arc::clone(&self.clock),
            arrivals: self.arrivals.clone(),
            events: Arc::clone(&self.events),
        }
    }
}

impl<C: Carrier> Shared<C> {
    pub(super) fn now(&self) -> Moment {
        (self.clock)()
    }

    /// Hands something to the agent's loop; lost and counted when it is behind.
    pub(super) fn tell(&self, arrival: Arrival) {
        if self.arrivals.try_send(arrival).is_err() {
            self.counters.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Wakes the agent's loop when the carrier has something to say.
    pub(super) fn wake(&self) {
        if self.carrier.has_events() {
            self.events.notify_one();
        }
    }
}

/// The running threads. Dropped, they end before it returns.
pub struct Pump {
    stop: Bell,
    threads: Vec<JoinHandle<()>>,
    arrivals: mpsc::Receiver<Arrival>,
    events: Arc<Notify>,
    counters: Arc<Counters>,
}

impl Pump {
    /// Starts both threads: from now on `socket` is read by them alone.
    ///
    /// # Errors
    /// The operating system refused a thread or a descriptor.
    pub fn start<C: Carrier>(
        carrier: Arc<C>,
        device: DeviceFile,
        socket: DataSocket,
        own: Ipv6Addr,
        clock: Arc<dyn Fn() -> Moment + Send + Sync>,
    ) -> io::Result<Self> {
        let stop = Bell::new()?;
        let (sender, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let (events, counters) = (Arc::<Notify>::default(), Arc::<Counters>::default());
        let shared = Shared {
            carrier,
            device: device.clone(),
            own,
            counters: Arc::clone(&counters),
            clock,
            arrivals: sender,
            events: Arc::clone(&events),
        };
        let outward = Outward::new(shared.clone(), socket.try_clone()?);
        let inward = Inward::new(shared, socket.try_clone()?);
        let first = Crew::new(outward, device, stop.clone())?;
        let second = Arc::clone(&first);
        let mut pump = Self { stop, threads: Vec::new(), arrivals, events, counters };
        pump.thread("mesh-1", move || first.lead(inward, &socket))?;
        pump.thread("mesh-2", move || second.assist())?;
        Ok(pump)
    }

    fn thread(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let body = move || {
            if let Err(error) = work() {
                tracing::error!(%error, "the {name} thread has ended");
            }
        };
        self.threads.push(thread::Builder::new().name(name.to_owned()).spawn(body)?);
        Ok(())
    }

    /// Waits for the next arrival; none when it is only that the carrier has events. Cancelling
    /// loses nothing.
    pub async fn next(&mut self) -> Option<Arrival> {
        tokio::select! {
            arrival = self.arrivals.recv() => match arrival {
                Some(arrival) => Some(arrival),
                // Both threads have failed, and said so: nothing will come.
                None => std::future::pending().await,
            },
            () = self.events.notified() => None,
        }
    }

    /// The next arrival, if it is here already.
    pub fn try_next(&mut self) -> Option<Arrival> {
        self.arrivals.try_recv().ok()
    }

    /// What went through so far.
    #[must_use]
    pub fn counts(&self) -> DeviceCounts {
        self.counters.counts()
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.stop.ring();
        for thread in self.threads.drain(..) {
            // A panic there was reported by its thread.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;

//! The disk behind a thread of its own, so that a slow disk never delays a heartbeat.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::Sender;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use serde_json::Value;
use tokio::sync::mpsc;

use crate::agent::api::BootstrapPeer;
use crate::agent::error::chain;
use crate::agent::known_peers;
use crate::config::document::Document;
use crate::config::document::blob::Blob;
use crate::config::home::Home;
use crate::config::store;
use crate::config::store::DocumentStore;
use crate::model::cluster::Genesis;

/// Most jobs that share one flush.
const GROUP_MAX: usize = 64;

/// Work for the disk.
#[derive(Debug)]
enum Job {
    /// Append these updates and flush; answered in order by one [`Stored`] each.
    Append(Vec<Blob>),
    /// Rewrite the readable export.
    Export(Value),
    /// Fold the log into a snapshot of these updates: all that the document holds.
    Compact(Vec<Blob>),
    /// Remember where the other members are.
    Peers(Vec<BootstrapPeer>),
}

/// The outcome of one [`Job::Append`]: whether the log has grown long, or why it failed.
pub type Stored = Result<bool, String>;

/// The thread's queue. Whoever appends bounds how much waits in it; of the rest at most one export,
/// one snapshot and one list of members wait.
#[derive(Debug)]
pub struct Storage {
    jobs: Option<Sender<Job>>,
    waiting: Arc<Waiting>,
    thread: Option<JoinHandle<()>>,
}

/// Jobs of which one at a time is enough.
#[derive(Debug, Default)]
struct Waiting {
    export: AtomicBool,
    compaction: AtomicBool,
    peers: AtomicBool,
}

impl Storage {
    /// Starts the thread. Outcomes come out of the receiver in the order of their jobs.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        store: DocumentStore,
        genesis: Genesis,
        home: Home,
    ) -> std::io::Result<(Self, mpsc::UnboundedReceiver<Stored>)> {
        let (jobs, queue) = channel();
        // Bounded by the appends that wait: one outcome each.
        let (outcomes, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::new(Waiting::default());
        let worker = Worker { store, genesis, home, outcomes, waiting: Arc::clone(&waiting) };
        let thread = std::thread::Builder::new()
            .name("storage".to_owned())
            .spawn(move || worker.work(&queue))?;
        Ok((Self { jobs: Some(jobs), waiting, thread: Some(thread) }, receiver))
    }

    /// Has `blobs` written and flushed, after all that was handed over before; none at all tries
    /// again what the disk refused. False when the thread has died.
    #[must_use]
    pub fn append(&self, blobs: Vec<Blob>) -> bool {
        self.queue(Job::Append(blobs))
    }

    /// Has the readable export rewritten; false when an earlier one still waits.
    #[must_use]
    pub fn export(&self, value: impl FnOnce() -> Value) -> bool {
        !self.waiting.export.swap(true, Ordering::AcqRel) && self.queue(Job::Export(value()))
    }

    /// Has the log folded into a snapshot of `blobs`, which must be all that the document holds;
    /// not asked for them while an earlier snapshot waits.
    pub fn compact(&self, blobs: impl FnOnce() -> Vec<Blob>) {
        if !self.waiting.compaction.swap(true, Ordering::AcqRel) {
            self.queue(Job::Compact(blobs()));
        }
    }

    /// Keeps where the other members are; whether there was room for it.
    #[must_use]
    pub fn remember(&self, peers: impl FnOnce() -> Vec<BootstrapPeer>) -> bool {
        !self.waiting.peers.swap(true, Ordering::AcqRel) && self.queue(Job::Peers(peers()))
    }

    fn queue(&self, job: Job) -> bool {
        self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok())
    }
}

impl Drop for Storage {
    /// Waits until everything queued is on disk.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread works with.
struct Worker {
    store: DocumentStore,
    genesis: Genesis,
    home: Home,
    outcomes: mpsc::UnboundedSender<Stored>,
    waiting: Arc<Waiting>,
}

impl Worker {
    fn work(mut self, jobs: &Receiver<Job>) {
        let mut next = jobs.recv().ok();
        while let Some(job) = next {
            next = match job {
                Job::Append(blobs) => self.append(blobs, jobs),
                Job::Export(value) => {
                    self.waiting.export.store(false, Ordering::Release);
                    tidied("readable copy", self.export(&value));
                    None
                }
                Job::Compact(blobs) => {
                    tidied("snapshot", self.compact(blobs));
                    self.waiting.compaction.store(false, Ordering::Release);
                    None
                }
                Job::Peers(peers) => {
                    self.waiting.peers.store(false, Ordering::Release);
                    let saved = known_peers::save(&self.home, peers);
                    tidied("list of where the members are", saved.map_err(|error| chain(&error)));
                    None
                }
            };
            next = next.or_else(|| jobs.recv().ok());
        }
    }

    /// Appends, together with the appends right behind. Gives back the job that ended the row: a
    /// snapshot holds what was appended before it and nothing of what comes after, so no append
    /// may overtake it.
    fn append(&mut self, mut blobs: Vec<Blob>, jobs: &Receiver<Job>) -> Option<Job> {
        let mut appends = 1;
        let mut next = None;
        while appends < GROUP_MAX {
            match jobs.try_recv() {
                Ok(Job::Append(more)) => {
                    appends += 1;
                    blobs.extend(more);
                }
                Ok(other) => {
                    next = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        let stored = self.store.append_all(&blobs).map_err(|error| chain(&error));
        let outcome = stored.map(|()| self.store.is_compaction_due());
        for _ in 0..appends {
            let _ = self.outcomes.send(outcome.clone());
        }
        next
    }

    fn export(&self, value: &Value) -> Result<(), String> {
        store::export(value, &self.home.export_file()).map_err(|error| chain(&error))
    }

    fn compact(&mut self, blobs: Vec<Blob>) -> Result<(), String> {
        if !self.store.is_compaction_due() {
            return Ok(());
        }
        let mut document = Document::new(self.genesis.clone(), 0);
        document.restore(blobs);
        self.store.compact(&document).map_err(|error| chain(&error))
    }
}

/// Work that nobody waits for: when it fails, the next time makes up for it.
fn tidied(what: &str, done: Result<(), String>) {
    if let Err(error) = done {
        tracing::warn!(%error, "the {what} was not written");
    }
}

#[cfg(test)]
mod tests;

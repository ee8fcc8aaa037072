//! The disk behind a thread of its own, so that a slow disk never delays a heartbeat.

use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::sync::mpsc::TrySendError;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use serde_json::Value;
use tokio::sync::mpsc;

use crate::agent::error::chain;
use crate::config::document::Document;
use crate::config::document::blob::Blob;
use crate::config::store;
use crate::config::store::DocumentStore;
use crate::model::cluster::Genesis;

/// Jobs that may wait for the disk; beyond, writes are refused.
const JOB_QUEUE: usize = 256;

/// Most jobs that share one flush.
const GROUP_MAX: usize = 64;

/// Work for the disk.
#[derive(Debug)]
pub enum Job {
    /// Append these updates and flush; answered in order by one [`Stored`] each.
    Append(Vec<Blob>),
    /// Rewrite the readable export.
    Export(Value),
    /// Fold the log into a snapshot of these updates: all that the document holds.
    Compact(Vec<Blob>),
}

/// The outcome of one [`Job::Append`]: whether the log has grown long, or why it failed.
pub type Stored = Result<bool, String>;

/// The thread's queue.
#[derive(Debug)]
pub struct Storage {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Storage {
    /// Starts the thread. Outcomes come out of the receiver in the order of their jobs.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        store: DocumentStore,
        genesis: Genesis,
        export_path: PathBuf,
    ) -> std::io::Result<(Self, mpsc::UnboundedReceiver<Stored>)> {
        let (jobs, queue) = sync_channel(JOB_QUEUE);
        // Bounded by the jobs' own queue: one outcome a job.
        let (outcomes, receiver) = mpsc::unbounded_channel();
        let worker = Worker { store, genesis, export_path, outcomes };
        let thread = std::thread::Builder::new()
            .name("storage".to_owned())
            .spawn(move || worker.work(&queue))?;
        Ok((Self { jobs: Some(jobs), thread: Some(thread) }, receiver))
    }

    /// Queues a job; whether there was room for it.
    #[must_use]
    pub fn queue(&self, job: Job) -> bool {
        match self.jobs.as_ref().map(|jobs| jobs.try_send(job)) {
            Some(Ok(())) => true,
            Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) | None => false,
        }
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
    export_path: PathBuf,
    outcomes: mpsc::UnboundedSender<Stored>,
}

impl Worker {
    fn work(mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let mut blobs = Vec::new();
            let mut appends = 0usize;
            let mut others = Vec::new();
            for job in std::iter::once(first).chain(jobs.try_iter()).take(GROUP_MAX) {
                match job {
                    Job::Append(more) => {
                        appends += 1;
                        blobs.extend(more);
                    }
                    other => others.push(other),
                }
            }
            if appends > 0 {
                let stored = self.store.append_all(&blobs).map_err(|error| chain(&error));
                let outcome = stored.map(|()| self.store.is_compaction_due());
                for _ in 0..appends {
                    let _ = self.outcomes.send(outcome.clone());
                }
            }
            for job in others {
                self.tidy(job);
            }
        }
    }

    /// Work that nobody waits for: when it fails, the next time makes up for it.
    fn tidy(&mut self, job: Job) {
        let (what, done) = match job {
            Job::Append(_) => return,
            Job::Export(value) => ("readable copy", self.export(&value)),
            Job::Compact(blobs) => ("snapshot", self.compact(blobs)),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "the {what} was not written");
        }
    }

    fn export(&self, value: &Value) -> Result<(), String> {
        store::export(value, &self.export_path).map_err(|error| chain(&error))
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

//! Changes of the document: written here or come from elsewhere, on disk before they are
//! acknowledged or passed on.

use crate::agent::clock::wall_clock;
use crate::agent::core::Core;
use crate::agent::core::Inbox;
use crate::agent::core::roster::Roster;
use crate::agent::error::AgentError;
use crate::agent::storage::Stored;
use crate::config::change::Change;
use crate::config::document::Applied;
use crate::config::document::blob::Blob;
use crate::config::document::versions::Versions;
use crate::model::identity::NodeId;

/// Most bytes of updates in one message.
const BATCH_SIZE_MAX: usize = 4 * 1024 * 1024;

/// Updates, and bytes of them, that wait for a slow neighbour; beyond, documents are compared
/// instead.
const OUTBOX_COUNT_MAX: usize = 1_000;
const OUTBOX_SIZE_MAX: usize = 1024 * 1024;

/// Writes, and bytes of them, that may wait for the disk; beyond, they are refused before the
/// document has them.
const PENDING_COUNT_MAX: usize = 256;
const PENDING_SIZE_MAX: usize = 64 * 1024 * 1024;

/// What happens once updates are on disk.
pub type Completion = Box<dyn FnOnce(&mut Core, Result<(), AgentError>) + Send>;

/// Updates on their way to the disk.
pub struct PendingWrite {
    blobs: Vec<Blob>,
    bytes: usize,
    source: Option<NodeId>,
    done: Completion,
}

/// What a neighbour has not been handed yet.
#[derive(Debug, Default)]
pub struct Outgoing {
    blobs: Vec<Blob>,
    bytes: usize,
    /// Too much to be pushed: it is found by comparing documents.
    is_behind: bool,
}

impl Outgoing {
    fn add(&mut self, blobs: &[Blob]) {
        self.bytes += size(blobs);
        let count = self.blobs.len() + blobs.len();
        if self.is_behind || self.bytes > OUTBOX_SIZE_MAX || count > OUTBOX_COUNT_MAX {
            *self = Self { is_behind: true, ..Self::default() };
        } else {
            self.blobs.extend_from_slice(blobs);
        }
    }
}

fn size(blobs: &[Blob]) -> usize {
    blobs.iter().map(|blob| blob.encoded().len()).sum()
}

impl Core {
    /// Writes `changes` as one signed update; `done` runs once it is on disk.
    pub(super) fn write(&mut self, note: &str, changes: &[Change], done: Completion) {
        if !self.is_ready() {
            return done(self, Err(super::not_synced()));
        }
        if let Err(error) = self.check_backlog() {
            return done(self, Err(error));
        }
        let written = self.parts.document.write(&self.parts.key, wall_clock(), note, changes);
        match written {
            Ok(Some(blob)) => self.store(vec![blob], None, done),
            Ok(None) => done(self, Ok(())),
            Err(error) => {
                let error = AgentError::Invalid(crate::agent::error::chain(&error));
                done(self, Err(error));
            }
        }
    }

    /// Refuses new updates while the disk is too far behind. Later is too late: an update that the
    /// document has and the disk never gets would leave a gap before all that follow it.
    fn check_backlog(&self) -> Result<(), AgentError> {
        let bytes: usize = self.pending.iter().map(|write| write.bytes).sum();
        if self.pending.len() < PENDING_COUNT_MAX && bytes < PENDING_SIZE_MAX {
            return Ok(());
        }
        Err(AgentError::Unavailable("the disk is too far behind".to_owned()))
    }

    /// One that was put out may still ask for the news, and brings none itself: it could write
    /// itself back in. Before this machine knows the members, it believes who introduced it.
    fn check_source(&self, source: NodeId) -> Result<(), AgentError> {
        let Roster { members, evicted, .. } = self.roster();
        let is_introduced = self.introduced.contains_key(&source) && !evicted.contains_key(&source);
        if members.contains_key(&source) || is_introduced || !members.contains_key(&self.me()) {
            return Ok(());
        }
        Err(AgentError::Forbidden(format!("{} is no member", source.short())))
    }

    /// Takes updates that `source` passed on; `done` runs once the new ones are on disk.
    pub(super) fn apply(&mut self, source: NodeId, blobs: Vec<Blob>, done: Completion) {
        if let Err(error) = self.check_backlog().and_then(|()| self.check_source(source)) {
            return done(self, Err(error));
        }
        let mut accepted = Vec::new();
        for blob in blobs {
            match self.parts.document.apply(blob) {
                Ok(Applied::Applied { blobs, refused }) => {
                    accepted.extend(blobs);
                    for error in refused {
                        tracing::warn!(%error, "an update that had waited was refused");
                    }
                }
                Ok(Applied::Known | Applied::Waiting) => {}
                Err(error) => {
                    tracing::warn!(node = %source.short(), %error, "an update was refused");
                }
            }
        }
        if accepted.is_empty() {
            return done(self, Ok(()));
        }
        self.store(accepted, Some(source), done);
    }

    fn store(&mut self, blobs: Vec<Blob>, source: Option<NodeId>, done: Completion) {
        self.forget_roster();
        self.refresh_soon();
        if self.parts.storage.append(blobs.clone()) {
            let bytes = size(&blobs);
            self.pending.push_back(PendingWrite { blobs, bytes, source, done });
        } else {
            let reason = "the thread that writes to the disk has died".to_owned();
            self.disk_problem = Some(reason.clone());
            done(self, Err(AgentError::Bug(reason)));
        }
    }

    /// Tries again what the disk refused, so that it is mended without another write.
    pub(super) fn retry_storage(&mut self) {
        if self.disk_problem.is_some() && self.pending.is_empty() {
            self.store(Vec::new(), None, Box::new(|_, _| {}));
        }
    }

    /// The disk has answered the oldest pending write.
    pub fn stored(&mut self, outcome: Stored) {
        let Some(write) = self.pending.pop_front() else { return };
        self.disk_problem = outcome.as_ref().err().cloned();
        match outcome {
            Ok(log_is_long) => {
                self.export_soon();
                if log_is_long {
                    let document = &self.parts.document;
                    self.parts.storage.compact(|| document.blobs().to_vec());
                }
                self.pass_on(&write.blobs, write.source);
                (write.done)(self, Ok(()));
            }
            // What the disk refused is kept and goes first with the next write.
            Err(reason) => {
                let error = AgentError::Unavailable(format!("not on disk: {reason}"));
                (write.done)(self, Err(error));
            }
        }
        self.settle();
    }

    /// Hands new updates to the neighbours, but not back to where they came from.
    fn pass_on(&mut self, blobs: &[Blob], source: Option<NodeId>) {
        if blobs.is_empty() {
            return;
        }
        for node in self.neighbours().into_iter().filter(|node| Some(*node) != source) {
            self.outbox.entry(node).or_default().add(blobs);
            self.push_to(node);
        }
    }

    /// Starts handing over what waits for `node`, one batch at a time.
    fn push_to(&mut self, node: NodeId) {
        if self.pushing.contains(&node) {
            return;
        }
        let Some(outgoing) = self.outbox.remove(&node) else { return };
        if outgoing.is_behind {
            return self.sync_with(node);
        }
        let blobs = outgoing.blobs;
        self.pushing.insert(node);
        let (client, inbox) = (self.client.clone(), self.inbox.clone());
        tokio::spawn(async move {
            if let Err(error) = client.push(node, &blobs).await {
                tracing::debug!(node = %node.short(), %error, "a push failed");
            }
            let _ = inbox.send(Inbox::Pushed(node)).await;
        });
    }

    /// A batch has been handed over, or could not be.
    pub fn pushed(&mut self, node: NodeId) {
        self.pushing.remove(&node);
        self.push_to(node);
    }

    /// What `theirs` lacks, as much as one message carries.
    pub(super) fn missing(&self, theirs: &Versions) -> Vec<Blob> {
        self.parts.document.missing(theirs, BATCH_SIZE_MAX)
    }

    fn export_soon(&mut self) {
        /// The export is for people: a burst of writes makes one.
        const DELAY: std::time::Duration = std::time::Duration::from_millis(200);
        if self.export_at.is_none() {
            self.export_at = Some(self.now() + DELAY);
        }
    }

    pub(super) fn export_document(&mut self) {
        let document = &self.parts.document;
        if !self.parts.storage.export(|| document.value()) {
            self.export_soon();
        }
    }
}

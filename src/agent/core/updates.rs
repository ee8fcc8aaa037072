//! Changes of the document: written here or come from elsewhere, on disk before they are
//! acknowledged or passed on.

use crate::agent::clock::wall_clock;
use crate::agent::core::Core;
use crate::agent::core::Inbox;
use crate::agent::error::AgentError;
use crate::agent::storage::Job;
use crate::agent::storage::Stored;
use crate::config::change::Change;
use crate::config::document::Applied;
use crate::config::document::blob::Blob;
use crate::config::document::versions::Versions;
use crate::model::identity::NodeId;

/// Most bytes of updates in one message.
const BATCH_SIZE_MAX: usize = 4 * 1024 * 1024;

/// Updates that wait for a slow neighbour; beyond, the next sync makes up for them.
const OUTBOX_MAX: usize = 1_000;

/// What happens once updates are on disk.
pub type Completion = Box<dyn FnOnce(&mut Core, Result<(), AgentError>) + Send>;

/// Updates on their way to the disk.
pub struct PendingWrite {
    blobs: Vec<Blob>,
    source: Option<NodeId>,
    done: Completion,
}

impl Core {
    /// Writes `changes` as one signed update; `done` runs once it is on disk.
    pub(super) fn write(&mut self, note: &str, changes: &[Change], done: Completion) {
        if !self.is_ready() {
            return done(self, Err(super::not_synced()));
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

    /// Takes updates that `source` passed on; `done` runs once the new ones are on disk.
    pub(super) fn apply(&mut self, source: NodeId, blobs: Vec<Blob>, done: Completion) {
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
        self.refresh_soon();
        if self.parts.storage.queue(Job::Append(blobs.clone())) {
            self.pending.push_back(PendingWrite { blobs, source, done });
        } else {
            let error = AgentError::Unavailable("the disk is too far behind".to_owned());
            done(self, Err(error));
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
                    // Asked for again after the next write when there is no room for it.
                    let blobs = self.parts.document.blobs().to_vec();
                    let _ = self.parts.storage.queue(Job::Compact(blobs));
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
        let neighbours: Vec<NodeId> =
            self.parts.mesh.report().links.iter().map(|link| link.peer).collect();
        for node in neighbours {
            if Some(node) == source {
                continue;
            }
            let waiting = self.outbox.entry(node).or_default();
            if waiting.len() < OUTBOX_MAX {
                waiting.extend_from_slice(blobs);
            }
            self.push_to(node);
        }
    }

    /// Starts handing over what waits for `node`, one batch at a time.
    fn push_to(&mut self, node: NodeId) {
        if self.pushing.contains(&node) {
            return;
        }
        let Some(blobs) = self.outbox.remove(&node).filter(|blobs| !blobs.is_empty()) else {
            return;
        };
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
        let value = self.parts.document.value();
        if !self.parts.storage.queue(Job::Export(value)) {
            self.export_soon();
        }
    }
}

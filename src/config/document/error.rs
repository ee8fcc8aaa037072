//! What becomes of a blob or a write, and why one is refused.

use crate::config::change::ChangeError;
use crate::config::document::blob::{Blob, BlobError};
use crate::model::identity::NodeId;

/// What became of a blob.
#[derive(Debug)]
pub enum Applied {
    /// It is part of the document.
    Applied {
        /// What is new and must be stored: the blob itself, then those that had waited for it.
        blobs: Vec<Blob>,
        /// Why some that had waited were refused after all.
        refused: Vec<DocumentError>,
    },
    /// It was there already.
    Known,
    /// It waits for an earlier one, or for its author's admission. It is not to be stored.
    Waiting,
}

/// Why a write or a blob is refused.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// A change that the document cannot hold.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A frame that cannot be made or read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// For another cluster's document.
    #[error("an update of {author:?} for another cluster")]
    OtherCluster {
        /// Who wrote it.
        author: NodeId,
    },
    /// Not signed by the author that it names.
    #[error("an update that {author:?} did not sign")]
    Forged {
        /// Who is said to have written it.
        author: NodeId,
    },
    /// This machine's key is not admitted, so nobody would accept what it writes.
    #[error("{author:?} is not admitted to the cluster and cannot write its document")]
    NotAdmitted {
        /// The key.
        author: NodeId,
    },
    /// Two different updates with one number: the key is used by two machines at once.
    #[error("{author:?} wrote two different updates {sequence} in epoch {epoch}")]
    Conflict {
        /// Who wrote it.
        author: NodeId,
        /// In which run.
        epoch: u64,
        /// Its number.
        sequence: u32,
    },
    /// The payload is no update, or writes more than its author's own.
    #[error("update {sequence} of {author:?} cannot be applied: {why}")]
    Malformed {
        /// Who wrote it.
        author: NodeId,
        /// Its number.
        sequence: u32,
        /// What is wrong.
        why: String,
    },
    /// No room among the updates that wait.
    #[error("too many updates wait for earlier ones; one of {author:?} was let go")]
    PendingFull {
        /// Who wrote it.
        author: NodeId,
    },
    /// The CRDT failed on our own write.
    #[error("the document could not be written: {0}")]
    Crdt(String),
}

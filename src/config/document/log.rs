//! Who changed what, when and why.

use serde::{Deserialize, Serialize};

use crate::config::document::Document;
use crate::model::identity::NodeId;
use crate::model::time::Timestamp;

/// One write, as its author signed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// Names this write everywhere: `AUTHOR/EPOCH/SEQUENCE`, the numbers in hexadecimal.
    pub revision: String,
    /// Who wrote.
    pub author: NodeId,
    /// When, by the author's clock.
    pub time: Timestamp,
    /// Why, in the author's words.
    pub note: String,
    /// The paths that changed.
    pub paths: Vec<String>,
}

impl Document {
    /// The latest `limit` writes, newest first.
    #[must_use]
    pub fn log(&self, limit: usize) -> Vec<LogEntry> {
        let mut headers: Vec<_> = self.blobs().iter().map(super::blob::Blob::header).collect();
        headers.sort_by_key(|header| (header.time, header.author, header.epoch, header.sequence));
        headers
            .into_iter()
            .rev()
            .take(limit)
            .map(|header| LogEntry {
                revision: format!("{}/{:x}/{:x}", header.author, header.epoch, header.sequence),
                author: header.author,
                time: header.time,
                note: header.note.clone(),
                paths: header.paths.clone(),
            })
            .collect()
    }
}

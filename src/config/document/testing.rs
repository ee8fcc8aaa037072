//! What the tests of the document and of the store share.

use serde_json::Value;

use crate::config::change::Change;
use crate::config::document::Document;
use crate::config::document::blob::Blob;
use crate::config::document::views::MEMBERS;
use crate::config::path::Path;
use crate::model::cluster::Genesis;
pub(crate) use crate::model::identity::testing::key;
use crate::model::identity::{NodeId, SecretKey};
use crate::model::time::Timestamp;

pub(crate) fn genesis(founder: &SecretKey) -> Genesis {
    Genesis { founder: founder.node_id(), nonce: 1, name: "test".parse().unwrap() }
}

pub(crate) fn set(path: &str, value: impl Into<Value>) -> Change {
    Change::Set { path: path.parse().unwrap(), value: value.into() }
}

pub(crate) fn unset(path: &str) -> Change {
    Change::Unset { path: path.parse().unwrap() }
}

pub(crate) fn admission(node: NodeId) -> Change {
    let path = Path::from_keys([MEMBERS.to_owned(), node.to_string()]).unwrap();
    let added_at = Timestamp::from_millis(0);
    let value =
        serde_json::json!({"name": "m", "role": "full", "endpoints": [], "added_at": added_at});
    Change::Set { path, value }
}

/// Writes without a clock.
pub(crate) fn write(document: &mut Document, key: &SecretKey, changes: &[Change]) -> Option<Blob> {
    document.write(key, Timestamp::from_millis(0), "test", changes).unwrap()
}

/// Hands `to` all that `from` holds and `to` lacks.
pub(crate) fn sync(from: &Document, to: &mut Document) {
    for blob in from.missing(&to.versions(), usize::MAX) {
        to.apply(blob).unwrap();
    }
}

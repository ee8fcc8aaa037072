//! What lets members prove that a backup is theirs: written down by the computer that holds the recovery key.

use serde_json::Value;
use serde_json::json;
use zeroize::Zeroizing;

use crate::agent::api::DocumentChange;
use crate::agent::api::WriteRequest;
use crate::agent::clock;
use crate::agent::clock::wall_clock;
use crate::agent::cluster_key::full_members;
use crate::agent::error::chain;
use crate::agent::perform::door::Door;
use crate::agent::perform::job::Failure;
use crate::agent::perform::settings::Performer;
use crate::agent::recovery;
use crate::config::document::views::SECRETS;
use crate::model::cluster::ClusterId;
use crate::model::secret::SecretRecord;
use crate::seal::key::Identity;
use crate::seal::proof::PROOF_SECRET;
use crate::seal::proof::ProofKey;
use crate::seal::secret::seal;

const STEP: &str = "write down what proves backups";

/// What `raptor secret ls` says it is for.
const NOTE: &str = "proves that a backup was made by a member; follows from the recovery key";

impl Performer {
    /// Gives the members what proves their backups, unless they have it or the recovery key is not here.
    ///
    /// # Errors
    /// It cannot be sealed or written.
    pub(super) async fn publish_proof(
        &self,
        cluster: ClusterId,
        door: &dyn Door,
    ) -> Result<(), Failure> {
        let failed = |error: &dyn std::error::Error| Failure::at(STEP, chain(error));
        let key = recovery::load(&self.home().recovery_file(cluster));
        let Some(key) = key.map_err(|error| failed(&error))? else { return Ok(()) };
        let document = door.document().await.map_err(|error| failed(&error))?;
        let is_known = document.pointer(&format!("/{SECRETS}/{PROOF_SECRET}")).is_some();
        let recipients = recovery::recipients(&document).unwrap_or_default();
        if is_known || !recipients.contains(&key.recipient()) {
            return Ok(());
        }
        let changes = vec![proof_of(&key, &document)?];
        let note = "what proves that a backup is a member's".to_owned();
        door.write(WriteRequest { note, changes }).await.map_err(|error| failed(&error))
    }
}

/// What is to be written into `document` so that its full members can prove that backups for the recovery
/// `key` are theirs.
///
/// # Errors
/// It cannot be sealed.
pub fn proof_of(key: &Identity, document: &Value) -> Result<DocumentChange, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::at(STEP, chain(error));
    let seed = Zeroizing::new(clock::random().map_err(|error| failed(&error))?);
    let id = clock::value_id().map_err(|error| failed(&error))?;
    let text = ProofKey::of(key).to_text();
    let recovery = [key.recipient()];
    let value = seal(&text, full_members(document), &recovery, wall_clock(), &seed);
    let value = value.map_err(|error| failed(&error))?;
    let values = [(id, value)].into();
    let record = SecretRecord { note: NOTE.to_owned(), values, ..SecretRecord::default() };
    let path = format!("{SECRETS}.{PROOF_SECRET}");
    Ok(DocumentChange::Set { path, value: json!(record) })
}

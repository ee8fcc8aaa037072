//! The cluster's SSH key on this very machine, when it is one that was made.

use std::path::Path;

use crate::agent::authorized;
use crate::agent::cluster_key;
use crate::agent::core::Core;
use crate::agent::core::Inbox;
use crate::model::secret::SecretRecords;
use crate::provision::layout::Layout;
use crate::reconcile::world::ADOPTED;

impl Core {
    /// Lets the cluster's key of this moment in, in the place of the one before. A machine that was
    /// taken over is its owner's: nobody is let in there.
    pub(super) fn refresh_authorized(&mut self, secrets: &SecretRecords) {
        let description = &self.parts.file.description;
        let Some(user) = description.ssh_user.clone() else { return };
        // What runs elsewhere is no machine of its own.
        let is_machine = self.parts.home.root() == Path::new(&Layout::default().home());
        if !is_machine || description.compute_type == ADOPTED {
            return;
        }
        let known = secrets.iter().find(|(name, _)| name.as_str() == cluster_key::CLUSTER_KEY);
        let Some(line) = known.and_then(|(_, record)| cluster_key::public(record)) else { return };
        if self.authorized.as_deref() == Some(line) {
            return;
        }
        let line = line.to_owned();
        self.authorized = Some(line.clone());
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            if let Err(why) = authorized::keep(&user, &line).await {
                tracing::warn!(user, why, "the cluster's SSH key cannot log in here");
                let _ = inbox.send(Inbox::NotAuthorized).await;
            }
        });
    }
}

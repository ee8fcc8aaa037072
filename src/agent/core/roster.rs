//! The document's members and invitations as the agent uses them, read once a change.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::agent::core::Core;
use crate::agent::view;
use crate::config::document::Document;
use crate::config::document::views::Admission;
use crate::config::document::views::TicketRecord;
use crate::model::identity::NodeId;
use crate::model::secret::SecretRecords;

/// Members and invitations at one state of the document.
#[derive(Debug)]
pub(super) struct Roster {
    /// The members, each with a name of its own.
    pub(super) members: BTreeMap<NodeId, Admission>,
    /// Those who were put out.
    pub(super) evicted: BTreeMap<NodeId, Admission>,
    /// The invitations by id, also those that ended.
    pub(super) tickets: BTreeMap<String, TicketRecord>,
    /// The secrets, sealed.
    pub(super) secrets: SecretRecords,
    /// Public halves of the recovery keys.
    pub(super) recovery: BTreeSet<String>,
}

impl Roster {
    fn read(document: &Document) -> Self {
        let admissions = document.admissions();
        let (evicted, mut members): (BTreeMap<_, _>, BTreeMap<_, _>) =
            admissions.into_iter().partition(|(_, admission)| admission.evicted);
        view::make_names_unique(&mut members);
        Self {
            members,
            evicted,
            tickets: document.tickets(),
            secrets: document.secrets(),
            recovery: document.recovery_keys(),
        }
    }
}

impl Core {
    /// What the document says of members and invitations. Reading it takes milliseconds among a
    /// thousand members, so it is read at most once after a change.
    pub(super) fn roster(&self) -> &Roster {
        self.roster.get_or_init(|| Roster::read(&self.parts.document))
    }

    /// The document has changed.
    pub(super) fn forget_roster(&mut self) {
        self.roster.take();
    }
}

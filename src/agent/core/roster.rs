//! The document's members and invitations as the agent uses them, read once a change.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::agent::artefacts::Wanted;
use crate::agent::core::Core;
use crate::agent::reconcile::backups::BackupWish;
use crate::agent::reconcile::sight::section;
use crate::agent::view;
use crate::config::document::Document;
use crate::config::document::views::Admission;
use crate::config::document::views::BACKUPS;
use crate::config::document::views::TicketRecord;
use crate::config::path::Path;
use crate::model::identity::NodeId;
use crate::model::machine::MachineRecords;
use crate::model::machine::Tombstones;
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
    pub(super) secrets: Arc<SecretRecords>,
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
            secrets: Arc::new(document.secrets()),
            recovery: document.recovery_keys(),
        }
    }
}

/// Machines, rules and backups at one state of the document.
#[derive(Debug)]
pub(super) struct FleetRecords {
    /// The machines, by their wishes.
    pub(super) machines: MachineRecords,
    /// What remains of those that went.
    pub(super) tombstones: Tombstones,
    /// The document's layer of the configuration, which carries whole modules.
    pub(super) config: Arc<Value>,
    /// What is said about backups.
    pub(super) backups: BackupWish,
    /// Which artefacts there are; none where a later build's words are not understood.
    pub(super) artefacts: Wanted,
}

impl FleetRecords {
    fn read(document: &Document) -> Self {
        let config = Arc::new(document.config_layer());
        let records = document.get(&Path::root().join(BACKUPS));
        let backups = BackupWish {
            config: section(&config, "backup").0,
            records: records.and_then(|it| serde_json::from_value(it).ok()).unwrap_or_default(),
        };
        let (artefacts, fault) = section(&config, "artefacts");
        let artefacts = fault.is_none().then_some(artefacts);
        let (machines, tombstones) = (document.machines(), document.retired());
        Self { machines, tombstones, config, backups, artefacts }
    }
}

impl Core {
    /// What the document says of members and invitations. Reading it takes milliseconds among a
    /// thousand members, so it is read at most once after a change.
    pub(super) fn roster(&self) -> &Roster {
        self.roster.get_or_init(|| Roster::read(&self.parts.document))
    }

    /// What the document says of machines, rules and backups; read, as the roster, at most once after
    /// a change, and only when it is asked for.
    pub(super) fn fleet_records(&self) -> &FleetRecords {
        self.fleet_records.get_or_init(|| FleetRecords::read(&self.parts.document))
    }

    /// The document has changed.
    pub(super) fn forget_roster(&mut self) {
        self.roster.take();
        self.fleet_records.take();
    }
}

//! What is written into the document about the fleet.

use serde_json::Value;
use serde_json::json;

use crate::model::machine::IntentId;
use crate::model::machine::MachineRecord;
use crate::model::name::Name;
use crate::model::time::Timestamp;
use crate::model::upkeep::Lease;
use crate::model::upkeep::Retirement;
use crate::model::upkeep::Upkeep;
use crate::reconcile::fleet::plan::Act;
use crate::reconcile::fleet::plan::Wish;
use crate::reconcile::fleet::view::FleetView;

/// Top-level key of the machine records.
const MACHINES: &str = "machines";
/// Top-level key of what remains of machines that went.
const RETIRED: &str = "retired";

/// Changes that are written together.
#[derive(Debug, Clone, PartialEq)]
pub struct Edits {
    /// What for, for the log.
    pub note: String,
    /// The changes.
    pub edits: Vec<Edit>,
}

/// One change of the document.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// The keys from the root down.
    pub path: Vec<String>,
    /// What stands there; none takes away what does.
    pub value: Option<Value>,
}

impl Edit {
    fn machine(intent: IntentId, keys: &[&str], value: Option<Value>) -> Self {
        let path = [MACHINES.to_owned(), intent.to_string()];
        let path = path.into_iter().chain(keys.iter().map(|key| (*key).to_owned()));
        Self { path: path.collect(), value }
    }

    /// Why a machine is to go, under `key` of its record.
    fn ending(intent: IntentId, key: &str, reason: &str, failed: bool, now: Timestamp) -> Self {
        let retirement = Retirement { reason: reason.to_owned(), at: now, failed };
        Self::machine(intent, &[key], Some(json!(retirement)))
    }

    /// The record of a wish.
    pub(super) fn wish(wish: &Wish, now: Timestamp) -> Self {
        let record = MachineRecord {
            name: wish.name.clone(),
            compute_type: wish.compute_type.clone(),
            server_type: wish.server_type.clone(),
            labels: wish.labels.clone(),
            created_at: now,
            machine: None,
            access: None,
            node: None,
            upkeep: Upkeep {
                rule: Some(wish.rule.clone()),
                lease: Some(Lease { holder: wish.holder, at: now, attempt: 0 }),
                scope: Some(wish.scope.clone()),
                expires_at: wish.expires_at,
                ..Upkeep::default()
            },
            rest: serde_json::Map::new(),
        };
        Self::machine(wish.intent, &[], Some(json!(record)))
    }
}

impl Edits {
    pub(super) fn new(note: &str) -> Self {
        Self { note: note.to_owned(), edits: Vec::new() }
    }

    fn one(note: String, edit: Edit) -> Self {
        Self { note, edits: vec![edit] }
    }

    pub(super) fn push(&mut self, edit: Edit) {
        self.edits.push(edit);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// What an act that only writes something down writes; none when there is nothing to write.
    pub(super) fn of(act: &Act, reason: &str, view: &FleetView) -> Option<Self> {
        let now = view.now;
        Some(match act {
            Act::Renew { intent, name } => {
                let lease = view.machines.get(intent)?.upkeep.lease.as_ref()?;
                lease_edits(
                    *intent,
                    &Lease { at: now, ..lease.clone() },
                    format!("still making {name}"),
                )
            }
            Act::TakeOver { intent, name, attempt } => {
                let lease = Lease { holder: view.me, at: now, attempt: *attempt };
                lease_edits(*intent, &lease, format!("take over the making of {name}"))
            }
            Act::Release { intent, name } => Self::release(*intent, name),
            Act::Note { intent, name, stopped } => {
                let value = stopped.then(|| json!(now));
                let what = if *stopped { "stands still" } else { "runs again" };
                let edit = Edit::machine(*intent, &["stopped_at"], value);
                Self::one(format!("{name} {what}"), edit)
            }
            Act::Warn { intent, name, expires_at } => {
                let edit = Edit::machine(*intent, &["warned_at"], Some(json!(now)));
                Self::one(format!("{name} ends at {expires_at}"), edit)
            }
            Act::Retire { intent, name, failed } => {
                Self::retire(*intent, name, reason, *failed, now)
            }
            Act::Keep { intent, name } => {
                let edit = Edit::machine(*intent, &["retire"], None);
                Self::one(format!("keep {name} after all"), edit)
            }
            Act::Forget { intent, .. } => {
                Self::bury(*intent, view.machines.get(intent)?, reason, false, now)
            }
            Act::Adopt { intent, name, compute_type } => adopt(*intent, name, compute_type, view)?,
            _ => return None,
        })
    }

    /// A machine is made.
    pub(super) fn release(intent: IntentId, name: &Name) -> Self {
        let edit = Edit::machine(intent, &["lease"], None);
        Self::one(format!("machine {name} is made"), edit)
    }

    /// A machine that is called failed has answered.
    pub(super) fn answered(intent: IntentId, name: &Name, now: Timestamp) -> Self {
        let edit = Edit::machine(intent, &["answered_at"], Some(json!(now)));
        Self::one(format!("{name} answers when it is visited"), edit)
    }

    /// A machine is to go.
    #[must_use]
    pub fn retire(
        intent: IntentId,
        name: &Name,
        reason: &str,
        failed: bool,
        now: Timestamp,
    ) -> Self {
        let edit = Edit::ending(intent, "retire", reason, failed, now);
        Self::one(format!("retire {name}: {reason}"), edit)
    }

    /// The member of a machine that is to go was taken out.
    pub(super) fn put_out(
        intent: IntentId,
        name: &Name,
        reason: &str,
        failed: bool,
        now: Timestamp,
    ) -> Self {
        let edit = Edit::ending(intent, "put_out", reason, failed, now);
        Self::one(format!("{name} was put out: {reason}"), edit)
    }

    /// A machine is gone, and stays so.
    #[must_use]
    pub fn bury(
        intent: IntentId,
        record: &MachineRecord,
        reason: &str,
        failed: bool,
        now: Timestamp,
    ) -> Self {
        let tombstone = json!(record.tombstone(now, reason, failed));
        let path = vec![RETIRED.to_owned(), intent.to_string()];
        Self {
            note: format!("machine {} is gone: {reason}", record.name),
            edits: vec![Edit { path, value: Some(tombstone) }, Edit::machine(intent, &[], None)],
        }
    }
}

fn lease_edits(intent: IntentId, lease: &Lease, note: String) -> Edits {
    Edits::one(note, Edit::machine(intent, &["lease"], Some(json!(lease))))
}

/// The record of a machine that only a back-end knows: made a member by who found it.
fn adopt(intent: IntentId, name: &Name, compute_type: &str, view: &FleetView) -> Option<Edits> {
    let scope = view.members.get(&view.me)?.scope(compute_type)?.to_owned();
    let record = MachineRecord {
        name: name.clone(),
        compute_type: compute_type.to_owned(),
        server_type: view.default_server_type.clone(),
        labels: crate::model::label::Labels::new(),
        created_at: view.now,
        machine: None,
        access: None,
        node: None,
        upkeep: Upkeep {
            lease: Some(Lease { holder: view.me, at: view.now, attempt: 0 }),
            scope: Some(scope),
            ..Upkeep::default()
        },
        rest: serde_json::Map::new(),
    };
    let edit = Edit::machine(intent, &[], Some(json!(record)));
    Some(Edits::one(format!("adopt {name}"), edit))
}

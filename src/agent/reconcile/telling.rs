//! Telling hooks what has happened, one after the other, beside the work on the fleet.

use serde_json::Value;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::sync::Semaphore;

use crate::agent::hooks;
use crate::agent::reconcile::hands::Hands;
use crate::model::hook::Event;
use crate::model::machine::IntentId;
use crate::model::machine::MachineRecord;

/// Events that wait for slow hooks; what happens beyond that is not told.
const WAITING_MAX: usize = 64;

/// Whose turn it is.
pub(super) struct Turns {
    room: std::sync::Arc<Semaphore>,
    one: Mutex<()>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { room: std::sync::Arc::new(Semaphore::new(WAITING_MAX)), one: Mutex::new(()) }
    }
}

impl Hands {
    /// Has the hooks of `event` run, about `machine` when it is about one.
    pub(super) fn tell(&self, event: Event, machine: Option<(IntentId, &MachineRecord)>) {
        let all = &self.performer().config().hooks;
        if all.values().all(|hook| hook.event != event) {
            return;
        }
        let Ok(room) = self.turns.room.clone().try_acquire_owned() else {
            tracing::warn!(event = event.name(), "not told: the hooks before it take too long");
            return;
        };
        let machine = machine.map(|(intent, record)| hooks::machine(intent, record));
        let hands = self.clone();
        tokio::spawn(async move {
            let _turn = hands.turns.one.lock().await;
            // As they are when it is this one's turn.
            let members = hands.door.members().await.map_or(Value::Null, |all| json!(all));
            let node = hands.performer().settings().member;
            let payload =
                json!({"event": event, "node": node, "machine": machine, "members": members});
            hooks::run_all(&hands.performer().config().hooks, event, &payload, &hands.own).await;
            drop(room);
        });
    }
}

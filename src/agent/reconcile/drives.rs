//! What this machine can drive: asked of its back-ends beside the loop, because a back-end may take
//! its time (Vagrant takes seconds to say its version) and the rules wait for nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::agent::handle::AgentHandle;
use crate::agent::handle::Command;
use crate::agent::reconcile::hands::Hands;
use crate::model::time::Moment;

/// How often back-ends are asked whether they can be driven.
const ASK_INTERVAL: Duration = Duration::from_secs(300);

/// How soon it is tried again to write the key down with which this member logs in to machines.
const KEY_INTERVAL: Duration = Duration::from_secs(5);

/// Who has it found out, and the members told; at most once at a time.
pub(super) struct Drives {
    due_at: Moment,
    /// Whether all keys of this member are written down.
    asking: JoinSet<bool>,
}

impl Drives {
    pub(super) fn new() -> Self {
        Self { due_at: Moment::START, asking: JoinSet::new() }
    }

    /// The configuration is another: what is being asked no longer counts.
    pub(super) fn renew(&mut self, now: Moment) {
        self.asking = JoinSet::new();
        self.due_at = now;
    }

    /// Begins to ask when it is time; `is_local` where machines of `local` live on this computer.
    pub(super) fn tend(
        &mut self,
        now: Moment,
        handle: &AgentHandle,
        hands: &Hands,
        is_local: bool,
    ) {
        if let Some(asked) = self.asking.try_join_next()
            && !asked.unwrap_or(true)
        {
            self.due_at = now + KEY_INTERVAL;
        }
        if now < self.due_at || !self.asking.is_empty() {
            return;
        }
        self.due_at = now + ASK_INTERVAL;
        self.asking.spawn(ask(handle.clone(), hands.clone(), is_local));
    }
}

async fn ask(handle: AgentHandle, hands: Hands, is_local: bool) -> bool {
    let performer = hands.performer();
    let mut is_published = true;
    let mut drives = BTreeMap::new();
    for (name, compute_type) in &performer.config().compute_types {
        // Local machines live on a computer that has some already, not inside every machine.
        if !compute_type.available || compute_type.driver == "local" && !is_local {
            continue;
        }
        let Ok(compute) = performer.compute(name) else { continue };
        match compute.check().await {
            Ok(_) => {
                let scope = compute.scope().await.unwrap_or_default();
                is_published &= hands.publish_key(name).await;
                drives.insert(name.clone(), scope);
            }
            Err(error) => tracing::debug!(%error, "a back-end cannot be driven from here"),
        }
    }
    let _ = handle.ask(|reply| Command::Drives(drives, reply)).await;
    is_published
}

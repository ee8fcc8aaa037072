//! What this machine can drive: asked of its back-ends beside the loop and of all at once, because a
//! back-end may take its time (Vagrant takes seconds to say its version) and the rules wait for
//! nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::stream::StreamExt;
use tokio::task::JoinSet;

use crate::agent::handle::AgentHandle;
use crate::agent::handle::Command;
use crate::agent::reconcile::hands::Hands;
use crate::model::time::Moment;

/// How often back-ends are asked whether they can be driven.
const ASK_INTERVAL: Duration = Duration::from_secs(300);

/// How soon it is tried again to write the key down with which this member logs in to machines.
const KEY_INTERVAL: Duration = Duration::from_secs(5);

/// What can be driven, and where its machines live: by the compute type's name.
type Driven = BTreeMap<String, String>;

/// Who has it found out, and the members told; at most once at a time.
pub(super) struct Drives {
    due_at: Moment,
    asking: JoinSet<Asked>,
    /// As it was told last.
    driven: Driven,
}

/// What one round of asking gave.
struct Asked {
    driven: Driven,
    /// Whether all keys of this member are written down.
    is_published: bool,
}

impl Drives {
    pub(super) fn new() -> Self {
        Self { due_at: Moment::START, asking: JoinSet::new(), driven: Driven::new() }
    }

    /// The configuration is another: what is being asked does not count.
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
        if let Some(Ok(asked)) = self.asking.try_join_next() {
            self.driven = asked.driven;
            if !asked.is_published {
                self.due_at = now + KEY_INTERVAL;
            }
        }
        if now < self.due_at || !self.asking.is_empty() {
            return;
        }
        self.due_at = now + ASK_INTERVAL;
        self.asking.spawn(ask(handle.clone(), hands.clone(), is_local, self.driven.clone()));
    }
}

/// Asks all back-ends, and tells what is known after each answer; until a back-end has answered,
/// what it said last (`driven`) holds.
async fn ask(handle: AgentHandle, hands: Hands, is_local: bool, mut driven: Driven) -> Asked {
    // Local machines live on a computer that has some already, not inside every machine.
    let candidates: Vec<&String> = hands
        .performer()
        .config()
        .compute_types
        .iter()
        .filter(|(_, compute_type)| compute_type.available)
        .filter(|(_, compute_type)| compute_type.driver != "local" || is_local)
        .map(|(name, _)| name)
        .collect();
    driven.retain(|name, _| candidates.contains(&name));
    let asks = candidates.iter().map(|name| async { (*name, scope(&hands, name).await) });
    let mut answers: FuturesUnordered<_> = asks.collect();
    let mut is_published = true;
    while let Some((name, scope)) = answers.next().await {
        let is_as_before = match scope {
            Some(scope) => {
                is_published &= hands.publish_key(name).await;
                driven.insert(name.clone(), scope.clone()) == Some(scope)
            }
            None => driven.remove(name.as_str()).is_none(),
        };
        if !is_as_before || answers.is_empty() {
            let told = driven.clone();
            let _ = handle.ask(|reply| Command::Drives(told, reply)).await;
        }
    }
    Asked { driven, is_published }
}

/// Where a back-end's machines live; none when it cannot be driven from here.
async fn scope(hands: &Hands, name: &str) -> Option<String> {
    let compute = hands.performer().compute(name).ok()?;
    match compute.check().await {
        Ok(_) => Some(compute.scope().await.unwrap_or_default()),
        Err(error) => {
            tracing::debug!(%error, "a back-end cannot be driven from here");
            None
        }
    }
}

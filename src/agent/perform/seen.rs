//! Waiting until the members see a machine whose agent answers.

use std::time::Duration;
use std::time::Instant;

use crate::agent::error::chain;
use crate::agent::perform::door::Door;
use crate::agent::perform::job::Failure;
use crate::model::identity::NodeId;
use crate::model::member::Status;

/// How long the members may take to see a machine whose agent answers.
const SEEN_TIMEOUT: Duration = Duration::from_secs(30);

/// How often they are asked.
const SEEN_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until the cluster calls the machine alive and knows what it says of itself.
///
/// # Errors
/// When that takes too long; what was seen last.
pub async fn wait_until_seen(door: &dyn Door, node: NodeId) -> Result<(), Failure> {
    wait_while_others_come(door, node, || false).await
}

/// As [`wait_until_seen`], while `are_coming` counting no time: the machine may reach the members
/// through those that come after it.
pub(super) async fn wait_while_others_come(
    door: &dyn Door,
    node: NodeId,
    are_coming: impl Fn() -> bool,
) -> Result<(), Failure> {
    let mut deadline = Instant::now() + SEEN_TIMEOUT;
    loop {
        let last = match door.members().await {
            Ok(members) => match members.iter().find(|member| member.id == node) {
                // What it says of itself may come a moment later than that it lives.
                Some(member) if member.status == Status::Alive && member.protocol > 0 => {
                    return Ok(());
                }
                Some(member) => format!("they call it {}", member.status),
                None => "they do not know it".to_owned(),
            },
            Err(error) => chain(&error),
        };
        let now = Instant::now();
        if are_coming() {
            deadline = now + SEEN_TIMEOUT;
        }
        if now > deadline {
            let seconds = SEEN_TIMEOUT.as_secs();
            let why = format!("the members do not see it after {seconds} s: {last}");
            return Err(Failure::at("wait for the members", why)
                .with_hint("is UDP between the machines let through?"));
        }
        tokio::time::sleep(SEEN_INTERVAL).await;
    }
}

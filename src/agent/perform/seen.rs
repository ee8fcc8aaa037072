//! Waiting until the members see a machine whose agent answers.

use std::time::Duration;

use tokio::time::Instant;

use crate::agent::error::chain;
use crate::agent::perform::door::Door;
use crate::agent::perform::job::Failure;
use crate::model::identity::NodeId;
use crate::model::member::Member;
use crate::model::member::Status;

/// How long the members may take to see a machine whose agent answers, counted from when they last
/// saw one more of them all: a computer that is busy with many of them sees each after the other.
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
    let mut most = 0;
    loop {
        let mut count = 0;
        let last = match door.members().await {
            Ok(members) => {
                count = members.iter().filter(|member| is_seen(member)).count();
                match members.iter().find(|member| member.id == node) {
                    Some(member) if is_seen(member) => return Ok(()),
                    Some(member) => format!("they call it {}", member.status),
                    None => "they do not know it".to_owned(),
                }
            }
            Err(error) => chain(&error),
        };
        let now = Instant::now();
        if are_coming() || count > most {
            deadline = now + SEEN_TIMEOUT;
        }
        most = most.max(count);
        if now > deadline {
            let seconds = SEEN_TIMEOUT.as_secs();
            let why = format!("the members do not see it after {seconds} s: {last}");
            return Err(Failure::at("wait for the members", why)
                .with_hint("is UDP between the machines let through?"));
        }
        tokio::time::sleep(SEEN_INTERVAL).await;
    }
}

/// What a machine says of itself may come a moment later than that it lives.
fn is_seen(member: &Member) -> bool {
    member.status == Status::Alive && member.protocol > 0
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::agent::api::AdmitRequest;
    use crate::agent::api::Bootstrap;
    use crate::agent::api::WriteRequest;
    use crate::agent::perform::door::Answer;
    use crate::model::cluster::Genesis;
    use crate::model::identity::testing::key;

    const COUNT: u8 = 9;

    /// Members each of which is seen `pause` after the one before.
    struct Slow {
        began: Instant,
        pause: Duration,
    }

    fn node(number: u8) -> NodeId {
        key(number.into()).node_id()
    }

    impl Slow {
        fn member(&self, number: u8) -> Member {
            let is_seen = self.began.elapsed() > self.pause * u32::from(number + 1);
            Member {
                id: node(number),
                name: format!("m{number}").parse().unwrap(),
                address: node(number).address(),
                status: if is_seen { Status::Alive } else { Status::Booting },
                server_type: String::new(),
                build: String::new(),
                protocol: 1,
                dc: "default".parse().unwrap(),
                compute_type: "local".to_owned(),
                endpoints: Vec::new(),
                nat: crate::model::nat::NatKind::default(),
                via: None,
                rtt_ms: None,
                joined_at: crate::model::time::Timestamp::from_millis(0),
                labels: [].into(),
            }
        }
    }

    impl Door for Slow {
        fn members(&self) -> Answer<'_, Vec<Member>> {
            Box::pin(async { Ok((0..COUNT).map(|number| self.member(number)).collect()) })
        }
        fn document(&self) -> Answer<'_, Value> {
            unimplemented!()
        }
        fn artefact(&self, _: String) -> Answer<'_, Vec<u8>> {
            unimplemented!()
        }
        fn genesis(&self) -> Answer<'_, Genesis> {
            unimplemented!()
        }
        fn write(&self, _: WriteRequest) -> Answer<'_, ()> {
            unimplemented!()
        }
        fn admit(&self, _: AdmitRequest) -> Answer<'_, Bootstrap> {
            unimplemented!()
        }
        fn introduce(&self, _: Bootstrap) -> Answer<'_, ()> {
            unimplemented!()
        }
        fn evict(&self, _: String) -> Answer<'_, ()> {
            unimplemented!()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_of_many_has_time_while_others_are_seen() {
        let slow = Slow { began: Instant::now(), pause: SEEN_TIMEOUT / 2 };
        wait_until_seen(&slow, node(COUNT - 1)).await.unwrap();
        let standing = Slow { began: Instant::now(), pause: SEEN_TIMEOUT * 2 };
        let failure = wait_until_seen(&standing, node(COUNT - 1)).await.unwrap_err();
        assert!(failure.cause.ends_with("they call it booting"), "{failure:?}");
        assert!(standing.began.elapsed() < SEEN_TIMEOUT * 2);
    }
}

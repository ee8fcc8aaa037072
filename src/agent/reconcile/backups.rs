//! Backups that the members make by themselves: the living full member with the lowest key makes
//! them when they are due, and writes down what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::agent::api::DocumentChange;
use crate::agent::api::WriteRequest;
use crate::agent::backup;
use crate::agent::clock::wall_clock;
use crate::agent::error::chain;
use crate::agent::handle::AgentHandle;
use crate::agent::handle::Command;
use crate::agent::reconcile::hands::kin_home;
use crate::agent::vault::Vault;
use crate::backup::archive::Head;
use crate::backup::credentials::Credentials;
use crate::backup::keep;
use crate::backup::store;
use crate::backup::store::Access;
use crate::config::document::views::BACKUPS;
use crate::config::home::Home;
use crate::config::path::Path;
use crate::config::schema::sections::BackupConfig;
use crate::config::schema::sections::BackupTarget;
use crate::model::identity::NodeId;
use crate::model::member::Role;
use crate::model::member::Status;
use crate::model::time::Timestamp;
use crate::seal::proof::PROOF_SECRET;
use crate::seal::proof::ProofKey;

/// Time between two looks at the members while something is due, and at least between two tries.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// Longest time without a look.
const IDLE_INTERVAL: Duration = Duration::from_secs(300);

/// Places that are written at the same time.
const CONCURRENT: usize = 4;

/// What the document says about backups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackupWish {
    /// `config.backup`.
    pub config: BackupConfig,
    /// `backups`, by the place's name.
    pub records: BTreeMap<String, BackupRecord>,
}

/// `backups.<target>`: what came of the last backups there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BackupRecord {
    /// When the last one was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When one was tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried_at: Option<Timestamp>,
    /// Who tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<NodeId>,
    /// Why that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl BackupWish {
    /// When the place `name` is due; none when nothing is by itself.
    fn due_at(&self, name: &str) -> Option<Timestamp> {
        let every = Duration::from_millis(self.config.every_ms);
        if every.is_zero() {
            return None;
        }
        let none = BackupRecord::default();
        let record = self.records.get(name).unwrap_or(&none);
        let next = record.at.map_or_else(Timestamp::default, |at| at.after(every));
        match (&record.error, record.tried_at) {
            (Some(_), Some(tried)) => Some(next.max(tried.after(every.min(RETRY_INTERVAL)))),
            _ => Some(next),
        }
    }

    /// What does not hold, in sentences.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        let failed =
            self.records.iter().filter(|(name, _)| self.config.targets.contains_key(*name));
        failed.filter_map(|(name, record)| {
            Some(format!("no backup to {name}: {}", record.error.as_ref()?))
        })
    }
}

/// Makes the backups that are due, for as long as the agent runs.
pub(super) struct Keeper<'a> {
    pub(super) home: Home,
    pub(super) handle: AgentHandle,
    pub(super) vault: &'a Vault,
    pub(super) wish: watch::Receiver<BackupWish>,
}

impl Keeper<'_> {
    pub(super) async fn run(mut self) {
        loop {
            let wish = self.wish.borrow_and_update().clone();
            let wait = self.round(&wish).await;
            tokio::select! {
                changed = self.wish.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Does what is due and this member's to do; how long until the next look.
    async fn round(&self, wish: &BackupWish) -> Duration {
        let now = wall_clock();
        let names = wish.config.targets.keys();
        let due: Vec<(&String, Timestamp)> =
            names.filter_map(|name| Some((name, wish.due_at(name)?))).collect();
        let Some(next) = due.iter().map(|(_, at)| *at).min() else { return IDLE_INTERVAL };
        if next > now {
            return next.since(now).min(IDLE_INTERVAL);
        }
        let Some(me) = self.chosen().await else { return LOOK_INTERVAL };
        let due = due.into_iter().filter(|(_, at)| *at <= now).map(|(name, _)| name.clone());
        let due: Vec<(String, BackupTarget)> = due
            .filter_map(|name| Some((name.clone(), wish.config.targets.get(&name)?.clone())))
            .collect();
        let made = self.make().await;
        let keep = wish.config.keep;
        let writing = due.into_iter().map(|(name, target)| {
            let made = &made;
            async move {
                let outcome = match made {
                    Ok((head, archive)) => self.write(&target, head, archive, keep).await,
                    Err(why) => Err(why.clone()),
                };
                (name, outcome)
            }
        });
        let outcomes: Vec<_> =
            futures_util::stream::iter(writing).buffered(CONCURRENT).collect().await;
        self.note(wish, me, outcomes).await;
        LOOK_INTERVAL
    }

    /// This machine's key, when backups are its affair.
    async fn chosen(&self) -> Option<NodeId> {
        let fleet = self.handle.ask(Command::Fleet).await.ok()?;
        let living = fleet
            .members
            .iter()
            .filter(|(_, member)| member.role == Role::Full && member.status == Status::Alive);
        let lowest = living.map(|(node, _)| *node).min()?;
        (lowest == fleet.me && fleet.half_knowledge.is_none()).then_some(lowest)
    }

    async fn make(&self) -> Result<(Head, Vec<u8>), String> {
        let unavailable = |error: crate::agent::error::AgentError| error.to_string();
        let document = self.handle.ask(Command::Document).await.map_err(unavailable)?;
        let status = self.handle.ask(Command::Status).await.map_err(unavailable)?;
        let home = kin_home(&self.home);
        let proof = self.vault.open(PROOF_SECRET).ok();
        let proof = proof.and_then(|text| ProofKey::from_text(&text));
        backup::make(&document, &status, &home, proof.as_ref()).map_err(|error| chain(&error))
    }

    async fn write(
        &self,
        target: &BackupTarget,
        head: &Head,
        archive: &[u8],
        keep: u32,
    ) -> Result<String, String> {
        let secret = target.secret.as_ref().map(|name| -> Result<Zeroizing<String>, String> {
            self.vault.open(name).map_err(|error| format!("the secret {name:?}: {error}"))
        });
        let access = Access {
            credentials: secret.transpose()?.map(|text| Credentials::new(&text)),
            known_hosts: self.home.known_hosts_file(),
            identity_file: None,
        };
        let target = store::open(&target.url, access).map_err(|error| chain(&error))?;
        let written = keep::write(&target, head, archive, keep).await;
        written.map(|written| written.name).map_err(|error| chain(&error))
    }

    /// Writes down what came of it, so that all know when the next is due.
    async fn note(
        &self,
        wish: &BackupWish,
        me: NodeId,
        outcomes: Vec<(String, Result<String, String>)>,
    ) {
        let now = wall_clock();
        let change = |(target, outcome): (String, Result<String, String>)| {
            let mut record = wish.records.get(&target).cloned().unwrap_or_default();
            record.tried_at = Some(now);
            record.by = Some(me);
            match outcome {
                Ok(name) => {
                    (record.at, record.name, record.error) = (Some(now), Some(name), None);
                }
                Err(why) => {
                    tracing::warn!(%target, %why, "no backup was made");
                    record.error = Some(why);
                }
            }
            let path = Path::root().join(BACKUPS).join(target).to_string();
            DocumentChange::Set { path, value: json!(record) }
        };
        let request = WriteRequest {
            note: "backup".to_owned(),
            changes: outcomes.into_iter().map(change).collect(),
        };
        if let Err(error) = self.handle.ask(|reply| Command::Write(request, reply)).await {
            tracing::warn!(%error, "that a backup was made could not be written down");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_due_after_its_time_and_again_soon_after_a_failure() {
        let at = |ms| Some(Timestamp::from_millis(ms));
        let wish = |every_ms, record: Option<BackupRecord>| BackupWish {
            config: BackupConfig { every_ms, ..BackupConfig::default() },
            records: record.map(|record| ("a".to_owned(), record)).into_iter().collect(),
        };
        let good = BackupRecord { at: at(1_000), tried_at: at(1_000), ..BackupRecord::default() };
        let bad =
            BackupRecord { tried_at: at(900_000), error: Some("x".to_owned()), ..good.clone() };
        assert_eq!(wish(0, Some(good.clone())).due_at("a"), None);
        assert_eq!(wish(500, None).due_at("a"), at(0));
        assert_eq!(wish(500, Some(good)).due_at("a"), at(1_500));
        assert_eq!(wish(500_000, Some(bad.clone())).due_at("a"), at(960_000));
        assert_eq!(wish(2_000_000, Some(bad)).due_at("a"), at(2_001_000));
    }
}

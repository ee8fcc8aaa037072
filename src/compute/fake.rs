//! A back-end in memory, for tests: of others, and of the conformance suite itself.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::compute::Availability;
use crate::compute::Compute;
use crate::compute::Work;
use crate::model::cluster::ClusterId;
use crate::model::destination::Destination;
use crate::model::machine::Access;
use crate::model::machine::IntentId;
use crate::model::machine::Machine;
use crate::model::machine::MachineSpec;

/// A promise that a fake breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A second create gives a second machine.
    ForgetsIntents,
    /// A list shows every cluster's machines.
    ListsAllClusters,
    /// The label of the wish is lost.
    LosesLabels,
    /// Destroying takes the back-end's id for proof enough.
    DestroysById,
    /// Destroying what is gone already is an error.
    MissesTheGone,
    /// Destroying does nothing.
    KeepsMachines,
}

/// Machines in memory, by the back-end's id.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    flaw: Option<Flaw>,
    machines: Mutex<(u64, BTreeMap<String, Machine>)>,
}

impl Fake {
    fn flawed(flaw: Flaw) -> Self {
        Self { flaw: Some(flaw), ..Self::default() }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn with<T>(&self, action: impl FnOnce(&mut u64, &mut BTreeMap<String, Machine>) -> T) -> T {
        let mut guard = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, machines) = &mut *guard;
        action(count, machines)
    }

    fn make(&self, spec: &MachineSpec) -> Machine {
        self.with(|count, machines| {
            let before = machines.values().find(|machine| machine.intent == spec.intent);
            if let Some(machine) = before.filter(|_| !self.has(Flaw::ForgetsIntents)) {
                return machine.clone();
            }
            *count += 1;
            let lost = IntentId::from_bytes([0; 10]);
            let machine = Machine {
                id: format!("fake-{count}"),
                intent: if self.has(Flaw::LosesLabels) { lost } else { spec.intent },
                cluster: spec.cluster,
                name: spec.name.clone(),
                running: true,
                access: Some(Access::Ssh {
                    destination: Destination {
                        user: None,
                        host: format!("{}.invalid", spec.name),
                        port: None,
                    },
                    via: None,
                    identity_file: None,
                    host_keys: Vec::new(),
                }),
            };
            machines.insert(machine.id.clone(), machine.clone());
            machine
        })
    }
}

impl Compute for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn check(&self) -> Work<'_, Availability> {
        Box::pin(async { Ok(Availability { summary: "memory".to_owned() }) })
    }

    fn create<'a>(&'a self, spec: &'a MachineSpec) -> Work<'a, Machine> {
        Box::pin(async {
            tokio::task::yield_now().await;
            let machine = self.make(spec);
            tokio::task::yield_now().await;
            Ok(machine)
        })
    }

    fn find(&self, intent: IntentId) -> Work<'_, Option<Machine>> {
        Box::pin(async move {
            Ok(self.with(|_, machines| {
                machines.values().find(|machine| machine.intent == intent).cloned()
            }))
        })
    }

    fn list(&self, cluster: ClusterId) -> Work<'_, Vec<Machine>> {
        Box::pin(async move {
            let all = self.has(Flaw::ListsAllClusters);
            let mut listed: Vec<Machine> = self.with(|_, machines| {
                let shown = machines.values().filter(|machine| all || machine.cluster == cluster);
                shown.cloned().collect()
            });
            listed.sort_by(|left, right| left.name.cmp(&right.name));
            Ok(listed)
        })
    }

    fn destroy<'a>(&'a self, machine: &'a Machine) -> Work<'a, ()> {
        Box::pin(async move {
            let before = self.with(|_, machines| {
                let before = machines.len();
                machines.retain(|id, kept| {
                    let meant = if self.has(Flaw::DestroysById) {
                        *id == machine.id
                    } else {
                        kept.intent == machine.intent && kept.cluster == machine.cluster
                    };
                    !meant || self.has(Flaw::KeepsMachines)
                });
                before - machines.len()
            });
            assert!(before > 0 || !self.has(Flaw::MissesTheGone), "no such machine");
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::conformance;
    use std::time::Duration;

    #[tokio::test]
    async fn a_sound_back_end_conforms() {
        conformance::run(&Fake::default(), Duration::from_micros(50)).await;
    }

    #[tokio::test]
    async fn the_suite_finds_every_broken_promise() {
        for flaw in [
            Flaw::ForgetsIntents,
            Flaw::ListsAllClusters,
            Flaw::LosesLabels,
            Flaw::DestroysById,
            Flaw::MissesTheGone,
            Flaw::KeepsMachines,
        ] {
            let run = tokio::spawn(async move {
                conformance::run(&Fake::flawed(flaw), Duration::from_micros(50)).await;
            });
            assert!(run.await.is_err(), "{flaw:?} goes unnoticed");
        }
    }
}

//! What every back-end must keep to, as one suite: the tests of the built-in ones run it, and
//! `raptor provider test` runs it on a plug-in.

use std::fmt::Debug;
use std::slice;
use std::time::Duration;
use std::time::Instant;

use data_encoding::BASE32_NOPAD;
use futures_util::future::BoxFuture;

use crate::compute::Compute;
use crate::compute::error::ComputeError;
use crate::model::cluster::ClusterId;
use crate::model::label::Labels;
use crate::model::machine::IntentId;
use crate::model::machine::Machine;
use crate::model::machine::MachineSpec;
use crate::model::name::Name;

/// How many times a create is cut off at a random point.
const CRASHES: u32 = 6;

/// What came of one promise.
#[derive(Debug)]
pub struct Finding {
    /// The promise, as a sentence about the back-end.
    pub promise: &'static str,
    /// How long it took to see.
    pub took: Duration,
    /// How it was broken; none when it was kept.
    pub fault: Option<Fault>,
}

/// How a promise was broken.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The back-end could not do what it was asked.
    #[error(transparent)]
    Failed(#[from] ComputeError),
    /// It did something else.
    #[error("{what}: expected {expected}, found {found}")]
    Differs {
        /// What was looked at.
        what: &'static str,
        /// What was promised.
        expected: String,
        /// What there is.
        found: String,
    },
    /// A machine that it made lets nobody in.
    #[error("nobody can log in: {0}")]
    Entrance(String),
    /// The system gives no random numbers, or no names can be made.
    #[error("the suite itself could not go on: {0}")]
    Suite(String),
}

type Verdict<T = ()> = Result<T, Fault>;

/// Logs in to a machine, or says why that cannot be done.
pub type LogIn<'a> = dyn Fn(Machine) -> BoxFuture<'a, Result<(), String>> + Send + Sync + 'a;

/// How a back-end is looked at.
#[derive(Default)]
pub struct Terms<'a> {
    /// Public keys that may log in to the machines.
    pub authorized_keys: Vec<String>,
    /// Creates are cut off at random points of this time; absent: of what the first one took.
    pub create_time: Option<Duration>,
    /// Absent: nobody tries.
    pub log_in: Option<Box<LogIn<'a>>>,
}

/// Looks at every promise of [`Compute`]; machines are made for it, some fifteen, and destroyed.
/// Gives what came of each, in order; after one that was broken the suite clears up and goes on.
pub async fn examine<'a>(
    compute: &'a dyn Compute,
    terms: Terms<'a>,
    mut tell: impl FnMut(&Finding),
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut suite = match Suite::new(compute, terms) {
        Ok(suite) => suite,
        Err(fault) => {
            let promise = "there are random numbers";
            return vec![Finding { promise, took: Duration::ZERO, fault: Some(fault) }];
        }
    };
    for (promise, check) in PROMISES {
        if check == Check::LogIn && suite.terms.log_in.is_none() {
            continue;
        }
        let start = Instant::now();
        let fault = suite.check(check).await.err();
        let finding = Finding { promise, took: start.elapsed(), fault };
        tell(&finding);
        let is_broken = finding.fault.is_some();
        findings.push(finding);
        if is_broken {
            suite.clear_up().await;
            if check == Check::Available {
                break;
            }
        }
    }
    findings
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Available,
    Nothing,
    LogIn,
    OneMachine,
    Clusters,
    Exactly,
    CutOff,
    NothingLeft,
}

/// Every promise, in the order in which they are looked at.
const PROMISES: [(&str, Check); 8] = [
    ("says whether it could make machines", Check::Available),
    ("knows nothing of wishes that nobody had", Check::Nothing),
    ("lets the keys in that it is given", Check::LogIn),
    ("makes one machine for a wish, however often it is asked", Check::OneMachine),
    ("keeps the machines of clusters apart", Check::Clusters),
    ("destroys the machine that is meant and no other", Check::Exactly),
    ("takes up a create that was cut off", Check::CutOff),
    ("leaves nothing behind", Check::NothingLeft),
];

struct Suite<'a> {
    compute: &'a dyn Compute,
    terms: Terms<'a>,
    ours: ClusterId,
    theirs: ClusterId,
}

impl<'a> Suite<'a> {
    fn new(compute: &'a dyn Compute, terms: Terms<'a>) -> Verdict<Self> {
        Ok(Self { compute, terms, ours: random_cluster()?, theirs: random_cluster()? })
    }

    async fn check(&mut self, check: Check) -> Verdict {
        match check {
            Check::Available => self.compute.check().await.map(|_| ()).map_err(Fault::from),
            Check::Nothing => self.nothing_is_there(self.ours).await,
            Check::LogIn => self.a_key_is_let_in().await,
            Check::OneMachine => self.a_wish_is_one_machine().await,
            Check::Clusters => self.clusters_do_not_see_each_other().await,
            Check::Exactly => self.only_the_machine_itself_is_destroyed().await,
            Check::CutOff => self.a_cut_off_create_is_taken_up().await,
            Check::NothingLeft => {
                self.nothing_is_there(self.ours).await?;
                self.nothing_is_there(self.theirs).await
            }
        }
    }

    /// Gives back what a broken promise left; what cannot be seen cannot be given back.
    async fn clear_up(&self) {
        for cluster in [self.ours, self.theirs] {
            for machine in self.compute.list(cluster).await.unwrap_or_default() {
                let _ = self.compute.destroy(&machine).await;
            }
        }
    }

    /// A wish that no other run ever had, so that runs may share an engine.
    fn wish(&self, name: &str, cluster: ClusterId) -> Verdict<MachineSpec> {
        let name: Name = name.parse().map_err(|error| Fault::Suite(format!("{name}: {error}")))?;
        let labels: Labels = [("zone".to_owned(), "home".to_owned())].into();
        let intent = IntentId::from_bytes(random()?);
        let authorized_keys = self.terms.authorized_keys.clone();
        Ok(MachineSpec { intent, cluster, name, labels, authorized_keys })
    }

    async fn nothing_is_there(&self, cluster: ClusterId) -> Verdict {
        same(
            "the list of a cluster without machines",
            &self.compute.list(cluster).await?[..],
            &[],
        )?;
        let unknown = self.wish("web-1", cluster)?.intent;
        same("the machine of an unknown wish", &self.compute.find(unknown).await?, &None)
    }

    async fn a_key_is_let_in(&self) -> Verdict {
        let Some(log_in) = &self.terms.log_in else { return Ok(()) };
        let machine = self.compute.create(&self.wish("web-1", self.ours)?).await?;
        let entered = log_in(machine.clone()).await;
        self.compute.destroy(&machine).await?;
        entered.map_err(Fault::Entrance)
    }

    async fn a_wish_is_one_machine(&mut self) -> Verdict {
        let (compute, cluster) = (self.compute, self.ours);
        let spec = self.wish("web-1", cluster)?;
        let start = Instant::now();
        let (first, second) = tokio::join!(compute.create(&spec), compute.create(&spec));
        let (first, second) = (first?, second?);
        self.terms.create_time.get_or_insert(start.elapsed());
        carries(&first, &spec)?;
        same("the machine of a second create at the same time", &second, &first)?;
        same("the machine of a later create", &compute.create(&spec).await?, &first)?;
        same("the machine of the wish", &compute.find(spec.intent).await?, &Some(first.clone()))?;
        let listed = compute.list(cluster).await?;
        same("the cluster's list", listed.as_slice(), slice::from_ref(&first))?;
        compute.destroy(&first).await?;
        compute.destroy(&first).await?;
        same("the machine of the wish, destroyed", &compute.find(spec.intent).await?, &None)?;
        let again = compute.create(&spec).await?;
        carries(&again, &spec)?;
        Ok(compute.destroy(&again).await?)
    }

    async fn clusters_do_not_see_each_other(&self) -> Verdict {
        let compute = self.compute;
        let one = self.wish("web-1", self.ours)?;
        let two = self.wish("web-2", self.ours)?;
        let other = self.wish("web-1", self.theirs)?;
        let (one, two, other) =
            tokio::join!(compute.create(&one), compute.create(&two), compute.create(&other));
        let machines = [one?, two?, other?];
        let (ours, theirs) = machines.split_at(2);
        same("our cluster's list", compute.list(self.ours).await?.as_slice(), ours)?;
        same("the other cluster's list", compute.list(self.theirs).await?.as_slice(), theirs)?;
        for machine in &machines {
            let found = compute.find(machine.intent).await?;
            same("the machine of a wish", &found, &Some(machine.clone()))?;
            compute.destroy(machine).await?;
        }
        Ok(())
    }

    /// A record that was mixed up or forged must not cost another machine its life.
    async fn only_the_machine_itself_is_destroyed(&self) -> Verdict {
        let compute = self.compute;
        let machine = compute.create(&self.wish("web-1", self.ours)?).await?;
        let other_intent = self.wish("web-1", self.ours)?.intent;
        for forged in [
            Machine { cluster: self.theirs, ..machine.clone() },
            Machine { intent: other_intent, ..machine.clone() },
        ] {
            compute.destroy(&forged).await?;
            let found = compute.find(machine.intent).await?;
            let what = "the machine, after one with other marks was destroyed by its id";
            same(what, &found, &Some(machine.clone()))?;
        }
        Ok(compute.destroy(&machine).await?)
    }

    /// The machine of a create that was cut off may appear later still: asking for it again is what
    /// makes sure, and then there is one.
    async fn a_cut_off_create_is_taken_up(&self) -> Verdict {
        let (compute, cluster) = (self.compute, self.ours);
        let create_time = self.terms.create_time.unwrap_or(Duration::from_secs(1));
        for _ in 0..CRASHES {
            let spec = self.wish("web-1", cluster)?;
            let point = create_time.mul_f64(f64::from(random::<1>()?[0]) / 255.0);
            let _cut_off = tokio::time::timeout(point, compute.create(&spec)).await;
            if let Some(found) = compute.find(spec.intent).await? {
                carries(&found, &spec)?;
            }
            let machine = compute.create(&spec).await?;
            carries(&machine, &spec)?;
            let listed = compute.list(cluster).await?;
            same(
                "the list after a create that was cut off",
                listed.as_slice(),
                slice::from_ref(&machine),
            )?;
            compute.destroy(&machine).await?;
            same("the list after its end", &compute.list(cluster).await?[..], &[])?;
            same("the machine after its end", &compute.find(spec.intent).await?, &None)?;
        }
        Ok(())
    }
}

fn carries(machine: &Machine, spec: &MachineSpec) -> Verdict {
    same("the machine's wish", &machine.intent, &spec.intent)?;
    same("the machine's cluster", &machine.cluster, &spec.cluster)?;
    same("the machine's name", &machine.name, &spec.name)
}

fn same<T: PartialEq + Debug + ?Sized>(what: &'static str, found: &T, expected: &T) -> Verdict {
    if found == expected {
        return Ok(());
    }
    let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
    Err(Fault::Differs { what, expected, found })
}

fn random<const N: usize>() -> Verdict<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Fault::Suite(error.to_string()))?;
    Ok(bytes)
}

fn random_cluster() -> Verdict<ClusterId> {
    let id = BASE32_NOPAD.encode(&random::<16>()?);
    id.parse().map_err(|error| Fault::Suite(format!("{id}: {error}")))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::{fresh_cluster, fresh_spec, run, spec};

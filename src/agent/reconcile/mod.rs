//! The loop that keeps the rules: looks, plans, and does this member's share, whenever something
//! has changed.
//!
//! What is decided and which step is next is `reconcile`'s affair; what the steps do, `perform`'s.

pub mod backups;
mod door;
mod drives;
mod events;
pub mod first_look;
mod hands;
pub mod sight;
mod telling;
mod visit;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;

use crate::agent::artefacts::Wanted;
use crate::agent::clock::Clock;
use crate::agent::clock::wall_clock;
use crate::agent::handle::AgentHandle;
use crate::agent::handle::Command;
use crate::agent::perform::door::Doors;
use crate::agent::reconcile::backups::BackupWish;
use crate::agent::reconcile::backups::Keeper;
use crate::agent::reconcile::door::OwnDoor;
use crate::agent::reconcile::drives::Drives;
use crate::agent::reconcile::events::Events;
use crate::agent::reconcile::hands::Done;
use crate::agent::reconcile::hands::Hands;
use crate::agent::reconcile::hands::kin_home;
use crate::agent::reconcile::sight::Sight;
use crate::agent::reconcile::telling::Turns;
use crate::agent::vault::Vault;
use crate::config::artefacts::Artefacts;
use crate::config::home::Home;
use crate::config::load;
use crate::config::load::Loaded;
use crate::model::cluster::Genesis;
use crate::model::identity::NodeId;
use crate::model::time::Moment;
use crate::reconcile::fleet::executor::Executor;
use crate::reconcile::fleet::executor::OrderId;
use crate::reconcile::fleet::plan::FleetPlan;
use crate::reconcile::fleet::reconcile;

/// Time between looks while something goes on, while rules hold, and while there are none.
const BUSY_INTERVAL: Duration = Duration::from_secs(1);
const CALM_INTERVAL: Duration = Duration::from_secs(15);
const IDLE_INTERVAL: Duration = Duration::from_secs(300);

/// Least time between two looks: many changes make one.
const LOOK_DELAY: Duration = Duration::from_millis(20);

/// Machines that one member makes or takes away at the same time.
const CONCURRENT: usize = 8;

/// Requests for a plan that wait.
const ASKS: usize = 8;

/// What the loop and the rest of the agent share.
#[derive(Clone)]
pub struct Tending {
    /// Told by the event loop when document or members have changed.
    pub changed: Arc<Notify>,
    /// What this machine may hold of the cluster's secrets.
    pub vault: Arc<Vault>,
    /// What the document says about backups.
    pub backups: Arc<watch::Sender<BackupWish>>,
    /// Which artefacts it names.
    pub artefacts: Arc<watch::Sender<Wanted>>,
    asks: mpsc::Sender<oneshot::Sender<FleetPlan>>,
}

/// The loop's end of a [`Tending`].
pub struct TendingQueue(mpsc::Receiver<oneshot::Sender<FleetPlan>>);

impl Tending {
    /// Both ends.
    #[must_use]
    pub fn new(vault: Vault) -> (Self, TendingQueue) {
        let (asks, queue) = mpsc::channel(ASKS);
        (
            Self {
                changed: Arc::default(),
                vault: Arc::new(vault),
                backups: Arc::default(),
                artefacts: Arc::default(),
                asks,
            },
            TendingQueue(queue),
        )
    }

    /// The plan as it is at this moment; none when nobody tends the fleet here.
    pub async fn plan(&self) -> Option<FleetPlan> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(reply).await.ok()?;
        answer.await.ok()
    }
}

/// Keeps the rules, for one agent.
pub struct Tender {
    home: Home,
    genesis: Genesis,
    handle: AgentHandle,
    doors: Arc<dyn Doors>,
    tending: Tending,
    queue: TendingQueue,
    clock: Clock,
}

impl Tender {
    /// For the agent in `home` behind `handle`.
    #[must_use]
    pub fn new(
        home: Home,
        genesis: Genesis,
        handle: AgentHandle,
        doors: Arc<dyn Doors>,
        tending: Tending,
        queue: TendingQueue,
    ) -> Self {
        Self { home, genesis, handle, doors, tending, queue, clock: Clock::start() }
    }

    /// Runs for as long as the agent does.
    pub async fn run(self) {
        let vault = Arc::clone(&self.tending.vault);
        let keeper = Keeper {
            home: self.home.clone(),
            handle: self.handle.clone(),
            vault: &vault,
            wish: self.tending.backups.subscribe(),
        };
        tokio::join!(self.tend(), keeper.run());
    }

    async fn tend(self) {
        let (reports, mut reported) = mpsc::channel(CONCURRENT * 2);
        // Nobody asks it to stop but by ending it.
        let (_running, interrupt) = watch::channel(false);
        let mut work = Work {
            executor: Executor::new(CONCURRENT),
            sight: Sight::new(),
            hands: None,
            drives: Drives::new(),
            events: Events::default(),
            turns: Arc::default(),
            reports,
            interrupt,
        };
        let (changed, mut queue) = (Arc::clone(&self.tending.changed), self.queue.0);
        let tender = Shared {
            home: self.home,
            genesis: self.genesis,
            handle: self.handle,
            doors: self.doors,
            vault: self.tending.vault,
        };
        loop {
            let wait = work.round(&tender, self.clock).await;
            tokio::select! {
                () = changed.notified() => {}
                Some((id, done)) = reported.recv() => work.report(self.clock.now(), id, done),
                Some(reply) = queue.recv() => {
                    let plan = work.look(&tender, self.clock.now()).await;
                    let _ = reply.send(plan.map(|(_, plan)| plan).unwrap_or_default());
                }
                () = tokio::time::sleep(wait) => {}
            }
            tokio::time::sleep(LOOK_DELAY).await;
        }
    }
}

/// What does not change while an agent runs.
struct Shared {
    home: Home,
    genesis: Genesis,
    handle: AgentHandle,
    doors: Arc<dyn Doors>,
    vault: Arc<Vault>,
}

/// The work and what is known for it.
struct Work {
    executor: Executor,
    sight: Sight,
    hands: Option<Hands>,
    drives: Drives,
    events: Events,
    turns: Arc<Turns>,
    reports: mpsc::Sender<(OrderId, Done)>,
    interrupt: watch::Receiver<bool>,
}

type View = crate::reconcile::fleet::view::FleetView;

impl Work {
    /// Looks, plans, begins what is due; how long until the next look at the latest.
    async fn round(&mut self, shared: &Shared, clock: Clock) -> Duration {
        let now = clock.now();
        let Some((view, plan)) = self.look(shared, now).await else { return BUSY_INTERVAL };
        if view.has_nothing_to_tend() {
            return if self.events.is_unsteady() { BUSY_INTERVAL } else { IDLE_INTERVAL };
        }
        if let Some(hands) = &self.hands {
            let is_local = kin_home(&shared.home) != shared.home;
            self.drives.tend(now, &shared.handle, hands, is_local);
            for order in self.executor.advance(now, &view, &plan) {
                tracing::info!(step = ?order.step, "fleet: begun");
                let (hands, reports) = (hands.clone(), self.reports.clone());
                tokio::spawn(async move {
                    let done = hands.perform(order.step).await;
                    let _ = reports.send((order.id, done)).await;
                });
            }
        }
        let is_calm = plan.is_calm() && !self.events.is_unsteady();
        if is_calm && self.executor.busy().is_empty() { CALM_INTERVAL } else { BUSY_INTERVAL }
    }

    /// What is known and what follows from it; none while the agent cannot say.
    async fn look(&mut self, shared: &Shared, now: Moment) -> Option<(View, FleetPlan)> {
        let inputs = shared.handle.ask(Command::Fleet).await.ok()?;
        let me = inputs.me;
        let event = self.events.observe(now, me, &inputs.members);
        let view = self.sight.view(now, wall_clock(), inputs, self.executor.busy());
        if self.sight.config_changed() || self.hands.is_none() {
            self.hands = self.open_hands(shared, me);
            self.drives.renew(now);
        }
        if let (Some(event), Some(hands)) = (event, &self.hands) {
            hands.tell(event, None);
        }
        let plan = reconcile(&view);
        Some((view, plan))
    }

    fn open_hands(&mut self, shared: &Shared, me: NodeId) -> Option<Hands> {
        let kin = kin_home(&shared.home);
        let loaded = load::load(&kin, None, Some(self.sight.config_layer()));
        let Loaded { modules, config, .. } = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::warn!(%error, "the configuration cannot be used to tend the fleet");
                return None;
            }
        };
        self.sight.set_defaults(&config);
        let door = OwnDoor::open(shared.handle.clone(), Artefacts::new(&shared.home));
        let (genesis, doors) = (shared.genesis.clone(), Arc::clone(&shared.doors));
        let (secrets, interrupt) = (shared.vault.source(), self.interrupt.clone());
        let turns = Arc::clone(&self.turns);
        Some(Hands::new(
            &kin,
            &shared.home,
            genesis,
            me,
            config,
            modules,
            doors,
            door,
            secrets,
            turns,
            interrupt,
        ))
    }

    fn report(&mut self, now: Moment, id: OrderId, done: Done) {
        match &done.outcome {
            crate::reconcile::fleet::executor::Outcome::Failed(why) => {
                tracing::warn!(%why, "fleet: a step failed");
            }
            crate::reconcile::fleet::executor::Outcome::Done => {}
        }
        if let Some((compute_type, machines)) = done.listed {
            self.sight.listed(now, compute_type, machines);
        }
        if let Some(intent) = done.gone {
            self.sight.given_back(intent);
        }
        self.executor.finished(now, id, &done.outcome);
    }
}

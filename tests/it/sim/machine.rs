//! One simulated machine: its key and disk, and the agent that runs on it, or does not.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Mutex;

use raptor::agent::reconcile::first_look::FirstLook;
use raptor::agent::reconcile::sight::FleetInputs;
use raptor::agent::reconcile::sight::Sight;
use raptor::agent::reconcile::sight::seen_member;
use raptor::config::document::Document;
use raptor::config::document::blob::Blob;
use raptor::config::document::versions::Versions;
use raptor::gossip::core::Gossip;
use raptor::gossip::settings::GossipSettings;
use raptor::model::cluster::Genesis;
use raptor::model::identity::NodeId;
use raptor::model::identity::SecretKey;
use raptor::model::machine::MachineRecords;
use raptor::model::machine::Tombstones;
use raptor::model::member::Status;
use raptor::model::name::Name;
use raptor::model::secret::SecretRecords;
use raptor::model::time::Moment;
use raptor::model::time::Timestamp;
use raptor::reconcile::fleet::executor::Executor;
use raptor::reconcile::fleet::plan::FleetPlan;
use raptor::reconcile::fleet::view::SeenMember;

/// The one compute type, and its one scope: every machine can drive it.
pub const CLOUD: &str = "cloud";

/// The key of machine `number`, the same in every run; making one takes milliseconds.
pub fn key(number: usize) -> SecretKey {
    static KEYS: Mutex<BTreeMap<usize, SecretKey>> = Mutex::new(BTreeMap::new());
    let mut keys = KEYS.lock().unwrap();
    let made = keys.entry(number).or_insert_with(|| {
        let mut counter = (number as u64) << 32;
        SecretKey::generate(|seed| {
            counter += 1;
            seed[..8].copy_from_slice(&counter.to_le_bytes());
        })
    });
    made.clone()
}

/// The agent of a machine while it runs.
pub struct Agent {
    pub document: Document,
    pub gossip: Gossip,
    pub executor: Executor,
    pub sight: Sight,
    pub started: Moment,
    pub first_look: FirstLook,
    pub armed: Option<Moment>,
    pub round_armed: Option<Moment>,
    /// What it planned last.
    pub plan: FleetPlan,
    /// Blobs that are written and not on the disk yet.
    pub unsaved: usize,
    /// What there was to be seen when none of the sealing was this member's: what follows from it
    /// is the same as long as it is.
    pub sealed: Option<Sealed>,
    /// The document's records as they were read last, and at how many blobs.
    cache: Option<(usize, Rc<Records>)>,
}

/// What sealing follows from.
pub type Sealed = (Rc<Records>, BTreeMap<NodeId, (Status, Moment)>);

/// Documents whose records are kept.
const READ_MAX: usize = 32;

thread_local! {
    /// The documents that were read last in this thread's world, and their records.
    static READ: RefCell<VecDeque<(Versions, Rc<Records>)>> = const { RefCell::new(VecDeque::new()) };
}

/// Another world begins in this thread.
pub fn forget_records() {
    READ.with_borrow_mut(VecDeque::clear);
}

/// The document's records.
pub struct Records {
    pub machines: MachineRecords,
    pub tombstones: Tombstones,
    pub members: BTreeMap<NodeId, raptor::config::document::views::Admission>,
    pub evicted: BTreeSet<NodeId>,
    /// The names of those who were put out.
    pub gone: BTreeMap<NodeId, Name>,
    pub secrets: SecretRecords,
    pub config: Arc<serde_json::Value>,
}

/// A machine.
pub struct Machine {
    pub key: SecretKey,
    /// What outlives a crash.
    pub disk: Vec<Blob>,
    pub agent: Option<Agent>,
    /// Which run of the agent this is: what an earlier one began ends with it.
    pub run: u64,
    /// Whether the machine itself is there and runs.
    pub is_on: bool,
    /// Which part of a cut network it is in.
    pub part: u8,
    /// By how much its calendar is wrong, in milliseconds.
    pub clock_error: i64,
    pub disk_full: bool,
    /// Whether it was told of its cluster.
    pub is_adopted: bool,
}

impl Machine {
    pub fn new(number: usize) -> Self {
        Self {
            key: key(number),
            disk: Vec::new(),
            agent: None,
            run: 0,
            is_on: true,
            part: 0,
            clock_error: 0,
            disk_full: false,
            is_adopted: false,
        }
    }

    pub fn id(&self) -> NodeId {
        self.key.node_id()
    }

    /// What its calendar says at `now`.
    pub fn wall(&self, now: Moment) -> Timestamp {
        const EPOCH_MILLIS: i64 = 1_795_246_200_000;
        let elapsed = i64::try_from(now.elapsed().as_millis()).unwrap();
        Timestamp::from_millis((EPOCH_MILLIS + elapsed + self.clock_error).unsigned_abs())
    }

    /// Starts its agent from what is on the disk.
    pub fn start(&mut self, now: Moment, genesis: &Genesis, seed: u64, gossip: &GossipSettings) {
        self.run += 1;
        let mut document = Document::new(genesis.clone(), seed);
        let refused = document.restore(self.disk.clone());
        assert!(refused.is_empty(), "a disk holds sound blobs: {refused:?}");
        // A calendar that went back must not give two lives one name.
        let life = Timestamp::from_millis(self.wall(now).as_millis().max(self.run) + self.run);
        self.agent = Some(Agent {
            document,
            gossip: Gossip::new(self.id(), life, gossip.clone(), seed),
            executor: Executor::new(8),
            sight: Sight::new(),
            started: now,
            first_look: FirstLook::default(),
            armed: None,
            round_armed: None,
            plan: FleetPlan::default(),
            unsaved: 0,
            sealed: None,
            cache: None,
        });
    }
}

impl Agent {
    /// The document's records, to be kept.
    pub fn shared_records(&mut self) -> Rc<Records> {
        self.records();
        Rc::clone(&self.cache.as_ref().unwrap().1)
    }

    /// The document's records, read at most once a change.
    pub fn records(&mut self) -> &Records {
        let count = self.document.blobs().len();
        if self.cache.as_ref().is_none_or(|(at, _)| *at != count) {
            self.cache = Some((count, self.read()));
        }
        &self.cache.as_ref().unwrap().1
    }

    /// The document's records as another agent may have read them already: agents mostly agree, and
    /// reading them is most of the simulation's work.
    fn read(&self) -> Rc<Records> {
        let versions = self.document.versions();
        let known = READ.with_borrow(|read| {
            let found = read.iter().find(|(at, _)| *at == versions);
            found.map(|(_, records)| Rc::clone(records))
        });
        known.unwrap_or_else(|| {
            let admissions = self.document.admissions();
            let (evicted, members): (BTreeMap<_, _>, BTreeMap<_, _>) =
                admissions.into_iter().partition(|(_, admission)| admission.evicted);
            let records = Records {
                machines: self.document.machines(),
                tombstones: self.document.retired(),
                members,
                evicted: evicted.keys().copied().collect(),
                gone: evicted.into_iter().map(|(node, gone)| (node, gone.name)).collect(),
                secrets: self.document.secrets(),
                config: Arc::new(self.document.config_layer()),
            };
            let records = Rc::new(records);
            READ.with_borrow_mut(|read| {
                read.truncate(READ_MAX - 1);
                read.push_front((versions, Rc::clone(&records)));
            });
            records
        })
    }

    /// What the event loop of a real agent would tell.
    pub fn inputs(&mut self, now: Moment, me: NodeId, disk_full: bool) -> FleetInputs {
        let statuses = self.gossip.statuses();
        let (started, records) = (self.started, self.shared_records());
        let members: BTreeMap<NodeId, SeenMember> = records
            .members
            .iter()
            .map(|(node, admission)| {
                let seen = SeenMember {
                    compute_type: CLOUD.to_owned(),
                    server_type: "headless".to_owned(),
                    drives: Some(BTreeMap::from([(CLOUD.to_owned(), CLOUD.to_owned())])),
                    ..seen_member(me, *node, admission, &statuses, now)
                };
                (*node, seen)
            })
            .collect();
        let half_knowledge = if !members.contains_key(&me) {
            Some("not reached its cluster yet")
        } else if disk_full {
            Some("the disk is full")
        } else if !self.first_look.is_over(now.since(started), &members) {
            Some("just started")
        } else {
            None
        };
        FleetInputs {
            me,
            machines: records.machines.clone(),
            tombstones: records.tombstones.clone(),
            members,
            config: Arc::clone(&records.config),
            half_knowledge: half_knowledge.map(str::to_owned),
        }
    }
}

//! The agent's state and what changes it. One task owns all of it; nothing here waits.

mod authorized;
mod commands;
mod fleet;
mod introduction;
mod looking;
mod membership;
mod network;
mod parting;
mod remembering;
mod roster;
mod sealing;
mod updates;
mod whereabouts;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc;

use crate::agent::admission::KnockAnswer;
use crate::agent::api::EchoReport;
use crate::agent::clock::Clock;
use crate::agent::core::parting::Parting;
use crate::agent::core::roster::FleetRecords;
use crate::agent::core::roster::Roster;
use crate::agent::core::updates::Outgoing;
use crate::agent::core::updates::PendingWrite;
use crate::agent::core::whereabouts::Whereabouts;
use crate::agent::directory::Directory;
use crate::agent::error::AgentError;
use crate::agent::handle::AgentHandle;
use crate::agent::handle::Reply;
use crate::agent::interface::Interface;
use crate::agent::machine_file::MachineFile;
use crate::agent::names::service::NameHandle;
use crate::agent::peer::client::PeerClient;
use crate::agent::pin::Pin;
use crate::agent::reconcile::Tending;
use crate::agent::reconcile::first_look::FirstLook;
use crate::agent::storage::Storage;
use crate::config::document::Document;
use crate::config::home::Home;
use crate::gossip::core::Gossip;
use crate::mesh::core::Mesh;
use crate::mesh::echo::EchoToken;
use crate::mesh::output::KnockId;
use crate::mesh::socket::MeshSocket;
use crate::mesh::stream::endpoint::StreamEndpoint;
use crate::mesh::stream::lane::LaneDriver;
use crate::model::cluster::Genesis;
use crate::model::identity::NodeId;
use crate::model::identity::SecretKey;
use crate::model::name::Name;
use crate::model::time::Moment;
use crate::model::time::Timestamp;

/// How often the document is compared with a random member's, against losses that pushes missed.
const SYNC_INTERVAL: Duration = Duration::from_secs(10);

/// Changes are gathered this long, at least, before the view of the members is made anew.
const REFRESH_DELAY: Duration = Duration::from_millis(10);

/// And this many times as long as that took last, so that it never fills the loop's time.
const REFRESH_SHARE: u32 = 10;

/// The parts an agent is made of, as the start-up made them.
pub struct Parts {
    /// Paths of the state folder.
    pub home: Home,
    /// The machine's key.
    pub key: SecretKey,
    /// The cluster.
    pub genesis: Genesis,
    /// What the machine knows of itself.
    pub file: MachineFile,
    /// The document as it was on disk.
    pub document: Document,
    /// Where the document is kept.
    pub storage: Storage,
    /// Packets.
    pub socket: MeshSocket,
    /// The network interface. While there is one, its threads receive for the socket.
    pub interface: Interface,
    /// The names that are answered.
    pub names: NameHandle,
    /// Which links this machine has.
    pub pin: Pin,
    /// Whether the cluster runs on an existing network: it is reached at that one's addresses.
    pub is_external: bool,
    /// Told when this machine may stand behind another router.
    pub moved: Arc<Notify>,
    /// Links and routes.
    pub mesh: Mesh,
    /// Membership and facts.
    pub gossip: Gossip,
    /// Streams' packets.
    pub lane: LaneDriver,
    /// Streams.
    pub streams: StreamEndpoint,
    /// Whom streams trust.
    pub directory: Arc<Directory>,
    /// The door to this very agent.
    pub handle: AgentHandle,
    /// Who tends the fleet is told of changes.
    pub tending: Tending,
    /// Monotonic time.
    pub clock: Clock,
    /// Addresses of this machine at which its socket can be reached.
    pub own_endpoints: Vec<SocketAddr>,
    /// Random seed for choices that need no secrecy.
    pub seed: u64,
    /// Notes of the start-up: repairs, missing rights.
    pub problems: Vec<String>,
    /// Where the other members were last.
    pub remembered: BTreeMap<NodeId, Vec<SocketAddr>>,
}

/// The running agent's state.
pub struct Core {
    parts: Parts,
    client: PeerClient,
    first_look: FirstLook,
    /// Where the cluster is told that we are.
    whereabouts: Whereabouts,
    started_at: Timestamp,
    facts_version: u64,
    /// Whether others hold later facts of ours than we do.
    facts_outdated: bool,
    /// Writes on their way to the disk, in its order.
    pending: VecDeque<PendingWrite>,
    /// Updates that a neighbour has not been handed yet.
    outbox: BTreeMap<NodeId, Outgoing>,
    /// Neighbours that are being handed updates at the moment.
    pushing: BTreeSet<NodeId>,
    /// Members with whom the document is being compared, and whether it must be once more.
    syncing: BTreeMap<NodeId, bool>,
    /// Members with whom a gossip exchange goes on.
    exchanging: BTreeSet<NodeId>,
    /// Set when the view of the members must be made anew, and when.
    refresh_at: Option<Moment>,
    refresh_delay: Duration,
    sync_at: Moment,
    /// Whether the readable export is behind the document.
    export_at: Option<Moment>,
    /// Whether it is to be written down where the others are, and when.
    remember_at: Option<Moment>,
    picks: u64,
    stopping: Option<Stopping>,
    /// What is handed over before this machine goes, once it is to.
    parting: Option<Parting>,
    /// Members that were put out and are still spoken to, until when.
    farewells: BTreeMap<NodeId, Moment>,
    /// Members that were introduced, and are listened to though the document does not name them,
    /// until when.
    introduced: BTreeMap<NodeId, Moment>,
    /// Why the last write did not reach the disk.
    disk_problem: Option<String>,
    /// Why the facts could not be signed.
    facts_problem: Option<String>,
    /// The document's members as they were read last.
    roster: OnceCell<Roster>,
    /// The document's machines, rules and backups as they were read last.
    fleet_records: OnceCell<FleetRecords>,
    /// Callers that wait for a member's echo.
    questions: BTreeMap<EchoToken, Reply<EchoReport>>,
    /// The cluster's SSH key that may log in to this machine, once it does or is about to.
    authorized: Option<String>,
    /// The compute types that this machine can drive, once that is known.
    drives: Option<BTreeMap<String, String>>,
    /// The operating system's name.
    os: String,
    inbox: mpsc::Sender<Inbox>,
}

/// What the agent's own tasks report to its loop.
#[derive(Debug)]
pub enum Inbox {
    /// A neighbour has taken its updates, or could not.
    Pushed(NodeId),
    /// The document was compared with a member's, or could not be.
    Synced(NodeId),
    /// A gossip exchange has ended.
    Exchanged(NodeId),
    /// The cluster's SSH key could not be let in.
    NotAuthorized,
    /// A newcomer's knock is decided.
    KnockDecided(KnockId, KnockAnswer),
    /// The router leads a port to this machine, or why not.
    PortMapped(Result<SocketAddr, String>),
}

/// Why the loop ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopping {
    /// Asked to, or by a signal.
    Asked,
    /// The cluster put this machine out.
    Evicted,
}

impl Core {
    /// Puts the parts to work. The agent's own tasks report to `inbox`.
    #[must_use]
    pub fn new(mut parts: Parts, started_at: Timestamp, inbox: mpsc::Sender<Inbox>) -> Self {
        let client = PeerClient::new(parts.streams.clone(), parts.handle.clone());
        let now = parts.clock.now();
        parts.mesh.set_local_endpoints(now, parts.own_endpoints.clone());
        Self {
            client,
            first_look: FirstLook::default(),
            whereabouts: Whereabouts::default(),
            started_at,
            facts_version: 0,
            facts_outdated: false,
            pending: VecDeque::new(),
            outbox: BTreeMap::new(),
            pushing: BTreeSet::new(),
            syncing: BTreeMap::new(),
            exchanging: BTreeSet::new(),
            refresh_delay: REFRESH_DELAY,
            refresh_at: Some(now),
            sync_at: now + SYNC_INTERVAL,
            export_at: Some(now),
            remember_at: None,
            picks: parts.seed,
            stopping: None,
            farewells: BTreeMap::new(),
            introduced: BTreeMap::new(),
            parting: None,
            disk_problem: None,
            facts_problem: None,
            roster: OnceCell::new(),
            fleet_records: OnceCell::new(),
            questions: BTreeMap::new(),
            authorized: None,
            drives: None,
            os: crate::agent::machine::os_name(),
            inbox,
            parts,
        }
    }

    /// This machine's key.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.parts.key.node_id()
    }

    /// Why the loop should end, when it should.
    #[must_use]
    pub fn stopping(&self) -> Option<Stopping> {
        self.stopping
    }

    /// Monotonic time.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.parts.clock.now()
    }

    /// The socket, the lane and the interface, for the loop to wait on.
    pub fn waits(&mut self) -> (&MeshSocket, &mut LaneDriver, &mut Interface) {
        (&self.parts.socket, &mut self.parts.lane, &mut self.parts.interface)
    }

    /// Ends with goodbyes sent, and nothing more handed over.
    pub fn stop(&mut self, why: Stopping, leave: bool) {
        let now = self.now();
        if leave {
            self.parts.gossip.leave(now);
        }
        self.settle();
        self.parts.mesh.shutdown(now);
        self.flush_mesh();
        self.stopping = Some(why);
    }

    /// When something is due that no packet or request will announce.
    #[must_use]
    pub fn next_timeout(&self) -> Moment {
        [
            self.parts.mesh.poll_timeout(),
            self.parts.gossip.poll_timeout(),
            self.refresh_at,
            self.export_at,
            self.remember_at,
            self.whereabouts.look_at,
            self.parting_check(),
            Some(self.sync_at),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(self.sync_at)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self) {
        let now = self.now();
        if self.parts.mesh.poll_timeout().is_some_and(|due| due <= now) {
            self.parts.mesh.handle_timeout(now);
        }
        if self.parts.gossip.poll_timeout().is_some_and(|due| due <= now) {
            self.parts.gossip.handle_timeout(now);
        }
        if self.refresh_at.is_some_and(|due| due <= now) {
            self.refresh_at = None;
            self.refresh_members();
            self.parts.tending.changed.notify_one();
            let took = self.now().since(now);
            self.refresh_delay = (took * REFRESH_SHARE).max(REFRESH_DELAY);
        }
        if self.export_at.is_some_and(|due| due <= now) {
            self.export_at = None;
            self.export_document();
        }
        if self.remember_at.is_some_and(|due| due <= now) {
            self.remember_at = None;
            self.write_remembered();
        }
        if self.whereabouts.look_at.is_some_and(|due| due <= now) {
            self.look_closely();
        }
        if self.sync_at <= now {
            self.sync_at = now + SYNC_INTERVAL;
            self.sync_with_somebody();
            self.retry_storage();
            self.refresh_interface();
            self.look_at_times();
        }
        if self.parting_check().is_some_and(|due| due <= now) {
            self.check_parting();
        }
        self.settle();
    }

    /// Asks for a new view of the members soon; many changes make one.
    fn refresh_soon(&mut self) {
        let due = self.now() + self.refresh_delay;
        self.refresh_at = Some(self.refresh_at.map_or(due, |earlier| earlier.min(due)));
    }

    /// A number for choices that need no secrecy (the constants of Knuth's MMIX generator).
    fn pick(&mut self, count: usize) -> usize {
        self.picks = self
            .picks
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let high = usize::try_from(self.picks >> 33).unwrap_or_default();
        if count == 0 { 0 } else { high % count }
    }

    /// Deals with what one of the agent's own tasks reports.
    pub fn handle_inbox(&mut self, message: Inbox) {
        match message {
            Inbox::Pushed(node) => self.pushed(node),
            Inbox::Synced(node) => self.synced(node),
            Inbox::Exchanged(node) => self.exchanged(node),
            Inbox::NotAuthorized => self.authorized = None,
            Inbox::KnockDecided(knock, answer) => self.answer_knock(knock, &answer),
            Inbox::PortMapped(word) => self.port_mapped(word),
        }
        self.check_parting();
    }

    /// The name the cluster gave this machine, else the one it asked for.
    fn own_name(&self) -> Name {
        let me = self.me();
        self.roster().members.get(&me).map_or_else(
            || self.parts.file.description.name.clone(),
            |admission| admission.name.clone(),
        )
    }

    /// Whether the cluster's description has reached this machine.
    fn is_ready(&self) -> bool {
        !self.parts.document.blobs().is_empty()
    }
}

/// A refusal while the document has not arrived yet.
fn not_synced() -> AgentError {
    AgentError::Unavailable("this machine has not reached its cluster yet".to_owned())
}

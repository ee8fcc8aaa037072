//! Starting an agent: from a home folder to a running loop, and down again.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::agent::artefacts::Collector;
use crate::agent::clock;
use crate::agent::clock::Clock;
use crate::agent::clock::RandomError;
use crate::agent::clock::wall_clock;
use crate::agent::core::Core;
use crate::agent::core::Inbox;
use crate::agent::core::Parts;
use crate::agent::core::Stopping;
use crate::agent::directory::Directory;
use crate::agent::event_loop;
use crate::agent::event_loop::Sources;
use crate::agent::handle::AgentHandle;
use crate::agent::initialise;
use crate::agent::initialise::HomeError;
use crate::agent::initialise::open_document;
use crate::agent::interface::Interface;
use crate::agent::interface::InterfaceSettings;
use crate::agent::known_peers;
use crate::agent::lock::LockError;
use crate::agent::lock::StateLock;
use crate::agent::machine_file::MachineFile;
use crate::agent::names::service::NameHandle;
use crate::agent::names::service::NameService;
use crate::agent::names::service::NameSettings;
use crate::agent::peer::client::PeerClient;
use crate::agent::peer::server::PeerServer;
use crate::agent::perform::door::Doors;
use crate::agent::pin::Pin;
use crate::agent::port_mapping::PortMapping;
use crate::agent::reconcile::Tender;
use crate::agent::reconcile::Tending;
use crate::agent::reconcile::TendingQueue;
use crate::agent::services::Services;
use crate::agent::storage::Storage;
use crate::agent::vault::Vault;
use crate::config::artefacts::Artefacts;
use crate::config::home::Home;
use crate::config::store::Opened;
use crate::config::store::RepairNote;
use crate::config::store::StoreError;
use crate::gossip::core::Gossip;
use crate::gossip::settings::GossipSettings;
use crate::mesh::core::Mesh;
use crate::mesh::interfaces;
use crate::mesh::settings::MeshSettings;
use crate::mesh::socket::MeshSocket;
use crate::mesh::socket::SocketError;
use crate::mesh::stream::endpoint::StreamEndpoint;
use crate::mesh::stream::error::StreamError;
use crate::mesh::stream::lane::lane;
use crate::model::cluster::Genesis;
use crate::model::identity::NodeId;
use crate::model::identity::SecretKey;
use crate::seal::secret::Opener;

/// Packets of streams that wait on each side of the mesh.
const LANE_CAPACITY: usize = 1024;

/// Reports of the agent's own tasks that wait for its loop.
const INBOX_CAPACITY: usize = 64;

/// How long the other members may take to hear that the streams close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Addresses of its own that a machine tells; one with many bridges has more.
const OWN_ENDPOINTS_MAX: usize = 16;

/// What the configuration says about an agent.
#[derive(Debug, Clone, Default)]
pub struct AgentSettings {
    /// Links and routes.
    pub mesh: MeshSettings,
    /// Membership.
    pub gossip: GossipSettings,
    /// The network interface.
    pub interface: InterfaceSettings,
    /// The members' names.
    pub names: NameSettings,
    /// The existing network that the cluster runs on, as an interface's name or a range of
    /// addresses; none where it runs on whatever there is.
    pub network: Option<String>,
    /// Whether the router is asked for a port that leads to this machine.
    pub maps_port: bool,
    /// Which links the machine has; `mesh` says so as well.
    pub pin: Pin,
}

/// Why an agent does not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentFailure {
    /// The home is unusable.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// Another agent runs here.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The machine was told of no cluster yet.
    #[error("this machine belongs to no cluster yet")]
    NoCluster,
    /// The cluster put the machine out.
    #[error("this machine was put out of cluster {0}")]
    Evicted(String),
    /// The document cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The mesh's UDP socket cannot be had.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Streams cannot be set up.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The network that the cluster runs on is not there.
    #[error("this machine has no address in the network {0} (mesh.network)")]
    NoNetwork(String),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The operating system refused a thread or a signal.
    #[error("the operating system refused what the agent needs")]
    System(#[source] std::io::Error),
}

/// A started agent: its API may be served and its loop run.
pub struct Started {
    home: Home,
    lock: StateLock,
    core: Core,
    sources: Sources,
    peers: PeerServer,
    collector: Collector,
    streams: StreamEndpoint,
    names: NameService,
    mapping: Option<PortMapping>,
    genesis: Genesis,
    tending: Tending,
    queue: TendingQueue,
    /// What the API needs.
    pub services: Services,
}

/// Takes the lock, reads the state, opens the sockets. Nothing is sent yet.
///
/// # Errors
/// As [`AgentFailure`] says; nothing is left open then.
pub async fn start(home: Home, settings: AgentSettings) -> Result<Started, AgentFailure> {
    let (key, mut file) = initialise::load(&home)?;
    let lock = StateLock::acquire(&home.lock_file())?;
    let genesis = cluster_of(&file)?;
    let epoch = u64::from_le_bytes(clock::random()?);
    let Opened { store, document, notes } = open_document(&home, &genesis, epoch)?;
    let (storage, stored) =
        Storage::start(store, genesis.clone(), home.clone()).map_err(AgentFailure::System)?;
    let mut socket = bind(&home, &mut file, settings.network.as_deref())?;
    let (clock, started_at) = (Clock::start(), wall_clock());
    let seed = u64::from_le_bytes(clock::random()?);
    let directory = Arc::new(Directory::default());
    let (lane, driver) = lane(key.node_id(), LANE_CAPACITY);
    let streams = StreamEndpoint::new(&key, Arc::clone(&directory) as _, lane)?;
    let (handle, commands) = AgentHandle::new();
    let (inbox, reports) = mpsc::channel(INBOX_CAPACITY);
    let (moved, mapping) = map_port(settings.maps_port, &socket, &inbox);
    let (cluster, random) = (genesis.cluster_id(), clock::random()?);
    let mesh = Mesh::new(key.clone(), cluster, settings.mesh, random, clock.now(), started_at);
    let interface = interface(&settings.interface, &file, &mesh, &mut socket, clock);
    let is_external = settings.network.is_some();
    let names = names(&settings.names, &genesis, &file, &interface, is_external, &home);
    let (names, name_handle) = names.await;
    let gossip = Gossip::new(key.node_id(), started_at, settings.gossip, seed);
    let client = PeerClient::new(streams.clone(), handle.clone());
    let (tending, queue) = Tending::new(Vault::new(vec![Opener::member(&key)]));
    let (services, peers, collector) = serving(&home, &key, &handle, client, &tending, &directory);
    file.description.ssh_port = answering_ssh_port(file.description.ssh_port).await;
    let parts = Parts {
        home: home.clone(),
        own_endpoints: own_endpoints(&socket, &file),
        remembered: remembered(&home, &file),
        key,
        genesis: genesis.clone(),
        tending: tending.clone(),
        file,
        document,
        storage,
        socket,
        interface,
        names: name_handle,
        pin: settings.pin,
        is_external,
        moved,
        mesh,
        gossip,
        lane: driver,
        streams: streams.clone(),
        directory,
        handle,
        clock,
        seed,
        problems: repairs(&notes),
    };
    Ok(Started {
        home,
        lock,
        core: Core::new(parts, started_at, inbox),
        sources: Sources { commands, stored, inbox: reports, clock },
        peers,
        collector,
        streams,
        names,
        mapping,
        genesis,
        tending,
        queue,
        services,
    })
}

/// The cluster that the machine is a member of.
fn cluster_of(file: &MachineFile) -> Result<Genesis, AgentFailure> {
    let genesis = file.genesis.clone().ok_or(AgentFailure::NoCluster)?;
    if file.evicted {
        return Err(AgentFailure::Evicted(genesis.name.to_string()));
    }
    Ok(genesis)
}

/// What answers the API and the other members, and what fetches files from them.
fn serving(
    home: &Home,
    key: &SecretKey,
    handle: &AgentHandle,
    client: PeerClient,
    tending: &Tending,
    directory: &Arc<Directory>,
) -> (Services, PeerServer, Collector) {
    let (me, artefacts) = (key.node_id(), Artefacts::new(home));
    let wanted = tending.artefacts.subscribe();
    let collector = Collector::new(artefacts.clone(), handle.clone(), client.clone(), wanted);
    let peers =
        PeerServer::new(me.address(), handle.clone(), Arc::clone(directory), artefacts.clone());
    let services = Services::new(me, handle.clone(), client, tending.clone(), artefacts);
    (services, peers, collector)
}

/// Where the members were last. The introducers first: a machine that has just joined remembers
/// nobody else.
fn remembered(home: &Home, file: &MachineFile) -> BTreeMap<NodeId, Vec<SocketAddr>> {
    let introducers = file.peers.iter().cloned().chain(known_peers::load(home));
    introducers.map(|peer| (peer.id, peer.endpoints)).collect()
}

async fn names(
    settings: &NameSettings,
    genesis: &Genesis,
    file: &MachineFile,
    interface: &Interface,
    is_external: bool,
    home: &Home,
) -> (NameService, NameHandle) {
    let is_reachable = is_external || interface.name().is_some();
    let (is_local, folder) = (file.description.compute_type == LOCAL, home.agent_folder());
    let cluster = genesis.name.clone();
    NameService::start(settings, cluster, is_local, interface.name(), is_reachable, &folder).await
}

/// What was found damaged on the disk, for the log and for `raptor status`.
fn repairs(notes: &[RepairNote]) -> Vec<String> {
    let problems: Vec<String> = notes.iter().map(ToString::to_string).collect();
    for problem in &problems {
        tracing::warn!(%problem, "the document was repaired");
    }
    problems
}

impl Started {
    /// Runs the loop until the agent is to end, and the care of the fleet when there are `doors` for
    /// it; everything it wrote is on disk then. Gives back the home's lock: until that is dropped
    /// nobody else starts in the home.
    ///
    /// # Errors
    /// [`AgentFailure::Evicted`] when the cluster put the machine out.
    pub async fn run(
        mut self,
        doors: Option<Arc<dyn Doors>>,
    ) -> (StateLock, Result<(), AgentFailure>) {
        let handle = self.services.handle().clone();
        let (home, genesis, queue) = (self.home.clone(), self.genesis, self.queue);
        let tending = doors.map(|doors| {
            let tender = Tender::new(home, genesis, handle, doors, self.tending, queue);
            tokio::spawn(tender.run())
        });
        let serving = tokio::spawn(self.peers.serve(self.streams.clone()));
        let collecting = tokio::spawn(self.collector.run());
        let why = event_loop::run(&mut self.core, self.sources).await;
        if let Some(mapping) = self.mapping {
            mapping.end().await;
        }
        // Some peer may never say that it has heard the goodbye.
        let _ = timeout(CLOSE_TIMEOUT, self.streams.close()).await;
        serving.abort();
        collecting.abort();
        self.names.close();
        tending.inspect(tokio::task::JoinHandle::abort);
        // Waits for the disk.
        drop(self.core);
        let ended = why.map_err(AgentFailure::System).and_then(|why| match why {
            Stopping::Asked => Ok(()),
            Stopping::Evicted => Err(put_out(&self.home)),
        });
        (self.lock, ended)
    }
}

/// Writes down that the cluster put the machine out, so that its agent does not start again.
fn put_out(home: &Home) -> AgentFailure {
    let noted = initialise::load(home).and_then(|(_, mut file)| {
        file.evicted = true;
        initialise::save_machine_file(home, &file)?;
        Ok(file)
    });
    match noted {
        Ok(file) => {
            let name = file.genesis.map(|genesis| genesis.name.to_string());
            AgentFailure::Evicted(name.unwrap_or_default())
        }
        Err(error) => error.into(),
    }
}

/// Has the router lead a port to the mesh's socket, unless nobody outside can mean that one.
fn map_port(
    is_wanted: bool,
    socket: &MeshSocket,
    inbox: &mpsc::Sender<Inbox>,
) -> (Arc<Notify>, Option<PortMapping>) {
    let moved = Arc::<Notify>::default();
    let bound = socket.local_address().ok().filter(|bound| is_wanted && !bound.ip().is_loopback());
    let port = bound.and_then(|bound| NonZeroU16::new(bound.port()));
    let mapping = port.map(|port| PortMapping::start(port, Arc::clone(&moved), inbox.clone()));
    (moved, mapping)
}

/// Binds the address the machine was told, else the port it had last time, else any.
fn bind(
    home: &Home,
    file: &mut MachineFile,
    network: Option<&str>,
) -> Result<MeshSocket, AgentFailure> {
    let mut wanted = file.description.listen;
    if let Some(network) = network {
        let address = interfaces::address_in(network).map_err(AgentFailure::System)?;
        let address = address.ok_or_else(|| AgentFailure::NoNetwork(network.to_owned()))?;
        wanted = Some(SocketAddr::new(address, wanted.map_or(0, |listen| listen.port())));
    }
    if let Some(listen) = wanted.filter(|listen| listen.port() != 0) {
        return Ok(MeshSocket::bind(Some(listen))?);
    }
    let anywhere = wanted.map(|listen| listen.ip());
    let last = file.chosen_port.and_then(|port| {
        let ip = anywhere.unwrap_or(std::net::Ipv6Addr::UNSPECIFIED.into());
        MeshSocket::bind(Some(SocketAddr::new(ip, port))).ok()
    });
    let socket = match last {
        Some(socket) => socket,
        None => MeshSocket::bind(wanted)?,
    };
    let port = socket.local_address().map_err(AgentFailure::System)?.port();
    if file.chosen_port != Some(port) {
        file.chosen_port = Some(port);
        initialise::save_machine_file(home, file)?;
    }
    Ok(socket)
}

/// Where others could dial this machine at the moment, as far as it knows by itself.
pub(super) fn own_endpoints(socket: &MeshSocket, file: &MachineFile) -> Vec<SocketAddr> {
    let Ok(bound) = socket.local_address() else { return Vec::new() };
    let mut endpoints = interfaces::local_endpoints(bound).unwrap_or_else(|error| {
        tracing::warn!(%error, "the machine's own addresses are unknown");
        Vec::new()
    });
    endpoints.sort_by_key(|endpoint| reach(endpoint.ip()));
    endpoints.truncate(OWN_ENDPOINTS_MAX);
    if file.description.compute_type == LOCAL && bound.ip().is_unspecified() {
        // Machines that share a computer reach each other without leaving it.
        endpoints.insert(0, SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), bound.port()));
    }
    endpoints
}

fn interface(
    settings: &InterfaceSettings,
    file: &MachineFile,
    mesh: &Mesh,
    socket: &mut MeshSocket,
    clock: Clock,
) -> Interface {
    let is_local = file.description.compute_type == LOCAL;
    Interface::open(settings, is_local, mesh.plane(), socket, clock)
}

/// How far an address is likely to be known, the farthest first: public ones, then private ones,
/// and last the range in which container bridges lie (the same on every machine).
fn reach(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(address) if !address.is_private() => 0,
        IpAddr::V4(address) => u8::from(address.octets()[0] == 172) + 1,
        IpAddr::V6(address) => u8::from(address.is_unique_local()),
    }
}

/// The compute type whose machines are processes on one computer.
const LOCAL: &str = "local";

/// The port at which the machine's own `sshd` answers: the one through which it was entered, or the
/// usual one where that was a port of another computer that is forwarded to it.
async fn answering_ssh_port(entered: Option<u16>) -> Option<u16> {
    const USUAL: u16 = 22;
    let entered = entered?;
    let other = (entered != USUAL).then_some(USUAL);
    for port in std::iter::once(entered).chain(other) {
        if crate::agent::machine::greets_as_ssh(port).await {
            return Some(port);
        }
    }
    None
}

#[cfg(test)]
mod tests;

//! A network in memory that loses, misroutes and forgets as told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::mesh::stream::endpoint::{StreamEndpoint, StreamSettings};
use crate::mesh::stream::lane::{LaneDriver, lane};
use crate::mesh::stream::trust::Trust;
pub(super) use crate::model::identity::testing::key;
use crate::model::identity::{NodeId, SecretKey};

type Inbox = mpsc::UnboundedSender<(NodeId, Bytes)>;

/// Room for a burst, and small enough to be met.
const LANE_PACKETS: usize = 256;

/// Members that may change.
#[derive(Debug, Default)]
pub(super) struct Members(Mutex<BTreeSet<NodeId>>);

impl Members {
    pub(super) fn of<'a>(keys: impl IntoIterator<Item = &'a SecretKey>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(keys.into_iter().map(SecretKey::node_id).collect())))
    }

    pub(super) fn remove(&self, node: NodeId) {
        self.0.lock().unwrap().remove(&node);
    }
}

impl Trust for Members {
    fn is_trusted(&self, node: NodeId) -> bool {
        self.0.lock().unwrap().contains(&node)
    }

    fn node_at(&self, address: Ipv6Addr) -> Option<NodeId> {
        self.0.lock().unwrap().iter().copied().find(|node| node.address() == address)
    }
}

#[derive(Debug, Default)]
struct Shared {
    inboxes: Mutex<BTreeMap<Ipv6Addr, Inbox>>,
    masks: Mutex<BTreeMap<NodeId, NodeId>>,
    loss_percent: AtomicU64,
    random: AtomicU64,
}

impl Shared {
    /// A linear congruential generator (Knuth's MMIX constants): the same losses on every run.
    fn is_lost(&self) -> bool {
        let next = |state: u64| {
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
        };
        let state = next(self.random.load(Ordering::Relaxed));
        self.random.store(state, Ordering::Relaxed);
        (state >> 33) % 100 < self.loss_percent.load(Ordering::Relaxed)
    }

    fn carry(&self, source: NodeId, destination: Ipv6Addr, packet: Bytes) {
        if self.is_lost() {
            return;
        }
        let source = self.masks.lock().unwrap().get(&source).copied().unwrap_or(source);
        if let Some(inbox) = self.inboxes.lock().unwrap().get(&destination) {
            let _ = inbox.send((source, packet));
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Network(Arc<Shared>);

/// One machine's endpoint and the task that carries its packets.
pub(super) struct Machine {
    pub(super) node: NodeId,
    pub(super) streams: StreamEndpoint,
    pump: JoinHandle<()>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

impl Network {
    pub(super) fn lose(&self, percent: u64) {
        self.0.loss_percent.store(percent, Ordering::Relaxed);
    }

    /// Starts a machine; it takes the place of one with the same key.
    pub(super) fn start(&self, key: &SecretKey, trust: &Arc<Members>) -> Machine {
        let node = key.node_id();
        let (lane, driver) = lane(node, LANE_PACKETS);
        let trust: Arc<dyn Trust> = Arc::<Members>::clone(trust);
        let streams =
            StreamEndpoint::with_settings(key, trust, lane, StreamSettings::default()).unwrap();
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.inboxes.lock().unwrap().insert(node.address(), sender);
        let pump = tokio::spawn(pump(Arc::clone(&self.0), node, driver, receiver));
        Machine { node, streams, pump }
    }

    /// Puts `impostor` in the place of `node`: it gets its packets and answers in its name.
    pub(super) fn impersonate(&self, node: NodeId, impostor: NodeId) {
        let mut inboxes = self.0.inboxes.lock().unwrap();
        let inbox = inboxes[&impostor.address()].clone();
        inboxes.insert(node.address(), inbox);
        self.0.masks.lock().unwrap().insert(impostor, node);
    }

    pub(super) fn cut_off(&self, node: NodeId) {
        self.0.inboxes.lock().unwrap().remove(&node.address());
    }
}

async fn pump(
    shared: Arc<Shared>,
    node: NodeId,
    mut driver: LaneDriver,
    mut inbox: mpsc::UnboundedReceiver<(NodeId, Bytes)>,
) {
    loop {
        tokio::select! {
            packet = driver.outgoing() => {
                let Some(packet) = packet else { return };
                let mut next = Some(packet);
                while let Some((destination, packet)) = next {
                    shared.carry(node, destination, packet);
                    next = driver.try_outgoing();
                }
            }
            packet = inbox.recv() => match packet {
                Some((source, packet)) => driver.incoming(source, packet),
                // Another machine has taken this one's place: nothing arrives any more.
                None => std::future::pending().await,
            },
        }
    }
}

//! How long one member takes to plan for a fleet of 10,000 machines: as it should be, and with a
//! tenth of them failed. The floor is what reading the same fleet once takes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a figure that cannot be had ends the bench"
)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;
use std::time::Instant;

use raptor::model::identity::NodeId;
use raptor::model::identity::SecretKey;
use raptor::model::machine::IntentId;
use raptor::model::machine::MachineRecord;
use raptor::model::member::Role;
use raptor::model::member::Status;
use raptor::model::rule::FleetLimits;
use raptor::model::rule::Rule;
use raptor::model::time::Timestamp;
use raptor::model::upkeep::Upkeep;
use raptor::reconcile::fleet::reconcile;
use raptor::reconcile::fleet::view::FleetView;
use raptor::reconcile::fleet::view::SeenMember;

const MACHINES: u32 = 10_000;
const ROUNDS: usize = 11;
const NOW: Timestamp = Timestamp::from_millis(1_795_246_200_000);

/// Keys take milliseconds each, so all cores make them.
fn nodes() -> Vec<NodeId> {
    let threads =
        u32::try_from(std::thread::available_parallelism().map_or(1, usize::from)).unwrap();
    let make = |number: u32| {
        let mut counter = u64::from(number) << 32;
        let key = SecretKey::generate(|seed| {
            counter += 1;
            seed[..8].copy_from_slice(&counter.to_le_bytes());
        });
        key.node_id()
    };
    std::thread::scope(|scope| {
        let shares: Vec<_> = (0..threads)
            .map(|share| {
                scope.spawn(move || {
                    (0..MACHINES).filter(|number| number % threads == share).map(make).collect()
                })
            })
            .collect();
        shares.into_iter().flat_map(|share| -> Vec<NodeId> { share.join().unwrap() }).collect()
    })
}

fn fleet(nodes: &[NodeId]) -> FleetView {
    let mut machines = BTreeMap::new();
    let mut members = BTreeMap::new();
    for (number, node) in (0u32..).zip(nodes) {
        let mut bytes = [0; 10];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        let record = MachineRecord {
            name: format!("cloud-{number}").parse().unwrap(),
            compute_type: "cloud".to_owned(),
            server_type: "headless".to_owned(),
            labels: BTreeMap::from([("zone".to_owned(), format!("z{}", number % 3))]),
            created_at: Timestamp::from_millis(NOW.as_millis() - u64::from(number)),
            machine: None,
            access: None,
            node: Some(*node),
            upkeep: Upkeep { scope: Some("cloud".to_owned()), ..Upkeep::default() },
            rest: serde_json::Map::new(),
        };
        let member = SeenMember {
            name: record.name.clone(),
            role: Role::Full,
            status: Status::Alive,
            status_for: Duration::from_secs(9_999),
            added_at: record.created_at,
            intent: None,
            compute_type: record.compute_type.clone(),
            server_type: record.server_type.clone(),
            labels: record.labels.clone(),
            drives: Some(BTreeMap::from([("cloud".to_owned(), "cloud".to_owned())])),
        };
        machines.insert(IntentId::from_bytes(bytes), record);
        members.insert(*node, member);
    }
    let rule = |select: &str, min: u32| Rule {
        select: select.parse().unwrap_or_default(),
        min,
        max: Some(MACHINES),
        compute_types: vec!["cloud".to_owned()],
        ..Rule::default()
    };
    FleetView {
        me: nodes[0],
        now: NOW,
        rules: BTreeMap::from([
            ("all".to_owned(), rule("", MACHINES)),
            ("zone".to_owned(), rule("zone=z1", MACHINES / 3)),
        ]),
        limits: FleetLimits { max: 2 * MACHINES, ..FleetLimits::default() },
        default_compute_type: "cloud".to_owned(),
        default_server_type: "headless".to_owned(),
        machines,
        tombstones: BTreeMap::new(),
        members,
        lease_known_for: BTreeMap::new(),
        mark_known_for: BTreeMap::new(),
        listings: BTreeMap::new(),
        busy: BTreeSet::new(),
        settled_for: Duration::from_secs(9_999),
        half_knowledge: None,
    }
}

fn median(mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            work();
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}

fn main() {
    let nodes = nodes();
    let calm = fleet(&nodes);
    let mut broken = calm.clone();
    for member in broken.members.values_mut().step_by(10) {
        member.status = Status::Failed;
    }
    let floor = median(|| drop(std::hint::black_box(calm.clone())));
    println!("plan/floor: one copy of the fleet {floor:?}");
    for (name, view) in [("as it should be", &calm), ("a tenth failed", &broken)] {
        let took = median(|| drop(std::hint::black_box(reconcile(view))));
        let actions = reconcile(view).actions.len();
        println!("plan/{MACHINES} machines, {name}: {took:?}, {actions} actions");
    }
}

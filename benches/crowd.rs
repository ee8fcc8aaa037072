//! Many members: what an idle one among a hundred spends, and what an agent holds that knows a thousand.
//!
//! The hundred are real agents of one computer, over a minute: under 0.5 % of a processor each once they have
//! told each other of their links; what the founding itself costs is printed beside it. The thousand
//! do not run: one real agent is told of them by the document. What living ones would say of themselves,
//! facts and links, is held in this process besides, and counted on top: under 40 MB together.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement ends where it cannot go on")]

mod support;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use raptor::mesh::link_state::{Advertisement, LinkStates};
use raptor::mesh::metric::Metric;
use raptor::model::cluster::Genesis;
use raptor::model::facts::{Facts, SignedFacts};
use raptor::model::identity::{NodeId, SecretKey};
use raptor::model::nat::NatKind;
use raptor::model::reach::Reach;
use raptor::model::time::Timestamp;
use serde_json::{Map, Value, json};
use support::process::{Memory, processor_time, wakeups};
use support::user::{LocalMachine, User};
use support::{until, verdict};

const IDLE: usize = 100;
const KNOWN: usize = 1_000;
const WINDOW: Duration = Duration::from_secs(60);
/// The cluster's first seconds are spent on meeting each other, not on being idle.
const SETTLE: Duration = Duration::from_secs(40);
/// Founding is over when all made at most [`QUIET_LISTS`] lists of their links in this time.
const QUIET: Duration = Duration::from_secs(20);
const QUIET_LISTS: u64 = 10;
const SETTLE_MAX: Duration = Duration::from_secs(600);
/// Members that one write names.
const BATCH: usize = 50;
/// Neighbours of a member on three rings.
const NEIGHBOURS: usize = 6;

fn main() {
    known();
    idle();
}

fn idle() {
    let user = User::new();
    let machines = user.spawn_local(IDLE);
    thread::sleep(SETTLE);
    spent(&machines, "that just began");
    let start = Instant::now();
    let count = settle(&machines);
    println!(
        "after {:.0} s more they made {count} lists of links in {QUIET:?}",
        start.elapsed().as_secs_f64()
    );
    let most = spent(&machines, "that settled");
    println!("{}", verdict(most < 0.5, "0.5 %"));
}

/// Prints what each spends in the next [`WINDOW`]; what the busiest does, in percent of a processor.
fn spent(machines: &[LocalMachine], which: &str) -> f64 {
    let agents: Vec<u32> = machines.iter().map(LocalMachine::agent).collect();
    let look = || agents.iter().map(|agent| processor_time(*agent)).collect::<Vec<_>>();
    let woken = || agents.iter().map(|agent| wakeups(*agent)).sum::<u64>();
    let (before, woken_before) = (look(), woken());
    thread::sleep(WINDOW);
    let spent = look().into_iter().zip(before).map(|(after, before)| after.saturating_sub(before));
    let share = |time: Duration| 100.0 * time.as_secs_f64() / WINDOW.as_secs_f64();
    let mut shares: Vec<f64> = spent.map(share).collect();
    shares.sort_by(f64::total_cmp);
    let (median, most) = (shares[IDLE / 2], shares[IDLE - 1]);
    let woken = (woken() - woken_before) / WINDOW.as_secs() / agents.len() as u64;
    println!(
        "a member of {IDLE} {which}: {median:.3} % of a processor, the busiest {most:.3} %, \
         {woken} wakeups/s"
    );
    most
}

/// Waits until hardly anybody has anything to say about links any more; how many lists of links
/// they all made in the last [`QUIET`]. Everybody makes one every quarter of an hour in any case.
fn settle(machines: &[LocalMachine]) -> u64 {
    let made = || machines.iter().map(lists_made).sum::<u64>();
    let mut before = made();
    for _ in 0..SETTLE_MAX.as_secs() / QUIET.as_secs() {
        thread::sleep(QUIET);
        let count = made();
        if count - before <= QUIET_LISTS {
            return count - before;
        }
        before = count;
    }
    panic!("not settled within {SETTLE_MAX:?}");
}

fn lists_made(machine: &LocalMachine) -> u64 {
    let families = machine.api().get("/v1/metrics").unwrap_or_default();
    let family = families.as_array().into_iter().flatten();
    let mut family = family.filter(|one| one["name"] == "raptor_link_states_signed_total");
    let value = family.next().and_then(|one| one["samples"][0]["value"].as_f64()).unwrap();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    let value = value as u64;
    value
}

fn known() {
    let keys = keys();
    let user = User::new();
    let machine = &user.spawn_local(1)[0];
    let (agent, api) = (machine.agent(), machine.api());
    let before = Memory::of(agent);
    let founder: NodeId =
        serde_json::from_value(api.get("/v1/status").unwrap()["node"].clone()).unwrap();
    for (batch, keys) in keys[1..].chunks(BATCH).enumerate() {
        let changes: Vec<(String, Value)> = keys
            .iter()
            .enumerate()
            .map(|(index, key)| {
                let admission = json!({
                    "name": format!("m{}", batch * BATCH + index), "role": "full",
                    "added_at": Timestamp::default(), "added_by": founder,
                    "endpoints": ["127.0.0.1:9", "127.0.0.2:9"],
                });
                (format!("members.{}", key.node_id()), admission)
            })
            .collect();
        api.set_all(&changes).unwrap();
    }
    until(Duration::from_secs(30), "all are known", || {
        api.get("/v1/members").is_some_and(|members| members.as_array().unwrap().len() == KNOWN)
    });
    thread::sleep(SETTLE);
    let after = Memory::of(agent);
    let told = held(&keys);
    let all = after.resident + told;
    println!(
        "an agent alone              {:6.1} MB, its own {:.1} MB",
        before.resident, before.own
    );
    println!(
        "that knows {KNOWN} members     {:6.1} MB, its own {:.1} MB",
        after.resident, after.own
    );
    println!("their facts and links       {told:6.1} MB");
    println!("together                    {all:6.1} MB   {}", verdict(all < 40.0, "40 MB"));
}

fn keys() -> Vec<SecretKey> {
    let mut counter = 0_u64;
    let mut draw = |seed: &mut [u8; 32]| {
        counter += 1;
        seed[..8].copy_from_slice(&counter.to_le_bytes());
    };
    (0..KNOWN).map(|_| SecretKey::generate(&mut draw)).collect()
}

/// Megabytes of what all members say: facts as they were signed and as they are read, and links.
fn held(keys: &[SecretKey]) -> f64 {
    let before = Memory::of(std::process::id()).own;
    let genesis = Genesis { founder: keys[0].node_id(), nonce: 1, name: "bench".parse().unwrap() };
    let mut facts: BTreeMap<NodeId, (SignedFacts, Facts)> = BTreeMap::new();
    let mut states = LinkStates::default();
    for (index, key) in keys.iter().enumerate() {
        let said = facts_of(key, index);
        facts.insert(key.node_id(), (SignedFacts::sign(&said, key).unwrap(), said));
        let next = keys.iter().cycle().skip(index + 1).take(NEIGHBOURS);
        let links: BTreeMap<_, _> =
            next.map(|other| (other.node_id().address(), Metric::new(200, 0))).collect();
        states.insert(Advertisement::sign(key, genesis.cluster_id(), 1, &links));
    }
    let after = Memory::of(std::process::id()).own;
    drop((facts, states));
    after - before
}

fn facts_of(key: &SecretKey, index: usize) -> Facts {
    Facts {
        node: key.node_id(),
        version: 1,
        name: format!("m{index}").parse().unwrap(),
        build: "0.1.0".to_owned(),
        protocol: 1,
        compute_type: "docker".to_owned(),
        server_type: "headless".to_owned(),
        labels: [("zone".to_owned(), "north".to_owned())].into(),
        endpoints: vec!["192.0.2.1:4863".parse().unwrap(), "[2001:db8::1]:4863".parse().unwrap()],
        nat: NatKind::Easy,
        reach: Reach::Full,
        parent: None,
        ssh_port: Some(22),
        ssh_user: Some("root".to_owned()),
        os: "Debian GNU/Linux 13 (trixie)".to_owned(),
        arch: "x86_64".to_owned(),
        joined_at: Timestamp::default(),
        started_at: Timestamp::default(),
        rest: Map::new(),
    }
}

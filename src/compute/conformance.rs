//! What every back-end must keep to, as one suite that each of them runs.

#![cfg(test)]

use std::slice;
use std::time::Duration;

use data_encoding::BASE32_NOPAD;

use crate::compute::Compute;
use crate::model::cluster::ClusterId;
use crate::model::machine::IntentId;
use crate::model::machine::Machine;
use crate::model::machine::MachineSpec;

/// How many times a create is cut off at a random point.
const CRASHES: u32 = 6;

/// A wish of nobody in particular: intent and cluster are told apart by one byte each.
pub(crate) fn spec(name: &str, intent: u8, cluster: u8) -> MachineSpec {
    MachineSpec {
        intent: IntentId::from_bytes([intent; 10]),
        cluster: cluster_id([cluster; 16]),
        name: name.parse().unwrap(),
        labels: [("zone".to_owned(), "home".to_owned())].into(),
        authorized_keys: Vec::new(),
    }
}

/// A wish that no other run ever had, so that runs may share an engine.
pub(crate) fn fresh_spec(name: &str, cluster: ClusterId) -> MachineSpec {
    MachineSpec { intent: IntentId::from_bytes(random()), cluster, ..spec(name, 0, 0) }
}

/// A cluster that no other run ever had.
pub(crate) fn fresh_cluster() -> ClusterId {
    cluster_id(random())
}

fn cluster_id(bytes: [u8; 16]) -> ClusterId {
    BASE32_NOPAD.encode(&bytes).parse().unwrap()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

/// Panics when `compute` breaks a promise of [`Compute`]. `create_time` is about what one create
/// takes: creates are cut off at random points of it.
pub(crate) async fn run(compute: &dyn Compute, create_time: Duration) {
    compute.check().await.unwrap();
    let (ours, theirs) = (fresh_cluster(), fresh_cluster());
    nothing_is_there(compute, ours).await;
    a_wish_is_one_machine(compute, ours).await;
    clusters_do_not_see_each_other(compute, ours, theirs).await;
    only_the_machine_itself_is_destroyed(compute, ours, theirs).await;
    a_cut_off_create_is_taken_up(compute, ours, create_time).await;
    nothing_is_there(compute, ours).await;
    nothing_is_there(compute, theirs).await;
}

async fn nothing_is_there(compute: &dyn Compute, cluster: ClusterId) {
    assert_eq!(compute.list(cluster).await.unwrap(), []);
    let unknown = fresh_spec("web-1", cluster).intent;
    assert_eq!(compute.find(unknown).await.unwrap(), None);
}

fn carries(machine: &Machine, spec: &MachineSpec) {
    assert_eq!(machine.intent, spec.intent);
    assert_eq!(machine.cluster, spec.cluster);
    assert_eq!(machine.name, spec.name);
}

async fn a_wish_is_one_machine(compute: &dyn Compute, cluster: ClusterId) {
    let spec = fresh_spec("web-1", cluster);
    let (first, second) = tokio::join!(compute.create(&spec), compute.create(&spec));
    let (first, second) = (first.unwrap(), second.unwrap());
    carries(&first, &spec);
    assert_eq!(first, second);
    assert_eq!(compute.create(&spec).await.unwrap(), first);
    assert_eq!(compute.find(spec.intent).await.unwrap(), Some(first.clone()));
    assert_eq!(compute.list(cluster).await.unwrap(), slice::from_ref(&first));
    compute.destroy(&first).await.unwrap();
    compute.destroy(&first).await.unwrap();
    assert_eq!(compute.find(spec.intent).await.unwrap(), None);
    let again = compute.create(&spec).await.unwrap();
    carries(&again, &spec);
    compute.destroy(&again).await.unwrap();
}

async fn clusters_do_not_see_each_other(compute: &dyn Compute, ours: ClusterId, theirs: ClusterId) {
    let specs = [("web-1", ours), ("web-2", ours), ("web-1", theirs)]
        .map(|(name, cluster)| fresh_spec(name, cluster));
    let (one, two, other) = tokio::join!(
        compute.create(&specs[0]),
        compute.create(&specs[1]),
        compute.create(&specs[2])
    );
    let (one, two, other) = (one.unwrap(), two.unwrap(), other.unwrap());
    assert_eq!(compute.list(ours).await.unwrap(), [one.clone(), two.clone()]);
    assert_eq!(compute.list(theirs).await.unwrap(), slice::from_ref(&other));
    for machine in [&one, &two, &other] {
        assert_eq!(compute.find(machine.intent).await.unwrap().as_ref(), Some(machine));
        compute.destroy(machine).await.unwrap();
    }
}

/// A record that was mixed up or forged must not cost another machine its life.
async fn only_the_machine_itself_is_destroyed(
    compute: &dyn Compute,
    ours: ClusterId,
    theirs: ClusterId,
) {
    let machine = compute.create(&fresh_spec("web-1", ours)).await.unwrap();
    let other_intent = fresh_spec("web-1", ours).intent;
    for forged in [
        Machine { cluster: theirs, ..machine.clone() },
        Machine { intent: other_intent, ..machine.clone() },
    ] {
        compute.destroy(&forged).await.unwrap();
        assert_eq!(compute.find(machine.intent).await.unwrap(), Some(machine.clone()));
    }
    compute.destroy(&machine).await.unwrap();
}

/// The machine of a create that was cut off may appear later still: asking for it again is what
/// makes sure, and then there is one.
async fn a_cut_off_create_is_taken_up(
    compute: &dyn Compute,
    cluster: ClusterId,
    create_time: Duration,
) {
    for _ in 0..CRASHES {
        let spec = fresh_spec("web-1", cluster);
        let point = create_time.mul_f64(f64::from(random::<1>()[0]) / 255.0);
        let _cut_off = tokio::time::timeout(point, compute.create(&spec)).await;
        if let Some(found) = compute.find(spec.intent).await.unwrap() {
            carries(&found, &spec);
        }
        let machine = compute.create(&spec).await.unwrap();
        carries(&machine, &spec);
        assert_eq!(compute.list(cluster).await.unwrap(), slice::from_ref(&machine));
        compute.destroy(&machine).await.unwrap();
        assert_eq!(compute.list(cluster).await.unwrap(), []);
        assert_eq!(compute.find(spec.intent).await.unwrap(), None);
    }
}

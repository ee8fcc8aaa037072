//! The suite as the tests of back-ends use it.

use super::*;

/// A wish of nobody in particular: intent and cluster are told apart by one byte each.
pub(crate) fn spec(name: &str, intent: u8, cluster: u8) -> MachineSpec {
    MachineSpec {
        intent: IntentId::from_bytes([intent; 10]),
        cluster: BASE32_NOPAD.encode(&[cluster; 16]).parse().unwrap(),
        name: name.parse().unwrap(),
        labels: [("zone".to_owned(), "home".to_owned())].into(),
        authorized_keys: Vec::new(),
    }
}

/// A wish that no other run ever had.
pub(crate) fn fresh_spec(name: &str, cluster: ClusterId) -> MachineSpec {
    MachineSpec { intent: IntentId::from_bytes(random().unwrap()), cluster, ..spec(name, 0, 0) }
}

/// A cluster that no other run ever had.
pub(crate) fn fresh_cluster() -> ClusterId {
    random_cluster().unwrap()
}

/// Panics when `compute` breaks a promise. `create_time` is about what one create takes.
pub(crate) async fn run(compute: &dyn Compute, create_time: Duration) {
    let terms = Terms { create_time: Some(create_time), ..Terms::default() };
    for finding in examine(compute, terms, |_| {}).await {
        assert!(finding.fault.is_none(), "{}: {:?}", finding.promise, finding.fault);
    }
}

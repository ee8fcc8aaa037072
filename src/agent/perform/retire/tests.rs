use super::*;
use crate::model::identity::testing::key;

fn node(number: u64) -> NodeId {
    key(number).node_id()
}

fn evict(name: &str, node: NodeId) -> Action {
    Action::Evict { node, name: name.parse().unwrap() }
}

fn destroy(name: &str, intent: u8) -> Action {
    Action::Destroy {
        intent: IntentId::from_bytes([intent; 10]),
        name: name.parse().unwrap(),
        compute_type: "local".to_owned(),
    }
}

fn jobs(actions: Vec<Action>) -> Vec<RetireJob> {
    let mut plan = Plan::default();
    for action in actions {
        plan.push(action, "test");
    }
    retire_jobs(&plan, &MachineRecords::new())
}

#[test]
fn the_steps_of_one_machine_are_one_job() {
    let jobs = jobs(vec![evict("a", node(1)), evict("b", node(2)), destroy("a", 1)]);
    assert_eq!(jobs.len(), 2);
    assert_eq!(jobs[0].evict, Some(node(1)));
    assert_eq!(jobs[0].summary(), "destroyed");
    assert_eq!(jobs[1].summary(), "evicted");
    assert!(jobs[1].destroy.is_none());
}

#[test]
fn machines_of_one_name_are_all_taken_away() {
    let jobs =
        jobs(vec![destroy("a", 1), destroy("a", 2), evict("a", node(1)), evict("a", node(2))]);
    let destroyed: Vec<_> = jobs.iter().filter_map(|job| job.destroy.as_ref()).collect();
    assert_eq!(destroyed.len(), 2);
    assert_ne!(destroyed[0].0, destroyed[1].0);
    assert_eq!(jobs.iter().filter(|job| job.evict.is_some()).count(), 2);
}

#[test]
fn what_remains_of_a_machine_says_whom_it_served_and_since_when() {
    let mut plan = Plan::default();
    plan.push(destroy("a", 1), "test");
    plan.push(evict("a", node(1)), "test");
    plan.push(destroy("b", 2), "test");
    let (wished, now) = (Timestamp::from_millis(1_000), Timestamp::from_millis(9_000));
    let record: MachineRecord = serde_json::from_value(serde_json::json!({
        "name": "a", "compute_type": "local", "server_type": "headless", "created_at": wished,
        "rule": "default",
    }))
    .unwrap();
    let known = MachineRecords::from([(IntentId::from_bytes([1; 10]), record)]);
    let jobs = retire_jobs(&plan, &known);
    let tombstone = jobs[0].tombstone("local", now);
    assert_eq!(tombstone.rule.as_deref(), Some("default"));
    assert_eq!((tombstone.created_at, tombstone.at), (wished, now));
    // Of one that nobody wrote down, no more is known than that it was there.
    let unknown = jobs[1].tombstone("local", now);
    assert_eq!((unknown.rule, unknown.created_at), (None, now));
}

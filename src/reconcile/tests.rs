//! Wishes and the plans that follow from them, as `--dry-run` prints them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::action::Plan;
use crate::model::identity::NodeId;
use crate::model::identity::testing::key;
use crate::model::machine::Access;
use crate::model::machine::IntentId;
use crate::model::machine::MachineRecord;
use crate::model::member::Status;
use crate::model::time::Timestamp;
use crate::reconcile::destroy::DestroyRequest;
use crate::reconcile::destroy::plan_destroy;
use crate::reconcile::evict::plan_evict;
use crate::reconcile::prune::PruneRequest;
use crate::reconcile::prune::plan_prune;
use crate::reconcile::slave::SlaveRequest;
use crate::reconcile::slave::SlaveTarget;
use crate::reconcile::slave::plan_slave;
use crate::reconcile::spawn::SpawnRequest;
use crate::reconcile::spawn::plan_spawn;
use crate::reconcile::world::ADOPTED;
use crate::reconcile::world::KnownMember;
use crate::reconcile::world::World;

const DAY: Duration = Duration::from_secs(86_400);
const NOW: Timestamp = Timestamp::from_millis(1_795_246_200_000);

fn node(number: u8) -> NodeId {
    key(u64::from(number)).node_id()
}

fn intents() -> impl Iterator<Item = IntentId> {
    (100..).map(|number| IntentId::from_bytes([number; 10]))
}

/// A world that grows line by line.
#[derive(Default)]
struct Story(World);

impl Story {
    fn founded() -> Self {
        Self(World { is_founded: true, ..World::default() })
    }

    fn member(mut self, number: u8, name: &str, status: Status, status_for: Duration) -> Self {
        let name = name.parse().unwrap();
        self.0
            .members
            .insert(node(number), KnownMember { name, status, status_for: Some(status_for) });
        self
    }

    /// A machine made a day ago, on which the member of that number runs if the document names it.
    fn machine(mut self, number: u8, name: &str, compute_type: &str) -> Self {
        let record = MachineRecord {
            name: name.parse().unwrap(),
            compute_type: compute_type.to_owned(),
            server_type: "headless".to_owned(),
            labels: BTreeMap::new(),
            created_at: Timestamp::from_millis(NOW.as_millis() - 86_400_000),
            machine: None,
            access: None,
            node: self.0.members.contains_key(&node(number)).then(|| node(number)),
            upkeep: crate::model::upkeep::Upkeep::default(),
            rest: serde_json::Map::new(),
        };
        self.0.machines.insert(IntentId::from_bytes([number; 10]), record);
        self
    }

    fn record(&mut self, number: u8) -> &mut MachineRecord {
        self.0.machines.get_mut(&IntentId::from_bytes([number; 10])).unwrap()
    }
}

fn spawn_request() -> SpawnRequest {
    SpawnRequest {
        ttl_ms: None,
        compute_type: "local".to_owned(),
        server_type: "headless".to_owned(),
        count: 2,
        count_max: 100,
        name: None,
        labels: BTreeMap::new(),
        provision: true,
        join: true,
        cluster: "default".parse().unwrap(),
    }
}

fn slave_request(destinations: &[&str]) -> SlaveRequest {
    let targets = destinations.iter().map(|text| SlaveTarget {
        destination: text.parse().unwrap(),
        via: None,
        name: None,
        server_type: None,
        labels: BTreeMap::new(),
    });
    SlaveRequest {
        targets: targets.collect(),
        server_type: "headless".to_owned(),
        provision: true,
        join: true,
        cluster: "default".parse().unwrap(),
    }
}

/// Compares a plan with what is expected, line by line.
fn assert_plan(plan: &Plan, expected: &[&str]) {
    let text = plan.to_string();
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

fn spawned(request: &SpawnRequest, world: &World) -> Result<Plan, String> {
    plan_spawn(request, world, &mut intents()).map_err(|error| error.to_string())
}

fn slaved(request: &SlaveRequest, world: &World) -> Result<Plan, String> {
    plan_slave(request, world, &mut intents()).map_err(|error| error.to_string())
}

#[test]
fn the_first_machines_found_the_cluster() {
    let plan = spawned(&spawn_request(), &World::default()).unwrap();
    assert_plan(
        &plan,
        &[
            "found cluster default (there is no cluster yet)",
            "create machine local-1 on local as headless (machine 1 of 2 asked for)",
            "slave local-1: provision headless, join (machine 1 of 2 asked for)",
            "create machine local-2 on local as headless (machine 2 of 2 asked for)",
            "slave local-2: provision headless, join (machine 2 of 2 asked for)",
        ],
    );
}

#[test]
fn later_machines_take_the_lowest_free_names() {
    let story =
        Story::founded().machine(1, "local-1", "local").member(3, "local-3", Status::Alive, DAY);
    let plan = spawned(&spawn_request(), &story.0).unwrap();
    let text = plan.to_string();
    assert!(text.starts_with("create machine local-2 ") && text.contains("machine local-4 "));
}

#[test]
fn a_given_name_names_one_machine_and_is_the_stem_of_several() {
    let name = Some("web".parse().unwrap());
    let one = SpawnRequest { name, count: 1, join: false, ..spawn_request() };
    assert_plan(
        &spawned(&one, &World::default()).unwrap(),
        &[
            "create machine web on local as headless (machine 1 of 1 asked for)",
            "slave web: provision headless (machine 1 of 1 asked for)",
        ],
    );
    let two = SpawnRequest { count: 2, ..one };
    let text = spawned(&two, &World::default()).unwrap().to_string();
    assert!(text.contains("machine web-1 ") && text.contains("machine web-2 "));
}

#[test]
fn spawns_that_cannot_be_are_refused() {
    let story = Story::founded().member(1, "web", Status::Alive, DAY);
    let request = spawn_request();
    let none = SpawnRequest { count: 0, ..request.clone() };
    assert!(spawned(&none, &story.0).unwrap_err().starts_with("0 machines were asked for"));
    let many = SpawnRequest { count: 101, ..request.clone() };
    let error = spawned(&many, &story.0).unwrap_err();
    assert_eq!(error, "101 machines were asked for; at most 100 at once");
    let taken = SpawnRequest { count: 1, name: Some("web".parse().unwrap()), ..request.clone() };
    let error = spawned(&taken, &story.0).unwrap_err();
    assert_eq!(error, "the name web is taken; choose another, or leave it out");
    let error = plan_spawn(&request, &story.0, &mut std::iter::empty()).unwrap_err();
    assert_eq!(error.to_string(), "2 intent ids are missing");
}

#[test]
fn a_machine_named_twice_is_slaved_once() {
    let request = slave_request(&["root@a", "b:2222", "root@a"]);
    assert_plan(
        &slaved(&request, &World::default()).unwrap(),
        &[
            "found cluster default (there is no cluster yet)",
            "slave root@a: provision headless, join (named by the user)",
            "slave b:2222: provision headless, join (named by the user)",
        ],
    );
    let error = slaved(&slave_request(&["root@a", "me@a"]), &World::default()).unwrap_err();
    assert_eq!(error, "me@a is named twice, and not with the same settings");
    let error = slaved(&slave_request(&[]), &World::default()).unwrap_err();
    assert!(error.starts_with("no machine was named"));
}

#[test]
fn a_machine_that_is_ours_is_repaired_under_its_own_wish() {
    let mut story =
        Story::founded().member(1, "old", Status::Alive, DAY).machine(1, "old", ADOPTED);
    story.record(1).access = Some(Access::Ssh {
        destination: "root@a".parse().unwrap(),
        via: None,
        identity_file: None,
        host_keys: Vec::new(),
    });
    let mut request = slave_request(&["root@a"]);
    request.targets[0].via = Some("jump".parse().unwrap());
    let plan = plan_slave(&request, &story.0, &mut std::iter::empty()).unwrap();
    assert_plan(
        &plan,
        &["slave root@a as old through jump: provision headless, join (already ours: repaired)"],
    );
    let mut other = slave_request(&["root@b"]);
    other.targets[0].name = Some("old".parse().unwrap());
    assert_eq!(slaved(&other, &story.0).unwrap_err(), "the name old for root@b is taken");
}

#[test]
fn destroying_evicts_first_and_spares_machines_that_were_taken_over() {
    let mut story = Story::founded()
        .member(1, "web-1", Status::Alive, DAY)
        .member(2, "desk", Status::Alive, DAY)
        .member(3, "guest", Status::Alive, DAY)
        .machine(1, "web-1", "docker")
        .machine(2, "desk", ADOPTED)
        .machine(4, "half-made", "docker");
    let expected = [
        "evict desk (all were asked to go)",
        "forget machine desk (all were asked to go; the machine was taken over, so it stays)",
        "evict guest (all were asked to go)",
        "destroy half-made on docker (all were asked to go)",
        "evict web-1 (all were asked to go)",
        "destroy web-1 on docker (all were asked to go)",
    ];
    assert_plan(&plan_destroy(&DestroyRequest::All, &story.0).unwrap(), &expected);
    story.0.executor = Some(node(2));
    let text = plan_destroy(&DestroyRequest::All, &story.0).unwrap().to_string();
    assert!(text.lines().last().unwrap().starts_with("forget machine desk"), "{text}");
    let prefix = node(1).to_string()[..8].to_owned();
    let named = DestroyRequest::Named(vec!["web-1".to_owned(), prefix]);
    assert_plan(
        &plan_destroy(&named, &story.0).unwrap(),
        &["evict web-1 (asked to go)", "destroy web-1 on docker (asked to go)"],
    );
}

#[test]
fn an_unknown_name_brings_the_nearest_ones() {
    let story = Story::founded()
        .member(1, "web-1", Status::Alive, DAY)
        .member(2, "web-2", Status::Alive, DAY)
        .member(3, "desk", Status::Alive, DAY);
    let named = DestroyRequest::Named(vec!["web1".to_owned()]);
    let error = plan_destroy(&named, &story.0).unwrap_err().to_string();
    assert_eq!(error, "no machine or member is called \"web1\"; similar: web-1, web-2");
    let named = DestroyRequest::Named(vec!["zzz".to_owned()]);
    let error = plan_destroy(&named, &story.0).unwrap_err().to_string();
    assert_eq!(error, "no machine or member is called \"zzz\"");
}

#[test]
fn a_name_that_two_have_is_refused_and_an_id_tells_them_apart() {
    let story =
        Story::founded().member(1, "box", Status::Alive, DAY).member(2, "box", Status::Alive, DAY);
    let named = DestroyRequest::Named(vec!["box".to_owned()]);
    let error = plan_destroy(&named, &story.0).unwrap_err().to_string();
    assert!(error.contains(&node(1).to_string()) && error.contains(&node(2).to_string()));
    let named = DestroyRequest::Named(vec![node(2).to_string()]);
    assert_eq!(plan_destroy(&named, &story.0).unwrap().steps.len(), 1);
}

#[test]
fn evicting_leaves_the_machine_and_somebody_to_go_on() {
    let story = Story::founded()
        .member(1, "web-1", Status::Alive, DAY)
        .member(2, "web-2", Status::Alive, DAY)
        .machine(1, "web-1", "docker")
        .machine(4, "half-made", "docker");
    let evict = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        plan_evict(&names, &story.0).map_err(|error| error.to_string())
    };
    assert_plan(
        &evict(&["web-1", "web-1"]).unwrap(),
        &["evict web-1 (asked to go; the machine stays)"],
    );
    assert!(evict(&["half-made"]).unwrap_err().starts_with("half-made is a machine but no member"));
    assert!(evict(&["web-1", "web-2"]).unwrap_err().starts_with("that would leave no member"));
}

#[test]
fn pruning_removes_the_dead_and_nobody_else() {
    let minute = Duration::from_secs(60);
    let mut story = Story::founded()
        .member(1, "alive", Status::Alive, DAY)
        .member(2, "dead", Status::Failed, DAY)
        .member(3, "fresh-dead", Status::Failed, minute)
        .member(4, "gone", Status::Left, 2 * DAY)
        .member(5, "never-came", Status::Booting, DAY)
        .member(6, "doubted", Status::Suspect, DAY)
        .machine(1, "alive", "docker")
        .machine(2, "dead", "docker")
        .machine(4, "gone", ADOPTED)
        .machine(7, "half-made", "docker")
        .machine(8, "loner", "docker")
        .machine(9, "put-out", "docker");
    story.record(8).set_meant_to_join(false);
    story.record(9).node = Some(node(9));
    let request = PruneRequest { dead_for: 60 * minute, now: NOW };
    assert_plan(
        &plan_prune(&request, &story.0),
        &[
            "evict dead (failed 1day ago)",
            "destroy dead on docker (failed 1day ago)",
            "evict gone (left 2days ago)",
            "forget machine gone (left 2days ago; the machine was taken over, so it stays)",
            "destroy half-made on docker (asked for 1day ago and never a member)",
            "evict never-came (admitted 1day ago and never seen)",
            "destroy put-out on docker (its member was evicted)",
        ],
    );
    let patient = PruneRequest { dead_for: 3 * DAY, now: NOW };
    assert_plan(&plan_prune(&patient, &story.0), &[]);
}

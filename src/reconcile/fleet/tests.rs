//! Fleets and the plans that follow from them, as `raptor plan` prints them.

use std::time::Duration;

use crate::model::member::Role;
use crate::model::member::Status;
use crate::model::rule::Rule;
use crate::reconcile::fleet::plan::Act;
use crate::reconcile::fleet::plan::WhyNot;
use crate::reconcile::fleet::testing::LONG;
use crate::reconcile::fleet::testing::NOW;
use crate::reconcile::fleet::testing::Story;
use crate::reconcile::fleet::testing::ago;
use crate::reconcile::fleet::testing::intent;
use crate::reconcile::fleet::testing::node;

const SECOND: Duration = Duration::from_secs(1);

/// The plan without questions to back-ends: who asks is not this member each time.
fn unasked(story: &Story) -> Vec<String> {
    story.lines().into_iter().filter(|line| !line.starts_with("ask ")).collect()
}

fn none() -> Vec<String> {
    Vec::new()
}

/// How many machines are wished for.
fn wished(story: &Story) -> usize {
    let actions = story.plan().actions;
    actions.iter().filter(|planned| matches!(planned.act, Act::Wish(_))).count()
}

fn waits(story: &Story) -> Vec<WhyNot> {
    story.plan().waits.into_iter().map(|wait| wait.why).collect()
}

/// Whether all members that can act have the same plan, by act and actor.
fn all_agree(count: u8, make: impl Fn() -> Story) -> bool {
    let plan = |number| {
        let plan = make().seen_by(number).plan();
        let acts = plan.actions.into_iter().map(|planned| (planned.act.to_string(), planned.by));
        acts.collect::<Vec<_>>()
    };
    (2..=count).all(|number| plan(number) == plan(1))
}

#[test]
fn a_fleet_as_it_should_be_is_left_alone() {
    assert_eq!(Story::of(5).rule("default", 5, Some(5)).lines(), none());
    // Without a rule nobody tends anything, whatever happens.
    let story = Story::of(5).status(2, Status::Failed, 9_999).status(3, Status::Failed, 9_999);
    assert_eq!(story.lines(), none());
}

#[test]
fn what_a_rule_lacks_is_wished_for_by_one_member() {
    let make = || Story::of(3).rule("default", 5, Some(5));
    assert_eq!(wished(&make()), 2);
    assert!(all_agree(3, make));
    let plan = make().plan();
    assert_eq!(plan.rules[0].alive, 3);
    assert!(
        plan.to_string().starts_with("rule default: 3 of 5 to 5 live, 0 coming: does not hold\n")
    );
    let Act::Wish(wish) = &plan.actions[0].act else { panic!("{plan}") };
    assert_eq!((wish.compute_type.as_str(), wish.server_type.as_str()), ("local", "headless"));
    assert_eq!(plan.actions[0].by, plan.actions[1].by);
    // What is on its way counts.
    let story = make().wish(8, 2, SECOND).wish(9, 2, SECOND);
    assert_eq!(wished(&story), 0);
    assert_eq!(waits(&story), [WhyNot::HeldByOther, WhyNot::HeldByOther]);
}

#[test]
fn the_suspected_and_the_failed_are_waited_for_and_the_stopped_are_not() {
    let story = |status, seconds| Story::of(5).rule("default", 5, None).status(5, status, seconds);
    let lines = unasked(&story(Status::Suspect, 2));
    assert_eq!(lines, ["not yet: local-5 is suspected, and may show that it lives (rule default)"]);
    // The list is from this moment, and says that it runs.
    let lines = unasked(&story(Status::Failed, 2));
    let expected = "not yet: local-5 is failed; given up in 28 s, or when its back-end says that \
                    it stands still (rule default)";
    assert_eq!(lines, [expected]);
    assert_eq!(wished(&story(Status::Failed, 31)), 1);

    let make = |by: u8| {
        let mut story = story(Status::Failed, 2).seen_by(by);
        story.list(5, false);
        story.0.listings.get_mut("local").unwrap().age = SECOND;
        story
    };
    // Exactly one of them looks, and notes what it saw.
    let noted = (1..=4).map(|by| make(by).lines().join("\n"));
    let noted = noted.filter(|lines| lines.contains("note that local-5 stands still"));
    assert_eq!(noted.count(), 1);
    let mut story = make(1);
    story.record(5).upkeep.stopped_at = Some(NOW);
    assert_eq!(wished(&story), 1);
}

#[test]
fn a_list_from_before_the_death_says_nothing() {
    let story = |by| {
        let mut story =
            Story::of(5).rule("default", 5, None).status(5, Status::Failed, 2).seen_by(by);
        story.list(5, false);
        story.0.listings.get_mut("local").unwrap().age = SECOND * 3;
        story
    };
    let lines: Vec<String> = (1..=4).flat_map(|by| story(by).lines()).collect();
    assert!(!lines.iter().any(|line| line.contains("stands still (its")), "{lines:?}");
    assert!(lines.iter().any(|line| line == "ask local what it has (local-5 is failed)"));
}

#[test]
fn one_that_sees_half_of_them_dead_waits_unless_they_stand_still() {
    let dead = |seconds| {
        let mut story = Story::of(4).rule("default", 4, Some(4));
        for number in 2..=4 {
            story = story.status(number, Status::Failed, seconds);
        }
        story
    };
    assert_eq!(waits(&dead(40)), [WhyNot::Brake, WhyNot::Brake, WhyNot::Brake]);
    assert_eq!(wished(&dead(40)), 0);
    assert_eq!(wished(&dead(61)), 3);
    let mut story = dead(4);
    for number in 2..=4 {
        story.record(number).upkeep.stopped_at = Some(NOW);
    }
    assert_eq!(wished(&story), 3, "the last survivor waits for nobody");
    // And never takes anything away meanwhile.
    let mut story = dead(9_999);
    story.0.rules.get_mut("default").unwrap().max = Some(0);
    story.0.rules.get_mut("default").unwrap().min = 0;
    assert!(waits(&story).contains(&WhyNot::Brake));
}

#[test]
fn only_who_knows_enough_acts() {
    let mut story = Story::of(3).rule("default", 5, None);
    story.0.half_knowledge = Some("the disk is full".to_owned());
    assert_eq!(story.lines(), ["not yet: nothing is done: the disk is full"]);
    let mut story = Story::of(3).rule("default", 5, None);
    story.0.limits.paused = true;
    assert_eq!(waits(&story), [WhyNot::Paused]);
    // A worker never acts.
    let mut story = Story::of(2).rule("default", 3, None);
    story.0.members.get_mut(&node(1)).unwrap().role = Role::Worker;
    assert!(story.plan().actions.iter().all(|planned| planned.by == node(2)));
}

#[test]
fn caps_hold_and_are_told() {
    let base = || Story::of(3).rule("default", 9, None);
    let mut story = base();
    story.0.limits.max = 5;
    assert_eq!((wished(&story), waits(&story)), (2, vec![WhyNot::FleetMaximum]));
    let mut story = base();
    story.0.rules.get_mut("default").unwrap().spawns_per_hour = 1;
    assert_eq!((wished(&story), waits(&story)), (1, vec![WhyNot::HourlyCap]));
    let mut story = base();
    story.0.limits.spawns_per_hour = 4;
    assert_eq!((wished(&story), waits(&story)), (4, vec![WhyNot::HourlyCap]));
    let mut story = base().wish(7, 1, SECOND);
    story.record(7).created_at = NOW;
    assert!(waits(&story).contains(&WhyNot::Cooldown));
    story.record(7).created_at = ago(2);
    assert_eq!(wished(&story), 5);
    // A clock a year ahead blocks nobody.
    story.record(7).created_at = NOW.after(LONG * 365);
    assert_eq!(wished(&story), 5);
}

#[test]
fn the_next_source_is_taken_when_the_first_fails_again_and_again() {
    let story = |failures: u8| {
        let mut story = Story::of(2).rule("default", 3, None);
        story.0.rules.get_mut("default").unwrap().compute_types =
            vec!["cloud".to_owned(), "docker".to_owned(), "local".to_owned()];
        for member in story.0.members.values_mut() {
            member.drives.as_mut().unwrap().insert("docker".to_owned(), "engine".to_owned());
        }
        for number in 0..failures {
            let mut record = story.record(1).clone();
            record.compute_type = "docker".to_owned();
            record.upkeep.rule = Some("default".to_owned());
            let tombstone = record.tombstone(ago(1), "the engine is full", true);
            story.0.tombstones.insert(intent(100 + number), tombstone);
        }
        story
    };
    let source = |story: &Story| {
        let wished = story.plan().actions.into_iter().find_map(|planned| match planned.act {
            Act::Wish(wish) => Some(wish.compute_type),
            _ => None,
        });
        wished.unwrap_or_else(|| format!("{:?}", waits(story)))
    };
    // Nobody drives the cloud.
    assert_eq!(source(&story(0)), "docker");
    assert_eq!(source(&story(1)), "[BackOff]");
    assert_eq!(source(&story(3)), "local");
    let mut story = story(0);
    story.0.rules.get_mut("default").unwrap().compute_types = vec!["cloud".to_owned()];
    assert_eq!(waits(&story), [WhyNot::NoBackEnd]);
}

#[test]
fn a_wish_goes_on_where_its_maker_died() {
    let base = || Story::of(3).rule("default", 4, None);
    let by_me = base().wish(7, 1, SECOND);
    assert_eq!(by_me.lines(), ["make local-7 (rule default: this member holds the wish)"]);
    assert_eq!(waits(&base().wish(7, 2, SECOND)), [WhyNot::HeldByOther]);
    let suspected = base().wish(7, 2, SECOND).status(2, Status::Suspect, 1);
    assert!(waits(&suspected).contains(&WhyNot::Suspect));
    let make = || base().wish(7, 2, SECOND).status(2, Status::Failed, 1);
    let lines = make().lines();
    assert_eq!(lines[0], "take over the making of local-7 (rule default: local-2 is gone)");
    assert!(make().plan().actions[0].by != node(2));
    let silent = base().wish(7, 2, SECOND * 61).lines();
    assert_eq!(silent[0], "take over the making of local-7 (rule default: local-2 gives no sign)");
    // Only who drives the same back-end can see what is there already.
    let mut elsewhere = make();
    elsewhere.record(7).upkeep.scope = Some("another computer".to_owned());
    assert!(elsewhere.lines()[0].starts_with("retire local-7"), "{:?}", elsewhere.lines());
}

#[test]
fn who_works_on_a_wish_says_so_and_notes_the_end() {
    let mut story = Story::of(3).rule("default", 4, None).wish(7, 1, SECOND);
    story.0.busy.insert(intent(7));
    assert_eq!(story.lines(), none());
    story.0.lease_known_for.insert(intent(7), SECOND * 30);
    assert_eq!(story.lines(), ["go on making local-7 (rule default: it takes its time)"]);
    let mut story = Story::of(3).rule("default", 3, None).wish(7, 1, SECOND);
    let lease = story.record(7).upkeep.lease.take();
    story.0.machines.remove(&intent(7));
    story.record(3).upkeep.lease = lease;
    assert_eq!(story.lines(), ["note that local-3 is made (it is a member, and alive)"]);
}

#[test]
fn of_a_surplus_the_youngest_go_once_things_have_come_to_rest() {
    let make = || Story::of(6).rule("default", 4, Some(4));
    let lines = make().lines();
    let reason = "(rule default: 2 more live than max, the youngest go)";
    assert_eq!(lines, [format!("retire local-6 {reason}"), format!("retire local-5 {reason}")]);
    assert!(all_agree(6, make));
    let mut story = make();
    story.0.settled_for = SECOND;
    assert_eq!(waits(&story), [WhyNot::Unsettled]);
    assert_eq!(waits(&make().status(2, Status::Suspect, 1)), [WhyNot::Unsettled]);
    // What was taken over is not ours to give back, and what another rule needs stays.
    let mut story = make();
    story.record(6).compute_type = "adopted".to_owned();
    assert!(story.lines().iter().all(|line| !line.contains("retire local-6")));
    let mut story = make();
    story.record(6).labels.insert("zone".to_owned(), "home".to_owned());
    let zoned = Rule { select: "zone=home".parse().unwrap(), min: 1, ..Rule::default() };
    story.0.rules.insert("zoned".to_owned(), zoned);
    assert!(waits(&story).contains(&WhyNot::NeededElsewhere));
    assert!(story.lines().iter().any(|line| line.starts_with("retire local-4")));
}

#[test]
fn an_unknown_machine_of_this_cluster_is_adopted_by_one_member() {
    let story = |by, listed_for| {
        let mut story = Story::of(3).rule("default", 3, None).seen_by(by);
        story.list(9, true);
        let listing = story.0.listings.get_mut("local").unwrap();
        listing.machines.get_mut(&intent(9)).unwrap().listed_for = listed_for;
        story.lines()
    };
    let adopted =
        (1..=3).filter(|by| story(*by, LONG).iter().any(|line| line.starts_with("adopt local-9")));
    assert_eq!(adopted.count(), 1);
    assert_eq!((1..=3).flat_map(|by| story(by, SECOND)).count(), 0, "its wish may be on its way");
}

#[test]
fn the_dead_are_cleared_away_only_when_they_stand_still() {
    let dead = |seconds| Story::of(5).rule("default", 4, None).status(5, Status::Failed, seconds);
    let lines = unasked(&dead(9_999));
    assert!(lines[0].contains("`raptor prune` gives it back"), "{lines:?}");
    let mut story = dead(30);
    story.record(5).upkeep.stopped_at = Some(NOW);
    assert_eq!(story.lines(), none());
    let mut story = dead(61);
    story.record(5).upkeep.stopped_at = Some(NOW);
    assert_eq!(story.lines(), ["retire local-5 (it is dead, and stands still)"]);
    // One that answers again is taken back.
    let mut story = Story::of(5).rule("default", 5, None);
    story.record(5).upkeep.stopped_at = Some(ago(30));
    assert_eq!(story.lines(), ["note that local-5 runs again (its member answers again)"]);
}

#[test]
fn a_life_that_ends_is_announced_before() {
    let ends = |seconds: u64, warned: bool| -> Vec<String> {
        let mut story = Story::of(4).rule("default", 3, None);
        story.record(4).upkeep.expires_at = Some(NOW.after(SECOND * 100));
        story.record(4).upkeep.warned_at = warned.then_some(NOW);
        story.0.limits.ttl_warning_ms = 60_000;
        story.0.now = NOW.after(Duration::from_secs(seconds));
        story.lines().iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    assert_eq!(ends(30, false), text(&["not"]));
    assert_eq!(ends(41, false), text(&["announce"]));
    assert_eq!(ends(41, true), text(&["not"]));
    assert_eq!(ends(100, true), text(&["retire"]));
    assert_eq!(ends(9_999, false), text(&["announce"]));
}

#[test]
fn what_a_person_did_is_respected() {
    // Put out: no affair of the rules; its place is filled.
    let mut story = Story::of(4).rule("default", 4, None);
    story.0.members.remove(&node(4));
    assert_eq!(wished(&story), 1);
    assert!(story.lines().iter().all(|line| !line.contains("local-4")));
    // Not meant to be a member.
    let mut story = Story::of(4).rule("default", 3, Some(3));
    story.record(4).node = None;
    story.record(4).set_meant_to_join(false);
    story.0.members.remove(&node(4));
    assert_eq!(story.lines(), none());
    // On its way by hand: counted; broken off long ago: cleared away.
    let by_hand = |seconds| {
        let mut story = Story::of(3).rule("default", 4, None).wish(7, 1, LONG);
        story.record(7).upkeep.lease = None;
        story.record(7).created_at = ago(seconds);
        story.record(7).upkeep.rule = None;
        story
    };
    assert_eq!(waits(&by_hand(60)), [WhyNot::HeldByPerson]);
    assert_eq!(wished(&by_hand(60)), 0);
    assert!(by_hand(601).lines()[0].starts_with("retire local-7"));
}

mod adoption;
mod endings;
mod suspects;
mod visits;

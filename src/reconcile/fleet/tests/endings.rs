//! Machines that go, and those that are kept.

use super::*;

#[test]
fn what_is_to_go_is_destroyed_by_another_and_what_went_stays_gone() {
    let make = || {
        let mut story = Story::of(4).rule("default", 3, Some(3));
        story.retire(4, "asked to go", false);
        story
    };
    assert_eq!(make().lines(), ["destroy local-4 on local (asked to go)"]);
    assert!(all_agree(4, make));
    assert_ne!(make().plan().actions[0].by, node(4));
    // A tombstone wins over a record, and over a machine that comes up late.
    let mut story = Story::of(4).rule("default", 3, None);
    let tombstone = story.record(4).tombstone(NOW, "destroyed by ann", false);
    story.0.tombstones.insert(intent(4), tombstone);
    assert_eq!(story.lines(), ["destroy local-4 on local (destroyed by ann)"]);
    story.0.machines.remove(&intent(4));
    story.0.members.remove(&node(4));
    let lines: Vec<String> = (1..=3)
        .flat_map(|by| {
            let mut seen = Story(story.0.clone());
            seen.0.me = node(by);
            seen.lines()
        })
        .collect();
    let again = "destroy local-4 on local again (it went before: destroyed by ann)";
    assert_eq!(lines, [again]);
}

#[test]
fn whose_own_machine_went_before_leaves_it_to_others() {
    let mut story = Story::of(2).rule("default", 1, None);
    for number in 1..=2 {
        let tombstone = story.record(number).tombstone(NOW, "destroyed by ann", false);
        story.0.tombstones.insert(intent(number), tombstone);
        story.0.machines.remove(&intent(number));
    }
    story.0.members.remove(&node(2));
    let lines = story.lines();
    assert!(lines.iter().any(|line| line.starts_with("destroy local-2")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("destroy local-1")), "{lines:?}");
}

#[test]
fn who_lives_and_is_to_go_goes_once_every_mark_was_heard() {
    let make = |known_for| {
        let mut story = Story::of(3).rule("default", 2, Some(2));
        story.retire(3, "surplus", false);
        story.0.mark_known_for.insert(intent(3), known_for);
        story
    };
    assert_eq!(waits(&make(SECOND)), [WhyNot::Unsettled]);
    assert_eq!(make(SECOND * 2).lines(), ["destroy local-3 on local (surplus)"]);
    // There is nothing left to lose, or somebody has decided.
    let dead = make(SECOND).status(3, Status::Failed, 999);
    assert_eq!(dead.lines(), ["destroy local-3 on local (surplus)"]);
    let mut over = make(SECOND);
    over.record(3).upkeep.expires_at = Some(ago(9));
    over.record(3).upkeep.warned_at = Some(ago(99));
    assert_eq!(over.lines(), ["destroy local-3 on local (surplus)"]);
}

#[test]
fn the_last_are_kept_when_two_retired_too_many_together() {
    let all_to_go = || {
        let mut story = Story::of(3).rule("default", 1, Some(1));
        for number in 1..=3 {
            story.retire(number, "surplus", false);
        }
        story
    };
    let lines = all_to_go().lines();
    assert_eq!(lines[0], "keep local-1 after all (fewer than min would live without it)");
    assert!(all_agree(3, all_to_go));
    // Whoever is to go destroys nobody while another can.
    let mut story = all_to_go();
    story.record(2).upkeep.retire = None;
    let plan = story.plan();
    assert!(plan.actions.iter().all(|planned| planned.by == node(2)), "{plan}");
    // What a person destroyed is not kept.
    let mut story = all_to_go();
    for number in 1..=3 {
        let tombstone = story.record(number).tombstone(NOW, "by ann", false);
        story.0.tombstones.insert(intent(number), tombstone);
    }
    assert!(story.lines().iter().all(|line| !line.starts_with("keep ")));
}

#[test]
fn a_member_of_whose_machine_nothing_is_left_is_put_out() {
    let mut story = Story::of(3).rule("default", 2, None);
    let tombstone = story.record(3).tombstone(NOW, "it failed", true);
    story.0.machines.remove(&intent(3));
    story.0.tombstones.insert(intent(3), tombstone);
    story.list(3, true);
    assert!(story.lines().contains(&"put local-3 out (its machine is gone)".to_owned()));
}

#[test]
fn who_was_not_seen_since_this_member_started_is_missed() {
    // Admitted long ago, and unseen: not on its way.
    let story = |seconds| Story::of(5).rule("default", 5, None).status(5, Status::Booting, seconds);
    assert_eq!(waits(&story(3)), [WhyNot::Unsure]);
    assert_eq!(wished(&story(31)), 1);
    let mut young = story(3);
    young.0.members.get_mut(&node(5)).unwrap().added_at = ago(5);
    assert_eq!((wished(&young), waits(&young)), (0, vec![WhyNot::HeldByPerson]));
}

/// The plans of all of them.
fn lines_of_all(count: u8, make: impl Fn() -> Story) -> Vec<String> {
    (1..=count).flat_map(|by| make().seen_by(by).own_lines()).collect()
}

#[test]
fn of_those_whose_time_is_over_one_ends_the_others_and_then_itself() {
    let all_over = |count| {
        move || {
            let mut story = Story::of(count);
            for number in 1..=count {
                let record = story.record(number);
                record.upkeep.expires_at = Some(ago(9));
                record.upkeep.warned_at = Some(ago(99));
                story.retire(number, "its life ends", false);
            }
            story
        }
    };
    let lines = lines_of_all(3, all_over(3));
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines.iter().all(|line| line.starts_with("destroy local-")), "{lines:?}");
    assert!(all_agree(3, all_over(3)));
    let end = "end local-1, the last one (its time is over, and nobody else is left)";
    assert_eq!(lines_of_all(1, all_over(1)), [end]);
    // One that was put out is no member; its machine is still there, and goes first.
    let half_gone = || {
        let mut story = all_over(2)();
        story.0.members.remove(&node(2));
        story
    };
    let not_yet = "not yet: local-1 takes the others away first";
    assert_eq!(half_gone().lines(), ["destroy local-2 on local (its life ends)", not_yet]);
    // A rule does not keep what is over: another takes its place.
    let ruled = || all_over(3)().rule("default", 3, None);
    assert!(ruled().lines().iter().all(|line| !line.starts_with("keep ")));
    assert_eq!(wished(&ruled()), 3);
    // What is merely too many is not ended by itself.
    let mut story = all_over(1)();
    story.record(1).upkeep.expires_at = None;
    assert_eq!(waits(&story), [WhyNot::GoesLast]);
}

#[test]
fn the_record_of_what_a_person_took_away_is_forgotten_once_its_back_end_has_it_no_more() {
    let story = |is_listed: bool, age: u64| {
        let mut story = Story::of(3).rule("default", 2, None);
        story.0.members.remove(&node(3));
        let listing = story.0.listings.get_mut("local").unwrap();
        listing.age = SECOND * u32::try_from(age).unwrap();
        if !is_listed {
            listing.machines.remove(&intent(3));
        }
        story
    };
    let forget = "forget local-3 (its member was put out, and its back-end does not have it)";
    assert_eq!(lines_of_all(3, || story(false, 1)), [forget]);
    // A machine that was only put out is left alone, and an old list says nothing.
    assert_eq!(lines_of_all(3, || story(true, 1)), none());
    let ask = "ask local what it has (for machines that nobody knows)";
    assert_eq!(lines_of_all(3, || story(false, 9)), [ask]);
}

#[test]
fn one_member_that_stays_writes_off_all_that_go() {
    let by = |max| {
        let story = Story::of(4).rule("default", 0, Some(max));
        let actions = story.plan().actions;
        actions.into_iter().map(|planned| planned.by).collect::<Vec<_>>()
    };
    // Whoever is not among them; when all go, one of them.
    assert_eq!(by(1), [node(1); 3]);
    let all = by(0);
    assert_eq!(all, [all[0]; 4]);
}

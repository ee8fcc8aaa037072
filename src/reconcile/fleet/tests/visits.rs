//! Machines that run, and of which the members hear nothing: visited, and taken in again.

use super::*;

/// Of five, the last is failed for `seconds`; its back-end says that it runs. Seen by whoever asks
/// back-ends about it.
fn silent(seconds: u64) -> Story {
    let story = |by: u8| {
        let story = Story::of(5).rule("default", 5, Some(5));
        let mut story = story.status(5, Status::Failed, seconds).seen_by(by);
        story.0.listings.get_mut("local").unwrap().age = SECOND;
        story
    };
    let visits = |by: &u8| {
        let lines = story(*by).own_lines();
        lines.iter().any(|line| line.starts_with("visit local-5"))
    };
    let who: Vec<u8> = (1..=4).filter(visits).collect();
    assert!(who.len() <= 1, "all go there: {who:?}");
    story(who.first().copied().unwrap_or(1))
}

#[test]
fn a_machine_that_runs_is_visited_by_one_member_before_it_is_given_up() {
    let reason = "its member is failed, and its back-end says that it runs";
    assert_eq!(silent(5).own_lines(), [format!("visit local-5 ({reason})")]);
    // It stands still, or nobody knows: there is nothing to visit.
    let mut story = silent(5);
    story.list(5, false);
    assert!(!story.lines().iter().any(|line| line.starts_with("visit")));
    // It has just answered.
    let mut story = silent(5);
    story.record(5).upkeep.answered_at = Some(ago(3));
    assert!(!story.lines().iter().any(|line| line.starts_with("visit")));
    story.record(5).upkeep.answered_at = Some(ago(21));
    assert!(story.lines().iter().any(|line| line.starts_with("visit")));
}

#[test]
fn one_that_answers_is_not_replaced_and_not_waited_for_for_ever() {
    assert_eq!(wished(&silent(90)), 1);
    let answered = |seconds, ago_seconds| {
        let mut story = silent(seconds);
        story.record(5).upkeep.answered_at = Some(ago(ago_seconds));
        story
    };
    assert_eq!(wished(&answered(90, 3)), 0);
    let expected = "not yet: local-5 is failed, and answered when it was visited; given up in 57 s \
                    unless it does so again (rule default)";
    assert!(answered(90, 3).lines().contains(&expected.to_owned()));
    // Its answer is old; a clock that is far ahead says nothing; it stands still; it is enough.
    assert_eq!(wished(&answered(90, 61)), 1);
    let mut story = answered(90, 3);
    story.record(5).upkeep.answered_at = Some(NOW.after(SECOND * 7_200));
    assert_eq!(wished(&story), 1);
    let mut story = answered(90, 3);
    story.record(5).upkeep.stopped_at = Some(NOW);
    assert_eq!(wished(&story), 1);
    assert_eq!(wished(&answered(600, 3)), 1);
}

/// A machine that a rule asked for is made and released, and this member has never heard of it.
fn unheard_of(seconds: u64) -> Story {
    let mut story = Story::of(3).rule("default", 4, Some(4));
    story.add(4);
    story.record(4).upkeep.rule = Some("default".to_owned());
    story.record(4).created_at = ago(seconds);
    let mut story = story.status(4, Status::Booting, seconds);
    story.0.members.get_mut(&node(4)).unwrap().added_at = ago(seconds);
    story
}

#[test]
fn a_machine_that_nobody_hears_of_is_taken_in_again() {
    let story = unheard_of(20);
    assert_eq!(wished(&story), 0);
    let waiting = "not yet: local-4 is made, and has not been heard of yet (rule default)";
    assert_eq!(story.lines(), [waiting]);
    let expected = "take over the making of local-4 (rule default: it was made, and nobody hears \
                    of it)";
    assert_eq!(unheard_of(61).lines()[0], expected);
    let makes = |by: u8| unheard_of(61).seen_by(by).own_lines().contains(&expected.to_owned());
    assert_eq!((1..=3).filter(|by| makes(*by)).count(), 1);
    // A person's own is theirs to finish.
    let mut story = unheard_of(61);
    story.record(4).upkeep.rule = None;
    assert_eq!(waits(&story), [WhyNot::HeldByPerson]);
    assert!(!story.lines().iter().any(|line| line.starts_with("take over")));
}

#[test]
fn one_that_died_before_this_member_heard_of_it_is_dead_when_it_stands_still() {
    // Whoever made it: this member has just started again, and the other died since.
    let story = |by: u8, seconds| {
        let mut story = unheard_of(seconds).seen_by(by);
        story.record(4).upkeep.rule = None;
        story.list(4, false);
        story.0.listings.get_mut("local").unwrap().age = SECOND;
        story
    };
    let noted = |seconds| {
        let lines = (1..=3).flat_map(|by| story(by, seconds).own_lines());
        lines.filter(|line| line.starts_with("note that local-4 stands still")).count()
    };
    assert_eq!((noted(20), noted(31)), (0, 1));
    let mut story = story(1, 31);
    story.record(4).upkeep.stopped_at = Some(NOW);
    assert_eq!(wished(&story), 1);
}

//! Members that are suspected: their back-end is asked at once, and says whether they are waited for.

use super::*;

/// Of five, the last is suspected for two seconds, and the list is `age` old; seen by each of the others.
fn suspected(age: Duration) -> impl Iterator<Item = Story> {
    (1..=4).map(move |by| {
        let story = Story::of(5).rule("default", 5, Some(5));
        let mut story = story.status(5, Status::Suspect, 2).seen_by(by);
        story.0.listings.get_mut("local").unwrap().age = age;
        story
    })
}

/// How many of those who look begin a line of their own like this.
fn who(stories: impl Iterator<Item = Story>, start: &str) -> usize {
    stories.filter(|story| story.own_lines().iter().any(|line| line.starts_with(start))).count()
}

#[test]
fn a_back_end_is_asked_about_the_suspected_without_waiting() {
    assert_eq!(who(suspected(SECOND * 3), "ask local"), 1, "the list is from before");
    assert_eq!(who(suspected(SECOND), "ask local"), 0, "it is not");
    // On a bad network, not each time that somebody is suspected.
    let just = |story: Story| {
        let mut story = story.status(5, Status::Suspect, 0);
        story.0.members.get_mut(&node(5)).unwrap().status_for = Duration::from_millis(100);
        story
    };
    assert_eq!(who(suspected(Duration::from_millis(499)).map(just), "ask local"), 0);
    assert_eq!(who(suspected(Duration::from_millis(500)).map(just), "ask local"), 1);
}

#[test]
fn only_one_that_is_listed_as_standing_still_is_not_waited_for() {
    let listed = |running| {
        suspected(SECOND).map(move |mut story| {
            story.list(5, running);
            story
        })
    };
    assert_eq!(who(listed(false), "note that local-5 stands still"), 1);
    assert_eq!(who(listed(true), "note"), 0);
    assert_eq!(who(listed(true), "visit"), 0, "that is for the failed");
    let missing = suspected(SECOND).map(|mut story| {
        story.0.listings.get_mut("local").unwrap().machines.remove(&intent(5));
        story
    });
    assert_eq!(who(missing, "note"), 0, "a list may be cut short");
}

#[test]
fn one_that_stands_still_is_replaced_while_it_is_suspected_and_cleared_away_only_when_it_is_failed()
{
    let story = |status| {
        let mut story = Story::of(5).rule("default", 5, Some(5)).status(5, status, 9_999);
        story.record(5).upkeep.stopped_at = Some(ago(9_999));
        story
    };
    assert_eq!(wished(&story(Status::Suspect)), 1);
    let retires = |story: &Story| story.lines().iter().any(|line| line.starts_with("retire"));
    assert!(!retires(&story(Status::Suspect)));
    assert!(retires(&story(Status::Failed)));
}

#[test]
fn who_has_not_heard_of_a_suspicion_does_not_take_the_note_back() {
    let takes_back = |alive_for: Duration, noted_ago| {
        let mut story = Story::of(5).rule("default", 5, Some(5));
        story.0.members.get_mut(&node(5)).unwrap().status_for = alive_for;
        story.record(5).upkeep.stopped_at = Some(ago(noted_ago));
        story.lines() == ["note that local-5 runs again (its member answers again)"]
    };
    assert!(!takes_back(LONG, 0) && !takes_back(LONG, 4), "the news may be on its way here");
    assert!(takes_back(LONG, 5), "it is not");
    assert!(takes_back(SECOND, 2), "it has come back since");
}

use crate::model::machine::MachineRecord;
use crate::model::member::Status;
use crate::model::upkeep::Retirement;
use crate::reconcile::fleet::reconcile;
use crate::reconcile::fleet::testing::NOW;
use crate::reconcile::fleet::testing::Story;
use crate::reconcile::fleet::testing::intent;
use crate::reconcile::fleet::testing::node;

use super::*;

const SOON: Moment = Moment::at(Duration::from_secs(100));

/// One member's work, step by step.
struct Work {
    story: Story,
    executor: Executor,
    now: Moment,
}

impl Work {
    fn on(story: Story) -> Self {
        Self { story, executor: Executor::new(4), now: SOON }
    }

    fn orders(&mut self) -> Vec<Order> {
        self.story.0.busy = self.executor.busy();
        let plan = reconcile(&self.story.0);
        self.executor.advance(self.now, &self.story.0, &plan)
    }

    /// The only order there is, and its outcome.
    fn step(&mut self, outcome: &Outcome) -> String {
        let orders = self.orders();
        let [order] = orders.as_slice() else { panic!("{orders:?}") };
        self.executor.finished(self.now, order.id, outcome);
        told(&order.step)
    }

    fn done(&mut self) -> String {
        self.step(&Outcome::Done)
    }

    fn failed(&mut self) -> String {
        self.step(&Outcome::Failed("no room".to_owned()))
    }
}

fn told(step: &Step) -> String {
    match step {
        Step::Write(edits) => format!("write: {}", edits.note),
        Step::Create { .. } => "create".to_owned(),
        Step::Enter { .. } => "enter".to_owned(),
        Step::Evict { .. } => "evict".to_owned(),
        Step::Destroy { .. } => "destroy".to_owned(),
        Step::End { name } => format!("end {name}"),
        Step::List { compute_type } => format!("list {compute_type}"),
        Step::Visit { answered, .. } => format!("visit, then write: {}", answered.note),
    }
}

fn held() -> Work {
    Work::on(Story::of(3).rule("default", 4, None).wish(7, 1, Duration::ZERO))
}

#[test]
fn wishes_are_written_in_one_batch_before_anything_is_asked_for() {
    // Of three members, the one that the rule's hash chooses.
    let by = |number| Work::on(Story::of(3).rule("default", 6, None).seen_by(number));
    let mut written = 0;
    for number in 1..=3 {
        let mut work = by(number);
        let orders = work.orders();
        for order in &orders {
            let Step::Write(edits) = &order.step else { panic!("{orders:?}") };
            assert_eq!(edits.edits.len(), 3);
            let record: MachineRecord =
                serde_json::from_value(edits.edits[0].value.clone().unwrap()).unwrap();
            assert!(record.upkeep.lease.is_some() && record.upkeep.scope.is_some());
            written += 1;
        }
        assert!(work.orders().is_empty(), "asked for twice while the first is being written");
    }
    assert_eq!(written, 1);
}

#[test]
fn a_machine_is_made_step_by_step() {
    let mut work = held();
    assert_eq!(work.done(), "create");
    assert_eq!(work.done(), "enter");
    assert_eq!(work.done(), "write: machine local-7 is made");
    assert!(work.executor.busy().is_empty());
}

#[test]
fn what_cannot_be_made_is_taken_away_and_leaves_its_failure() {
    let mut work = held();
    assert_eq!(work.done(), "create");
    assert_eq!(work.failed(), "enter");
    assert_eq!(work.done(), "destroy");
    let orders = work.orders();
    let [Order { step: Step::Write(edits), .. }] = orders.as_slice() else { panic!("{orders:?}") };
    let [tombstone, record] = edits.edits.as_slice() else { panic!("{edits:?}") };
    assert_eq!(tombstone.path, ["retired".to_owned(), intent(7).to_string()]);
    assert_eq!(tombstone.value.as_ref().unwrap()["failed"], true);
    assert_eq!(record.value, None);
    // And what cannot even be taken away is marked, for whoever can.
    let mut work = held();
    assert_eq!(work.failed(), "create");
    assert_eq!(work.failed(), "destroy");
    assert_eq!(work.done(), "write: retire local-7: no room");
}

#[test]
fn what_became_a_member_and_failed_is_marked_before_it_is_put_out() {
    let mut work = held();
    let mut member = work.story.0.members[&node(2)].clone();
    member.status = Status::Booting;
    work.story.0.members.insert(node(7), member);
    work.story.record(7).node = Some(node(7));
    assert_eq!(work.done(), "create");
    assert_eq!(work.failed(), "enter");
    assert_eq!(work.done(), "write: retire local-7: no room");
    work.story.retire(7, "no room", true);
    assert_eq!(work.done(), "evict");
    assert_eq!(work.done(), "write: local-7 was put out: no room");
    assert_eq!(work.done(), "destroy");
    assert_eq!(work.done(), "write: machine local-7 is gone: no room");
}

#[test]
fn what_another_made_meanwhile_is_kept() {
    let mut work = held();
    assert_eq!(work.failed(), "create");
    let member = work.story.0.members[&node(2)].clone();
    work.story.0.members.insert(node(7), member);
    work.story.record(7).node = Some(node(7));
    assert!(work.orders().is_empty());
    assert_eq!(work.done(), "write: machine local-7 is made");
}

#[test]
fn what_was_let_in_outlives_a_back_end_that_does_not_answer() {
    let mut work = held();
    work.story.record(7).node = Some(node(7));
    for _ in 0..3 {
        assert_eq!(work.failed(), "create");
        assert!(work.orders().is_empty(), "it rests");
        work.now = work.executor.next_retry(work.now).unwrap();
    }
    assert_eq!(work.done(), "create");
    assert_eq!(work.done(), "enter");
    assert_eq!(work.done(), "write: machine local-7 is made");
    // But not for ever.
    let mut work = held();
    work.story.record(7).node = Some(node(7));
    assert_eq!(work.failed(), "create");
    work.story.0.lease_known_for.insert(intent(7), Duration::from_secs(240));
    let why =
        "retire local-7 (rule default: its back-end does not answer, and nobody else can make it)";
    assert_eq!(work.story.lines(), [why]);
}

/// `local-3` is to go, and would be missed.
fn marked() -> Work {
    let mut story = Story::of(3).rule("default", 2, None);
    story.retire(3, "surplus", false);
    Work::on(story)
}

#[test]
fn what_is_kept_after_all_is_not_put_out_and_who_was_put_out_goes() {
    let mut work = marked();
    let mut task = Task::take_away(Some(work.story.record(3)), "local", Some(node(3)), "surplus");
    work.story.record(3).upkeep.retire = None;
    assert_eq!(task.next_step(&work.story.0, intent(3)), None);

    let mut work = marked();
    assert_eq!(work.done(), "evict");
    work.story.0.members.remove(&node(3));
    work.story.record(3).upkeep.retire = None;
    assert_eq!(work.done(), "write: local-3 was put out: surplus");
    work.story.record(3).upkeep.put_out =
        Some(Retirement { reason: "surplus".to_owned(), at: NOW, failed: false });
    assert_eq!(work.failed(), "destroy");
    // Whoever goes on later knows it, too, although the mark is off.
    work.now = work.executor.next_retry(work.now).unwrap();
    assert_eq!(work.done(), "destroy");
    assert_eq!(work.done(), "write: machine local-3 is gone: surplus");
}

#[test]
fn who_takes_a_machine_away_does_not_keep_it_in_the_same_breath() {
    let mut work = marked();
    assert_eq!(work.done(), "evict");
    work.story.0.rules.get_mut("default").unwrap().min = 3;
    assert_eq!(work.done(), "write: local-3 was put out: surplus");
}

#[test]
fn a_machine_that_a_person_takes_back_while_it_is_made_is_taken_away() {
    let mut work = held();
    assert_eq!(work.done(), "create");
    work.story.retire(7, "by ann", false);
    assert_eq!(work.done(), "destroy");
    assert!(work.done().starts_with("write: machine local-7 is gone"));
    // Its record may be gone already; then its tombstone is written all the same.
    let mut work = held();
    assert_eq!(work.done(), "create");
    work.story.0.machines.remove(&intent(7));
    work.story.0.rules.clear();
    assert_eq!(work.done(), "destroy");
    assert!(work.done().starts_with("write: machine local-7 is gone"));
}

#[test]
fn what_another_took_over_is_left_to_it() {
    let mut work = held();
    assert_eq!(work.done(), "create");
    work.story.record(7).upkeep.lease.as_mut().unwrap().holder = node(2);
    assert!(work.orders().is_empty());
    assert!(work.executor.busy().is_empty());
}

#[test]
fn who_starts_again_takes_up_what_was_left() {
    let mut work = held();
    assert_eq!(work.done(), "create");
    work.executor = Executor::new(4);
    assert_eq!(work.done(), "create");
    assert_eq!(work.done(), "enter");
}

#[test]
fn a_member_goes_before_its_machine_and_its_record_last() {
    let mut story = Story::of(2).rule("default", 1, None);
    story.retire(2, "surplus", false);
    let mut work = Work::on(story);
    assert_eq!(work.done(), "evict");
    assert_eq!(work.done(), "write: local-2 was put out: surplus");
    assert_eq!(work.failed(), "destroy");
    // It rests before it is tried again, longer each time.
    assert!(work.orders().is_empty());
    let retry = work.executor.next_retry(work.now).unwrap();
    work.now = retry;
    work.story.0.members.remove(&node(2));
    assert_eq!(work.failed(), "destroy");
    assert!(work.executor.next_retry(work.now).unwrap() - work.now > retry - SOON);
    work.now = work.executor.next_retry(work.now).unwrap();
    assert_eq!(work.done(), "destroy");
    assert_eq!(work.done(), "write: machine local-2 is gone: surplus");
}

#[test]
fn no_more_machines_than_may_be_are_worked_on_at_once() {
    let mut story = Story::of(1).rule("default", 9, None);
    for number in 10..16 {
        story = story.wish(number, 1, Duration::ZERO);
    }
    let mut work = Work::on(story);
    let orders = work.orders();
    let made = orders.iter().filter(|order| matches!(order.step, Step::Create { .. }));
    assert_eq!(made.count(), 4);
}

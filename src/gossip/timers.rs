//! What is due when, on a clock that stands still while the process was not running.

use std::collections::BTreeMap;
use std::time::Duration;

use foca::Incarnation;
use foca::Timer;

use crate::gossip::life::Life;
use crate::model::time::Moment;

/// Being called this late means that this process was starved, stopped or asleep.
const PAUSE_MIN: Duration = Duration::from_millis(150);

/// Time after a pause in which packets that waited are read before anything is concluded from
/// their absence.
const GRACE: Duration = Duration::from_millis(50);

/// Something that becomes due.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// Foca's own.
    Swim(Timer<Life>),
    /// Rumours are passed on.
    Rumours,
    /// Members that are not alive are greeted.
    ReachOut,
    /// Knowledge is compared with another member.
    Exchange,
    /// A member that did not answer our probe is told again that it is suspected.
    Notice {
        /// Who.
        life: Life,
        /// The incarnation that is suspected.
        incarnation: Incarnation,
        /// How many more times.
        repeats: u8,
    },
}

impl Event {
    /// Whether it is done for nothing while there is no news: it then waits until something else is
    /// due, so that an idle process sleeps on.
    fn passes_on_news(&self) -> bool {
        matches!(self, Self::Swim(Timer::PeriodicGossip(_)))
    }
}

/// Events by the moment at which they are due.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeMap<(Moment, u64), Event>,
    sequence: u64,
}

impl Timers {
    pub(super) fn insert(&mut self, due: Moment, event: Event) {
        self.sequence = self.sequence.wrapping_add(1);
        self.queue.insert((due, self.sequence), event);
    }

    /// Moves the only event of its kind to `due`.
    pub(super) fn replace(&mut self, due: Moment, event: Event) {
        let kind = std::mem::discriminant(&event);
        self.queue.retain(|_, queued| std::mem::discriminant(queued) != kind);
        self.insert(due, event);
    }

    /// Whether an event of this kind waits.
    pub(super) fn contains(&self, event: &Event) -> bool {
        let kind = std::mem::discriminant(event);
        self.queue.values().any(|queued| std::mem::discriminant(queued) == kind)
    }

    /// When the next event is to be done. News is passed on only when there is some.
    pub(super) fn next_due(&self, has_news: bool) -> Option<Moment> {
        let mut wanted = self.queue.iter().filter(|(_, event)| has_news || !event.passes_on_news());
        wanted.next().map(|((due, _), _)| *due)
    }

    pub(super) fn pop_due(&mut self, now: Moment) -> Option<Event> {
        let entry = self.queue.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
    }

    /// After a pause, puts everything off by its length: the answers that would have come in time
    /// still lie unread in the socket. (Lifeguard, section IV-A, mistrusts its own slowness for
    /// the same reason.)
    pub(super) fn notice_pause(&mut self, now: Moment) {
        let Some(due) = self.next_due(false) else { return };
        let late = now.since(due);
        if late >= PAUSE_MIN {
            let queue = std::mem::take(&mut self.queue);
            self.queue = queue
                .into_iter()
                .map(|((due, sequence), event)| ((due + late + GRACE, sequence), event))
                .collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::at(Duration::from_millis(millis))
    }

    #[test]
    fn events_come_in_the_order_in_which_they_are_due() {
        let mut timers = Timers::default();
        timers.insert(at(20), Event::Rumours);
        timers.insert(at(10), Event::Exchange);
        assert_eq!(timers.next_due(true), Some(at(10)));
        assert!(timers.pop_due(at(9)).is_none());
        assert!(matches!(timers.pop_due(at(20)), Some(Event::Exchange)));
        assert!(matches!(timers.pop_due(at(20)), Some(Event::Rumours)));
    }

    #[test]
    fn without_news_nobody_wakes_to_pass_it_on() {
        let mut timers = Timers::default();
        timers.insert(at(10), Event::Swim(Timer::PeriodicGossip(0)));
        assert_eq!(timers.next_due(false), None);
        timers.insert(at(1_000), Event::Exchange);
        assert_eq!(
            (timers.next_due(false), timers.next_due(true)),
            (Some(at(1_000)), Some(at(10)))
        );
        timers.notice_pause(at(1_000));
        assert_eq!(timers.next_due(true), Some(at(10)), "to wait for news is no pause");
        assert!(matches!(timers.pop_due(at(1_000)), Some(Event::Swim(_))));
    }

    #[test]
    fn a_pause_puts_everything_off_by_its_length() {
        let mut timers = Timers::default();
        timers.insert(at(100), Event::Exchange);
        timers.insert(at(500), Event::Rumours);
        timers.notice_pause(at(200));
        assert_eq!(timers.next_due(true), Some(at(100)), "a small delay is no pause");
        timers.notice_pause(at(2_100));
        assert_eq!(timers.next_due(true), Some(at(2_150)));
        assert!(timers.pop_due(at(2_150)).is_some());
        assert_eq!(timers.next_due(true), Some(at(2_550)));
    }
}

//! Timers by what they are for; the earliest is found without looking at the others.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use crate::model::time::Moment;

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// The upkeep of one neighbour.
    Link(Ipv6Addr),
    /// The sessions with one other end.
    End(Ipv6Addr),
    /// Link state waits to be sent.
    Flood,
    /// The own link state is to be signed anew.
    Advertise,
    /// A member out of reach is to be tried.
    Explore,
    /// Packets wait for a link.
    Queue,
    /// It is to be seen who is sent much.
    Demand,
    /// The own knock.
    Knock,
    /// Strangers that knock.
    Guests,
}

/// Pending timers, at most one of a kind.
#[derive(Debug, Default)]
pub struct Schedule {
    times: BTreeMap<Timer, Moment>,
    order: BTreeSet<(Moment, Timer)>,
}

impl Schedule {
    /// Sets or clears a timer.
    pub fn set(&mut self, timer: Timer, time: Option<Moment>) {
        if let Some(before) = self.times.remove(&timer) {
            self.order.remove(&(before, timer));
        }
        if let Some(time) = time {
            self.times.insert(timer, time);
            self.order.insert((time, timer));
        }
    }

    /// Sets a timer unless it is due earlier already.
    pub fn set_by(&mut self, timer: Timer, time: Moment) {
        if self.times.get(&timer).is_none_or(|before| time < *before) {
            self.set(timer, Some(time));
        }
    }

    /// When the earliest timer is due.
    #[must_use]
    pub fn next(&self) -> Option<Moment> {
        self.order.first().map(|(time, _)| *time)
    }

    /// Takes one timer that is due.
    pub fn pop(&mut self, now: Moment) -> Option<Timer> {
        let (time, timer) = *self.order.first()?;
        (time <= now).then(|| {
            self.set(timer, None);
            timer
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timers_come_in_order_and_once() {
        let at = |seconds| Moment::at(Duration::from_secs(seconds));
        let mut schedule = Schedule::default();
        schedule.set(Timer::Flood, Some(at(5)));
        schedule.set_by(Timer::Flood, at(9));
        schedule.set_by(Timer::Explore, at(3));
        schedule.set(Timer::Advertise, Some(at(1)));
        schedule.set(Timer::Advertise, None);
        assert_eq!(schedule.next(), Some(at(3)));
        assert_eq!(schedule.pop(at(2)), None);
        assert_eq!(schedule.pop(at(6)), Some(Timer::Explore));
        assert_eq!(schedule.pop(at(6)), Some(Timer::Flood));
        assert_eq!(schedule.pop(at(6)), None);
        assert_eq!(schedule.next(), None);
    }
}

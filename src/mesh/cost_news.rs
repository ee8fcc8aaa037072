//! How often a member tells the mesh what its links cost, while nothing but that changes.
//!
//! All members hear every one of them, so what one may say depends on how many there are: while many
//! computers are busy at once, as when a hundred members start, all their costs change, and all of
//! them for nothing. Links that come, go or are suspected, and links that lose, do not wait for this.

use std::net::Ipv6Addr;
use std::time::Duration;

use crate::mesh::core::Mesh;
use crate::mesh::quality::METRIC_INTERVALS;
use crate::mesh::schedule::Timer;
use crate::mesh::settings::MeshSettings;
use crate::model::time::Moment;

/// While all keep changing, all members together speak of costs about once in this time.
const TOGETHER: Duration = Duration::from_secs(1);

/// When costs were told, and how soon they may be again.
#[derive(Debug)]
pub struct CostNews {
    told_at: Moment,
    /// The next pause is 2 to the power of this times the shortest.
    doublings: u32,
}

impl CostNews {
    /// A member that has not told any.
    #[must_use]
    pub fn new(now: Moment) -> Self {
        Self { told_at: now, doublings: 0 }
    }

    /// Whether they may be told, to so many members. If so they are: the next pause is twice as long,
    /// or the shortest again after four of them without a word.
    pub fn take(&mut self, now: Moment, settings: &MeshSettings, members: usize) -> bool {
        let least = settings.ping_interval * METRIC_INTERVALS;
        let members = u32::try_from(members).unwrap_or(u32::MAX);
        let most = TOGETHER.saturating_mul(members).min(settings.advertise_interval).max(least);
        let pause = least.saturating_mul(1 << self.doublings).min(most);
        let passed = now.since(self.told_at);
        if passed < pause {
            return false;
        }
        if passed >= pause * 4 {
            self.doublings = 0;
        } else if pause < most {
            self.doublings += 1;
        }
        self.told_at = now;
        true
    }
}

impl Mesh {
    /// Some link costs more or less than is known of it: all that do are told at once, unless costs were
    /// lately.
    pub(super) fn tell_costs(&mut self, now: Moment) {
        if !self.cost_news.take(now, &self.settings, self.links.len()) {
            return;
        }
        let live: Vec<Ipv6Addr> = self.live.iter().copied().collect();
        let mut differs = false;
        for peer in live {
            let live = self.links.get_mut(&peer).and_then(|link| link.live.as_mut());
            differs |= live.is_some_and(|live| live.quality.tell_cost(now, &self.settings));
        }
        if differs {
            self.flooded.own_costs += 1;
            self.own_metric_changed(now);
        }
    }

    /// The next list of links says something else about one of them.
    pub(super) fn own_metric_changed(&mut self, now: Moment) {
        self.routes_stale = true;
        self.tell_own_links(now + self.settings.flood_delay);
    }

    /// What a new link is like is known: it is told with the link, if that was not told yet.
    pub(super) fn own_link_measured(&mut self, now: Moment) {
        self.routes_stale = true;
        let soon = now + self.settings.flood_delay;
        self.schedule.set_by(Timer::Flood, soon);
        self.tell_own_links(self.own_due.unwrap_or(soon));
    }

    /// The own links are told anew at this time, or earlier.
    pub(super) fn tell_own_links(&mut self, time: Moment) {
        self.own_due = Some(self.own_due.map_or(time, |before| before.min(time)));
        self.schedule.set_by(Timer::Flood, time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(members: usize, seconds: u64) -> usize {
        let mut news = CostNews::new(Moment::START);
        let settings = MeshSettings::default();
        let at = |second| Moment::at(Duration::from_secs(second));
        (0..seconds).filter(|second| news.take(at(*second), &settings, members)).count()
    }

    #[test]
    fn many_members_each_speak_of_costs_seldom() {
        assert_eq!(told(3, 400), 99, "every four seconds");
        assert_eq!(told(100, 1_200), 15, "in the end every hundred seconds");
        assert!(told(10_000, 36_000) < 60, "{}", told(10_000, 36_000));
    }

    #[test]
    fn who_was_silent_for_long_speaks_at_once() {
        let settings = MeshSettings::default();
        let at = |second| Moment::at(Duration::from_secs(second));
        let mut news = CostNews::new(at(0));
        let times: Vec<u64> =
            (0..300).filter(|time| news.take(at(*time), &settings, 1_000)).collect();
        assert_eq!(times, [4, 12, 28, 60, 124, 252]);
        assert!(news.take(at(252 + 1_024), &settings, 1_000));
        assert!(news.take(at(252 + 1_028), &settings, 1_000));
    }
}

//! How well one link works: round-trip time, loss, and whether it is thought to be dead.
//!
//! The proof that a link works is an answered ping: what merely comes in says nothing about the
//! other direction. While packets go out a proof may be half a second old; an unanswered ping is
//! repeated quickly, and a link that answers none of them is suspected: routes avoid it at
//! once, it is given up later.

use std::collections::VecDeque;
use std::time::Duration;

use crate::mesh::gaps::Gaps;
use crate::mesh::metric::Metric;
use crate::mesh::settings::MeshSettings;
use crate::model::time::Moment;

/// Pings whose answer is still awaited.
const PINGS_MAX: usize = 32;
/// A link that packets only come in on is measured once in so many ping intervals.
const MEASURE_INTERVALS: u32 = 10;
/// The metric is advertised anew at most once in so many ping intervals, times a power of two
/// up to 2^[`CHANGES_MAX`] while it keeps changing.
pub(super) const METRIC_INTERVALS: u32 = 5;
const CHANGES_MAX: u32 = 4;
/// Advertised until the first answer, in microseconds.
const RTT_UNKNOWN_US: u32 = 5_000;
/// A path is believed to be longer once so many round trips in a row were: what busy computers at the
/// two ends add is now more and now less, what the path takes is in each.
const RECENT: usize = 8;
/// Bounds of the wait for an answer before the ping is repeated, and the wait while nothing is
/// known of the link.
const PATIENCE_MIN: Duration = Duration::from_millis(50);
const PATIENCE_MAX: Duration = Duration::from_secs(1);
const PATIENCE_UNKNOWN: Duration = Duration::from_millis(250);
/// From the second on, unanswered pings are repeated this fast.
const REPEAT: Duration = Duration::from_millis(50);
/// The least time pings stay unanswered before the link is suspected, and the least time besides
/// the wait for an answer.
const DOUBT_MIN: Duration = Duration::from_millis(400);
const DOUBT: Duration = Duration::from_millis(350);
/// Unanswered pings before suspicion: at a loss of a twentieth each way all are lost by chance
/// once in a hundred million times. A lossy link is given more.
const UNANSWERED_MIN: u32 = 8;
const UNANSWERED_MAX: u32 = 16;
/// Answers in a row that end a suspicion, and the least time it lasts; that time doubles with
/// every further one and halves with every minute without.
const ANSWERS: u32 = 3;
const SUSPICION_MIN: Duration = Duration::from_secs(1);
const SUSPICIONS_MAX: u32 = 6;
const CALM: Duration = Duration::from_secs(60);

/// What is known of one link.
#[derive(Debug)]
pub struct Quality {
    /// Smoothed round-trip time and its mean deviation in microseconds.
    rtt: Option<(u32, u32)>,
    /// The last round trips in microseconds, the oldest overwritten first.
    recent: [u32; RECENT],
    recent_next: usize,
    pings: VecDeque<(u32, Moment)>,
    /// Pings since the last answer: when the first and the last went, and how many.
    unanswered: Option<(Moment, Moment, u32)>,
    /// When the ping went that was answered last.
    proven_at: Option<Moment>,
    /// When a packet first went over the link since then.
    used_at: Option<Moment>,
    suspicion: Suspicion,
    gaps: Gaps,
    advertised: Metric,
    advertised_at: Moment,
    changes: u32,
    /// 0 to 255: lengthens the silence before the next ping by up to a quarter. Without it two
    /// neighbours ping each other at the same moment for ever, where one ping would do.
    patience: u8,
}

/// What an answer tells about a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// Nothing that others need to know.
    Nothing,
    /// The link is measured for the first time.
    First,
    /// The link costs more or less than it is advertised for: [`Quality::tell_cost`] when the mesh
    /// has not heard of costs lately.
    CostDiffers,
    /// It is advertised for something else from now on.
    Changed,
}

/// Whether a link is thought to be dead, and how often it was lately.
#[derive(Debug, Clone, Copy, Default)]
pub struct Suspicion {
    since: Option<Moment>,
    /// Answers in a row since then.
    answers: u32,
    count: u32,
    ended_at: Moment,
}

impl Suspicion {
    fn begin(&mut self, now: Moment) {
        let calm = now.since(self.ended_at).as_secs() / CALM.as_secs();
        let forgotten = u32::try_from(calm).unwrap_or(u32::MAX);
        self.count = self.count.saturating_sub(forgotten).min(SUSPICIONS_MAX) + 1;
        self.since = Some(now);
        self.answers = 0;
    }

    /// Counts an answer towards the end. Returns whether it has come.
    fn answered(&mut self, now: Moment) -> bool {
        let Some(since) = self.since else { return false };
        self.answers += 1;
        let least = SUSPICION_MIN * (1 << (self.count.max(1) - 1));
        let ended = self.answers >= ANSWERS && now.since(since) >= least;
        if ended {
            self.since = None;
            self.ended_at = now;
        }
        ended
    }

    /// What a link begins with that was given up before: one that comes and goes is not
    /// trusted before it has lasted.
    fn carried_over(mut self, now: Moment) -> Self {
        if self.since.is_some() {
            self.ended_at = now;
            self.since = (self.count > 1).then_some(now);
            self.answers = 0;
        }
        self
    }
}

impl Quality {
    /// A link that has begun to work; `past` is what was left of the one before.
    #[must_use]
    pub fn new(now: Moment, past: Suspicion) -> Self {
        Self {
            rtt: None,
            recent: [0; RECENT],
            recent_next: 0,
            pings: VecDeque::new(),
            unanswered: None,
            proven_at: None,
            used_at: None,
            suspicion: past.carried_over(now),
            gaps: Gaps::default(),
            advertised: Metric::new(RTT_UNKNOWN_US, 0),
            advertised_at: now,
            changes: 0,
            patience: 0,
        }
    }

    /// Smoothed round-trip time in microseconds.
    #[must_use]
    pub fn rtt_us(&self) -> Option<u32> {
        self.rtt.map(|(rtt, _)| rtt)
    }

    /// Mean deviation of the round-trip time in microseconds.
    #[must_use]
    pub fn deviation_us(&self) -> Option<u32> {
        self.rtt.map(|(_, deviation)| deviation)
    }

    /// Of what the neighbour sends, the part that is lost: 0.0 to 1.0; none before enough came.
    #[must_use]
    pub fn loss(&self) -> Option<f64> {
        self.gaps.loss().map(|loss| f64::from(loss) / 65_536.0)
    }

    /// Since when the link is thought to be dead.
    #[must_use]
    pub fn suspect_since(&self) -> Option<Moment> {
        self.suspicion.since
    }

    /// What a link that follows this one has to know.
    #[must_use]
    pub fn suspicion(&self) -> Suspicion {
        self.suspicion
    }

    /// What the link is advertised to be like.
    #[must_use]
    pub fn metric(&self) -> Metric {
        if self.suspicion.since.is_some() { self.advertised.suspected() } else { self.advertised }
    }

    /// When the next ping is due, on a link that was last heard at `received_at`.
    #[must_use]
    pub fn ping_due(&self, received_at: Moment, settings: &MeshSettings) -> Moment {
        let interval = settings.ping_interval;
        if let Some((_, last, count)) = self.unanswered {
            let pause = match count {
                _ if self.suspicion.since.is_some() => interval / 4,
                1 => self.answer_wait(),
                _ => REPEAT,
            };
            return last + pause;
        }
        let Some(proven) = self.proven_at else { return received_at };
        if self.suspicion.since.is_some() {
            return proven + interval / 4;
        }
        let patience = interval / 4 * u32::from(self.patience) / 256;
        let idle = (received_at + interval + patience).min(proven + interval * MEASURE_INTERVALS);
        let used = self.used_at.map(|used| used.max(proven + settings.proof_interval));
        used.map_or(idle, |used| used.min(idle))
    }

    /// How long an answer may take (after RFC 6298, whose bounds are for other purposes).
    fn answer_wait(&self) -> Duration {
        let Some((rtt, deviation)) = self.rtt else { return PATIENCE_UNKNOWN };
        let wait = u64::from(rtt) + u64::from(deviation.saturating_mul(4).max(20_000));
        Duration::from_micros(wait).clamp(PATIENCE_MIN, PATIENCE_MAX)
    }

    /// Takes note that a packet went out. Returns whether it is the first since the last proof:
    /// then [`Quality::ping_due`] may have changed.
    pub fn used(&mut self, now: Moment) -> bool {
        if self.used_at.is_some() {
            return false;
        }
        self.used_at = Some(now);
        true
    }

    /// Remembers a ping that is sent.
    pub fn pinged(&mut self, token: u32, now: Moment) {
        self.patience = token.to_be_bytes()[0];
        if self.pings.len() == PINGS_MAX {
            self.pings.pop_front();
        }
        self.pings.push_back((token, now));
        self.unanswered = match self.unanswered {
            None => Some((now, now, 1)),
            Some((first, _, count)) => {
                self.suspicion.answers = 0;
                Some((first, now, count + 1))
            }
        };
    }

    /// Decides whether the link has become suspect. To be asked before each ping.
    pub fn doubt(&mut self, now: Moment) -> bool {
        let Some((first, _, count)) = self.unanswered else { return false };
        let lossy = self.gaps.loss().map_or(0, |loss| loss * 100 / 65_536) / 3;
        let enough = count >= (UNANSWERED_MIN + lossy).min(UNANSWERED_MAX);
        let long = now.since(first) >= DOUBT_MIN.max(self.answer_wait() + DOUBT);
        if self.suspicion.since.is_some() || !enough || !long {
            return false;
        }
        self.suspicion.begin(now);
        true
    }

    /// Whether no ping was answered for so long that the link is given up, whatever comes in.
    #[must_use]
    pub fn is_deaf(&self, now: Moment, settings: &MeshSettings) -> bool {
        self.suspicion.since.is_some()
            && self.unanswered.is_some_and(|(first, _, count)| {
                count >= UNANSWERED_MAX && now.since(first) >= settings.link_timeout
            })
    }

    /// Takes an answer.
    pub fn ponged(&mut self, token: u32, now: Moment, settings: &MeshSettings) -> Answered {
        let Some(place) = self.pings.iter().position(|ping| ping.0 == token) else {
            return Answered::Nothing;
        };
        let Some((_, sent_at)) = self.pings.remove(place) else { return Answered::Nothing };
        if self.proven_at.is_none_or(|proven| proven < sent_at) {
            self.proven_at = Some(sent_at);
        }
        self.used_at = None;
        self.unanswered = None;
        self.gaps.judge();
        let sample = u32::try_from(now.since(sent_at).as_micros()).unwrap_or(u32::MAX);
        let first = self.rtt.is_none();
        self.remember(sample);
        // Smoothing of RFC 6298, section 2.
        self.rtt = Some(match self.rtt {
            None => (sample, sample / 2),
            Some((rtt, deviation)) => {
                let error = rtt.abs_diff(sample);
                (rtt - rtt / 8 + sample / 8, deviation - deviation / 4 + error / 4)
            }
        });
        let recovered = self.suspicion.answered(now);
        if first || recovered {
            self.advertise(now, settings, true);
            return if recovered { Answered::Changed } else { Answered::First };
        }
        // Busy computers lengthen round trips, and seldom lose anything: loss is the path's.
        if self.matters(self.lost()) && self.tell_cost(now, settings) {
            return Answered::Changed;
        }
        let differs = self.differs() && self.has_rested(now, settings);
        if differs { Answered::CostDiffers } else { Answered::Nothing }
    }

    fn remember(&mut self, sample: u32) {
        if self.rtt.is_none() {
            self.recent = [sample; RECENT];
        }
        if let Some(oldest) = self.recent.get_mut(self.recent_next) {
            *oldest = sample;
        }
        self.recent_next = (self.recent_next + 1) % RECENT;
    }

    /// What the link is like as far as it was measured.
    fn measured(&self) -> Metric {
        let rtt_us = self.rtt_us().unwrap_or(RTT_UNKNOWN_US);
        Metric::new(rtt_us, self.gaps.loss().unwrap_or(0))
    }

    /// Whether the cost differs enough from what is advertised.
    fn differs(&self) -> bool {
        let (metric, before) = (self.measured(), self.advertised);
        let is_longer = metric.rtt_us() > before.rtt_us();
        let lasts = self.recent.iter().all(|rtt_us| *rtt_us > before.rtt_us());
        (!is_longer || lasts || self.matters(self.lost()))
            && self.matters(metric.cost_us().abs_diff(before.cost_us()))
    }

    /// By how much loss costs more or less than is advertised, in microseconds.
    fn lost(&self) -> u32 {
        self.measured().loss_cost_us().abs_diff(self.advertised.loss_cost_us())
    }

    fn matters(&self, difference_us: u32) -> bool {
        // What varies by so much from one answer to the next would be news every few seconds.
        let noise = self.deviation_us().unwrap_or(0).saturating_mul(2).max(2_000);
        difference_us > self.advertised.cost_us() / 4 && difference_us > noise
    }

    fn has_rested(&self, now: Moment, settings: &MeshSettings) -> bool {
        now.since(self.advertised_at) >= self.rest(settings)
    }

    fn rest(&self, settings: &MeshSettings) -> Duration {
        settings.ping_interval * METRIC_INTERVALS * (1 << self.changes)
    }

    /// Says anew what the link costs when that differs enough. Returns whether it does.
    pub fn tell_cost(&mut self, now: Moment, settings: &MeshSettings) -> bool {
        self.differs() && self.has_rested(now, settings) && self.advertise(now, settings, false)
    }

    /// Says anew what the link is like. Returns whether that is something else.
    fn advertise(&mut self, now: Moment, settings: &MeshSettings, at_once: bool) -> bool {
        if now.since(self.advertised_at) >= self.rest(settings) * 4 {
            self.changes = 0;
        } else if !at_once {
            self.changes = (self.changes + 1).min(CHANGES_MAX);
        }
        self.advertised_at = now;
        let metric = self.measured();
        std::mem::replace(&mut self.advertised, metric) != metric
    }

    /// Takes note that `received` packets came of `expected` that were sent, as their numbers tell.
    pub fn counted(&mut self, expected: u64, received: u64) {
        self.gaps.counted(expected, received);
    }
}

#[cfg(test)]
#[path = "quality_tests.rs"]
mod tests;

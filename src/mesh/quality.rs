//! How well one link works: round-trip time, loss, and whether it is thought to be dead.
//!
//! The proof that a link works is an answered ping: what merely comes in says nothing about the
//! other direction. While packets go out a proof may be half a second old; an unanswered ping is
//! repeated quickly, and a link that answers none of them is suspected: routes avoid it at
//! once, it is given up later.

use std::collections::VecDeque;
use std::time::Duration;

use crate::mesh::metric::Metric;
use crate::mesh::settings::MeshSettings;
use crate::model::time::Moment;

/// Pings whose answer is still awaited.
const PINGS_MAX: usize = 32;
/// A link that packets only come in on is measured once in so many ping intervals.
const MEASURE_INTERVALS: u32 = 10;
/// The metric is advertised anew at most once in so many ping intervals, times a power of two
/// up to 2^[`CHANGES_MAX`] while it keeps changing.
const METRIC_INTERVALS: u32 = 5;
const CHANGES_MAX: u32 = 4;
/// Advertised until the first answer, in microseconds.
const RTT_UNKNOWN_US: u32 = 5_000;
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
/// Loss is counted over at least so many packets, and smoothed with this weight.
const LOSS_PACKETS: u64 = 32;
const LOSS_WEIGHT: i32 = 4;

/// What is known of one link.
#[derive(Debug)]
pub struct Quality {
    /// Smoothed round-trip time and its mean deviation in microseconds.
    rtt: Option<(u32, u32)>,
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

    /// Takes an answer. Returns whether what is advertised has changed.
    pub fn ponged(&mut self, token: u32, now: Moment, settings: &MeshSettings) -> bool {
        let Some(place) = self.pings.iter().position(|ping| ping.0 == token) else {
            return false;
        };
        let Some((_, sent_at)) = self.pings.remove(place) else { return false };
        if self.proven_at.is_none_or(|proven| proven < sent_at) {
            self.proven_at = Some(sent_at);
        }
        self.used_at = None;
        self.unanswered = None;
        self.gaps.judge();
        let sample = u32::try_from(now.since(sent_at).as_micros()).unwrap_or(u32::MAX);
        let first = self.rtt.is_none();
        // Smoothing of RFC 6298, section 2.
        self.rtt = Some(match self.rtt {
            None => (sample, sample / 2),
            Some((rtt, deviation)) => {
                let error = rtt.abs_diff(sample);
                (rtt - rtt / 8 + sample / 8, deviation - deviation / 4 + error / 4)
            }
        });
        let recovered = self.suspicion.answered(now);
        self.advertise(now, settings, first || recovered) || recovered
    }

    /// Says anew what the link is like when that differs enough. Returns whether it does.
    fn advertise(&mut self, now: Moment, settings: &MeshSettings, at_once: bool) -> bool {
        let (rtt_us, deviation) = self.rtt.unwrap_or((RTT_UNKNOWN_US, 0));
        let metric = Metric::new(rtt_us, self.gaps.loss().unwrap_or(0));
        let (cost, before) = (metric.cost_us(), self.advertised.cost_us());
        let difference = cost.abs_diff(before);
        // What busy computers at the two ends add now and then would be news to the whole mesh
        // every few seconds.
        let noise = deviation.saturating_mul(2).max(2_000);
        let matters = difference > before / 4 && difference > noise;
        let rest = settings.ping_interval * METRIC_INTERVALS * (1 << self.changes);
        let rested = now.since(self.advertised_at);
        if !(at_once || matters && rested >= rest) {
            return false;
        }
        if rested >= rest * 4 {
            self.changes = 0;
        } else if !at_once {
            self.changes = (self.changes + 1).min(CHANGES_MAX);
        }
        self.advertised_at = now;
        std::mem::replace(&mut self.advertised, metric) != metric
    }

    /// Takes note that `received` packets came of `expected` that were sent, as their numbers tell.
    pub fn counted(&mut self, expected: u64, received: u64) {
        self.gaps.counted(expected, received);
    }
}

/// Loss by the gaps in the numbers of what arrives.
#[derive(Debug, Default)]
struct Gaps {
    expected: u64,
    received: u64,
    /// Of 65,536 packets, smoothed. Below zero while more comes late than is lost: cut off there, packets
    /// out of order would look like lost ones for ever.
    loss: Option<i32>,
}

impl Gaps {
    fn counted(&mut self, expected: u64, received: u64) {
        self.expected = self.expected.saturating_add(expected);
        self.received = self.received.saturating_add(received);
    }

    /// Takes what was counted into the loss, once it is enough.
    fn judge(&mut self) {
        if self.expected < LOSS_PACKETS {
            return;
        }
        let share = |count: u64| {
            let share = u128::from(count) * 65_536 / u128::from(self.expected);
            i32::try_from(share.min(2 * 65_536)).unwrap_or(0)
        };
        let sample = 65_536 - share(self.received);
        let before = self.loss.unwrap_or(0);
        self.loss = Some(before - before / LOSS_WEIGHT + sample / LOSS_WEIGHT);
        (self.expected, self.received) = (0, 0);
    }

    fn loss(&self) -> Option<u32> {
        self.loss.map(|loss| u32::try_from(loss).unwrap_or(0))
    }
}

#[cfg(test)]
#[path = "quality_tests.rs"]
mod tests;

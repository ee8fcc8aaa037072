//! When and where the next handshake message to one machine goes: endpoints in turn, then a
//! growing pause.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crate::mesh::handshake::Initiated;
use crate::mesh::settings::MeshSettings;
use crate::model::time::Moment;

/// Most endpoints tried in one attempt.
pub const ENDPOINTS_MAX: usize = 16;

/// One handshake under way.
pub struct Attempt {
    /// Its index, under which the answer comes.
    pub index: u32,
    /// What reads the answer.
    pub initiated: Initiated,
    /// The first message.
    pub datagram: Vec<u8>,
    /// Cookies taken for it.
    pub challenges: u8,
    /// Endpoints still to be tried, those of one step together.
    remaining: VecDeque<Vec<SocketAddr>>,
}

/// The dialling of one machine.
#[derive(Default)]
pub struct Dial {
    attempt: Option<Attempt>,
    /// Whether the attempt's time is over; a late answer is still taken until the next begins.
    over: bool,
    failures: u32,
    next_at: Option<Moment>,
}

/// What is to be done at a dial's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing yet.
    Wait,
    /// Begin an attempt: [`Dial::begin`].
    Begin,
    /// Send the attempt's message here too.
    Try(Vec<SocketAddr>),
    /// The attempt has failed; the pause has begun.
    Failed,
}

impl Dial {
    /// When [`Dial::step`] has something to do; the start of time when it was never asked.
    #[must_use]
    pub fn due(&self) -> Moment {
        self.next_at.unwrap_or(Moment::START)
    }

    /// Attempts that failed in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether a handshake is under way.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.attempt.is_some() && !self.over
    }

    /// The handshake that an answer may still belong to.
    pub fn attempt_mut(&mut self) -> Option<&mut Attempt> {
        self.attempt.as_mut()
    }

    /// Forgets failures: the next attempt begins at once.
    pub fn reset(&mut self) {
        self.failures = 0;
        if !self.is_under_way() {
            self.next_at = None;
        }
    }

    /// Lets the next attempt begin at once without forgetting failures.
    pub fn hurry(&mut self) {
        if !self.is_under_way() {
            self.next_at = None;
        }
    }

    /// Tries `waves` at once: in the attempt under way, which they take over, else in a new one.
    pub fn burst(&mut self, now: Moment, waves: Vec<Vec<SocketAddr>>) {
        match self.attempt.as_mut().filter(|_| !self.over) {
            Some(attempt) => {
                attempt.remaining = waves.into();
                self.next_at = Some(now);
            }
            None => self.next_at = None,
        }
    }

    /// Lets the next attempt begin at `time`.
    pub fn postpone(&mut self, time: Moment) {
        self.next_at = Some(time);
    }

    /// Ends dialling. Returns the index that is free again.
    pub fn stop(&mut self) -> Option<u32> {
        let index = self.attempt.take().map(|attempt| attempt.index);
        *self = Self::default();
        index
    }

    /// Decides what is due. `jitter` in 0.0..1.0 spreads the pause by a quarter either way.
    pub fn step(&mut self, now: Moment, settings: &MeshSettings, jitter: f64) -> Step {
        if now < self.due() {
            return Step::Wait;
        }
        if !self.is_under_way() {
            return Step::Begin;
        }
        let wave = self.attempt.as_mut().and_then(|attempt| attempt.remaining.pop_front());
        if let Some(wave) = wave {
            self.next_at = Some(now + self.patience(settings));
            return Step::Try(wave);
        }
        let pause = settings
            .backoff_min
            .saturating_mul(1 << self.failures.min(16))
            .min(settings.backoff_max);
        self.failures = self.failures.saturating_add(1);
        self.over = true;
        self.next_at = Some(now + pause.mul_f64(0.75 + jitter.clamp(0.0, 1.0) / 2.0));
        Step::Failed
    }

    /// Begins an attempt at `waves`, one after the other. Returns the endpoints of the first and
    /// the index of the attempt before, which is free again.
    pub fn begin(
        &mut self,
        now: Moment,
        mut attempt: Attempt,
        waves: Vec<Vec<SocketAddr>>,
        settings: &MeshSettings,
    ) -> (Vec<SocketAddr>, Option<u32>) {
        attempt.remaining = waves.into_iter().take(ENDPOINTS_MAX).collect();
        let first = attempt.remaining.pop_front().unwrap_or_default();
        let before = self.attempt.replace(attempt).map(|attempt| attempt.index);
        self.over = false;
        self.next_at = Some(now + self.patience(settings));
        (first, before)
    }

    fn patience(&self, settings: &MeshSettings) -> Duration {
        let last = self.attempt.as_ref().is_none_or(|attempt| attempt.remaining.is_empty());
        if last { settings.answer_timeout } else { settings.candidate_interval }
    }
}

impl Attempt {
    /// A handshake whose first message is `datagram`.
    #[must_use]
    pub fn new(index: u32, initiated: Initiated, datagram: Vec<u8>) -> Self {
        Self { index, initiated, datagram, challenges: 0, remaining: VecDeque::new() }
    }
}

/// One endpoint a wave.
#[must_use]
pub fn in_turn(endpoints: Vec<SocketAddr>) -> Vec<Vec<SocketAddr>> {
    endpoints.into_iter().map(|endpoint| vec![endpoint]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::fixture::cluster;
    use crate::mesh::fixture::key;
    use crate::mesh::handshake::Handshaker;
    use crate::mesh::handshake::LINK_PROLOGUE;
    use crate::mesh::handshake::Purpose;
    use crate::mesh::plane::suite::Suites;

    fn attempt(index: u32) -> Attempt {
        let side = Handshaker::new(&key(0), cluster(0), LINK_PROLOGUE, Suites::ALL).unwrap();
        let remote = key(1).node_id().to_x25519();
        let (initiated, datagram) = side.initiate(&remote, Purpose::Link, 1, 1, [0; 32]).unwrap();
        Attempt::new(index, initiated, datagram)
    }

    #[test]
    fn endpoints_in_turn_then_growing_pauses() {
        let settings = MeshSettings::default();
        let [one, two] = ["192.0.2.1:1", "192.0.2.2:2"].map(|text| text.parse().unwrap());
        let mut dial = Dial::default();
        let mut now = Moment::START;
        let mut pauses = Vec::new();
        for round in 0..12 {
            assert_eq!(dial.step(now, &settings, 0.5), Step::Begin);
            let (first, before) =
                dial.begin(now, attempt(round), in_turn(vec![one, two]), &settings);
            assert_eq!((first, before), (vec![one], round.checked_sub(1)));
            assert_eq!(dial.step(now, &settings, 0.5), Step::Wait);
            now = dial.due();
            assert_eq!(dial.step(now, &settings, 0.5), Step::Try(vec![two]));
            now = dial.due();
            assert_eq!(dial.step(now, &settings, 0.5), Step::Failed);
            pauses.push(dial.due() - now);
            now = dial.due();
        }
        assert_eq!(pauses[0], settings.backoff_min);
        assert_eq!(pauses[1], settings.backoff_min * 2);
        assert_eq!(pauses[11], settings.backoff_max);
        dial.reset();
        assert_eq!(dial.due(), Moment::START);
    }

    #[test]
    fn a_burst_takes_over_the_attempt_under_way() {
        let settings = MeshSettings::default();
        let all: Vec<SocketAddr> =
            ["192.0.2.1:1", "192.0.2.2:2"].map(|text| text.parse().unwrap()).to_vec();
        let mut dial = Dial::default();
        let now = Moment::START;
        dial.begin(now, attempt(1), in_turn(all.clone()), &settings);
        assert_eq!(dial.step(now, &settings, 0.5), Step::Wait);
        dial.burst(now, vec![all.clone(), all.clone()]);
        assert_eq!(dial.step(now, &settings, 0.5), Step::Try(all.clone()));
        assert_eq!(dial.step(dial.due(), &settings, 0.5), Step::Try(all.clone()));
        let later = dial.due();
        assert_eq!(dial.step(later, &settings, 0.5), Step::Failed);
        assert_eq!(dial.step(later, &settings, 0.5), Step::Wait);
        dial.burst(later, vec![all]);
        assert_eq!(dial.step(later, &settings, 0.5), Step::Begin);
    }
}

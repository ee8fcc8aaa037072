//! Whether a request is made again, and when. Pure: time and chance are arguments.

use std::time::Duration;

/// How fast and how long a provider is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Requests for one thing, the first included.
    pub(super) attempts: u32,
    /// The wait before the second request; it doubles with each.
    pub(super) backoff: Duration,
    /// The longest wait, also when the provider asks for more: then it is given up.
    pub(super) wait_max: Duration,
    /// How long one answer may take.
    pub(super) answer_timeout: Duration,
    /// Between two looks at a machine that is being made or removed.
    pub(super) poll: Duration,
    /// How long what was made may take to show in lists and by its id.
    pub(super) settle: Duration,
    /// How long a machine may take to run, or to go.
    pub(super) ready: Duration,
}

impl Pace {
    /// For the real providers; machines may take `ready` until they run.
    pub(super) fn patient(ready: Duration) -> Self {
        Self {
            attempts: 6,
            backoff: Duration::from_millis(500),
            wait_max: Duration::from_secs(60),
            answer_timeout: Duration::from_secs(60),
            poll: Duration::from_secs(2),
            settle: Duration::from_secs(20),
            ready,
        }
    }
}

/// How a request ended without what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Miss {
    /// Nothing was done: it did not get there, or was turned away for the moment.
    NotDone {
        /// What the provider says to wait.
        wait: Option<Duration>,
    },
    /// It may have been done: no answer, or the provider failed.
    Unknown,
    /// It is refused, and would be again.
    Refused,
}

/// The wait before the next request; none when there is to be none. `attempt` counts from 1;
/// `chance` is in 0..1. What may have been done is asked for again only when that is harmless.
///
/// The wait is drawn from the upper half of a doubling span ("equal jitter", M. Brooker, AWS
/// Architecture Blog 2015), so that many who were turned away together do not return together.
pub(super) fn next(
    pace: &Pace,
    miss: Miss,
    is_repeatable: bool,
    attempt: u32,
    chance: f64,
) -> Option<Duration> {
    if attempt >= pace.attempts {
        return None;
    }
    let told = match miss {
        Miss::NotDone { wait } => wait,
        Miss::Unknown if is_repeatable => None,
        Miss::Unknown | Miss::Refused => return None,
    };
    let span = pace.backoff.saturating_mul(1 << (attempt - 1).min(16)).min(pace.wait_max);
    let drawn = span.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0));
    match told {
        Some(told) if told > pace.wait_max => None,
        Some(told) => Some(told.saturating_add(drawn.min(pace.backoff))),
        None => Some(drawn),
    }
}

/// What the headers say to wait: `Retry-After` in seconds, or the moment at which an empty
/// allowance is filled again (seconds since 1970 at DigitalOcean, Hetzner and Linode).
pub(super) fn told_wait<'h>(
    header: impl Fn(&str) -> Option<&'h str>,
    unix_seconds: u64,
) -> Option<Duration> {
    let number = |name| header(name).and_then(|text: &str| text.trim().parse::<u64>().ok());
    if let Some(seconds) = number("retry-after") {
        return Some(Duration::from_secs(seconds));
    }
    let reset = number("ratelimit-reset").or_else(|| number("x-ratelimit-reset"))?;
    // A small number is a span: some proxies and the standard's draft say it so.
    let span = if reset < 1_000_000 { reset } else { reset.saturating_sub(unix_seconds) };
    Some(Duration::from_secs(span))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace::patient(Duration::from_secs(1))
    }

    #[test]
    fn what_may_have_been_done_is_asked_again_only_when_harmless() {
        assert!(next(&pace(), Miss::Unknown, true, 1, 0.5).is_some());
        assert_eq!(next(&pace(), Miss::Unknown, false, 1, 0.5), None);
        assert!(next(&pace(), Miss::NotDone { wait: None }, false, 1, 0.5).is_some());
        assert_eq!(next(&pace(), Miss::Refused, true, 1, 0.5), None);
        assert_eq!(next(&pace(), Miss::NotDone { wait: None }, true, 6, 0.5), None);
    }

    #[test]
    fn waits_double_stay_bounded_and_differ() {
        let wait = |attempt, chance| next(&pace(), Miss::Unknown, true, attempt, chance).unwrap();
        assert_eq!(wait(1, 0.0), Duration::from_millis(250));
        assert_eq!(wait(1, 1.0), Duration::from_millis(500));
        assert_eq!(wait(3, 1.0), Duration::from_secs(2));
        let many = Pace { attempts: 100, ..pace() };
        let last = next(&many, Miss::Unknown, true, 99, 1.0).unwrap();
        assert_eq!(last, pace().wait_max);
    }

    #[test]
    fn the_providers_wish_holds_unless_it_is_too_much() {
        let told = |seconds| Miss::NotDone { wait: Some(Duration::from_secs(seconds)) };
        let wait = next(&pace(), told(7), false, 1, 0.0).unwrap();
        assert!((7_000..=7_500).contains(&wait.as_millis()), "{wait:?}");
        assert_eq!(next(&pace(), told(3_600), false, 1, 0.0), None);
    }

    #[test]
    fn headers_tell_the_wait() {
        let told = |name: &'static str, value: &'static str| {
            told_wait(move |asked| (asked == name).then_some(value), 1_700_000_000)
        };
        assert_eq!(told("retry-after", "3"), Some(Duration::from_secs(3)));
        assert_eq!(told("ratelimit-reset", "1700000009"), Some(Duration::from_secs(9)));
        assert_eq!(told("ratelimit-reset", "1600000000"), Some(Duration::ZERO));
        assert_eq!(told("x-ratelimit-reset", "12"), Some(Duration::from_secs(12)));
        assert_eq!(told("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }
}

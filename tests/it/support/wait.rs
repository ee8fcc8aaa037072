//! Waiting for something to become true. The only place in the tests that sleeps.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

/// How long between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// Looks until `look` gives a value. An `Err` says what was seen instead; the last one is told
/// when `limit` has passed.
///
/// # Panics
/// When `limit` has passed.
pub fn wait_until<T, E: Display>(
    limit: Duration,
    what: &str,
    look: impl FnMut() -> Result<T, E>,
) -> T {
    try_wait_until(limit, look)
        .unwrap_or_else(|last| panic!("not within {limit:?}: {what}; seen last: {last}"))
}

/// As [`wait_until`], and gives the last `Err` back.
pub fn try_wait_until<T, E>(
    limit: Duration,
    mut look: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let deadline = Instant::now() + limit;
    loop {
        match look() {
            Ok(value) => return Ok(value),
            Err(last) if Instant::now() >= deadline => return Err(last),
            Err(_) => thread::sleep(POLL_INTERVAL),
        }
    }
}

/// Looks for as long as `time`: what is seen must hold all along.
///
/// # Panics
/// With what was seen instead.
pub fn stays<E: Display>(time: Duration, what: &str, mut look: impl FnMut() -> Result<(), E>) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        if let Err(seen) = look() {
            panic!("not for all of {time:?}: {what}; seen: {seen}");
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Lets time pass, for what must happen at a moment that the test draws.
pub fn pass(time: Duration) {
    thread::sleep(time);
}

#[test]
fn the_last_look_is_told() {
    let mut looks = 0;
    let third = wait_until(Duration::from_secs(10), "a third look", || {
        looks += 1;
        if looks == 3 { Ok(looks) } else { Err("too early") }
    });
    assert_eq!(third, 3);
    let never: Result<(), &str> = try_wait_until(Duration::ZERO, || Err("never"));
    assert_eq!(never, Err("never"));
}

//! Spans of time: read as people write them, shown as short as they can be.

use std::time::Duration;

/// Reads `90s`, `10m`, `2h`, `1day 3h`.
///
/// # Errors
/// A sentence that shows what is accepted.
pub fn parse(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("a span of time is longer than nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write it as 30s, 10m or 2h")),
    }
}

/// The two largest units: `2d 3h`, `5m 7s`.
#[must_use]
pub fn show(duration: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let seconds = duration.as_secs();
    let first = UNITS.iter().position(|(size, _)| seconds >= *size).unwrap_or(UNITS.len() - 1);
    let (size, unit) = UNITS[first];
    let whole = format!("{}{unit}", seconds / size);
    match UNITS.get(first + 1) {
        Some((next, next_unit)) if seconds % size >= *next => {
            format!("{whole} {}{next_unit}", seconds % size / next)
        }
        _ => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_largest_units_are_shown() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (61, "1m 1s"), (3_605, "1h"), (90_000, "1d 1h")]
        {
            assert_eq!(show(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn spans_are_read_and_nonsense_is_refused() {
        assert_eq!(parse("2h"), Ok(Duration::from_secs(7_200)));
        assert!(parse("soon").unwrap_err().contains("30s, 10m or 2h"));
        assert!(parse("0s").is_err());
    }
}

//! How many machines may be asked for, and of which back-end.

use std::time::Duration;

use crate::model::rule::Rule;
use crate::model::time::Timestamp;
use crate::reconcile::fleet::draft::Draft;
use crate::reconcile::fleet::plan::Act;
use crate::reconcile::fleet::plan::WhyNot;
use crate::reconcile::fleet::view::FleetView;

const HOUR: Duration = Duration::from_secs(3_600);

/// Failures of a back-end before the next one is tried.
const FAILURES_MAX: u32 = 3;

/// How long failures count.
const FAILURES_COUNT_FOR: Duration = Duration::from_secs(1_800);

/// First, and longest, time until a back-end that failed is tried again.
const BACK_OFF_MIN: Duration = Duration::from_secs(2);
const BACK_OFF_MAX: Duration = Duration::from_secs(300);

/// How many of `wanted` machines may be asked for, for `rule`; says what stands in the way.
pub(super) fn allowed(draft: &mut Draft<'_>, name: &str, rule: &Rule, wanted: u32) -> u32 {
    let view = draft.view;
    let asked = |mine: bool| asked_times(view, mine.then_some(name));
    let last = asked(true).map(|time| view.since(time)).min();
    if let Some(left) = last.and_then(|last| rule.cooldown().checked_sub(last)) {
        let message = format!("{wanted} more are needed; cooldown for {} more", words(left));
        draft.wait(Some(name), WhyNot::Cooldown, message);
        return 0;
    }
    let in_hour = |mine: bool| count(asked(mine).filter(|time| view.since(*time) < HOUR));
    let planned = draft.plan().actions.iter().filter(|planned| matches!(planned.act, Act::Wish(_)));
    let planned = count(planned);
    let by_rule = rule.spawns_per_hour.saturating_sub(in_hour(true));
    let by_fleet = view.limits.spawns_per_hour.saturating_sub(in_hour(false) + planned);
    let by_maximum = view.limits.max.saturating_sub(count(draft.units.iter()) + planned);
    let allowed = wanted.min(by_rule).min(by_fleet).min(by_maximum);
    if allowed == wanted {
        return allowed;
    }
    let (why, cap) = if allowed == by_maximum {
        (WhyNot::FleetMaximum, format!("{} machines may exist (fleet.max)", view.limits.max))
    } else if allowed == by_rule {
        let cap = rule.spawns_per_hour;
        (WhyNot::HourlyCap, format!("{cap} may be asked for in an hour (spawns_per_hour)"))
    } else {
        let cap = view.limits.spawns_per_hour;
        (WhyNot::HourlyCap, format!("{cap} may be asked for in an hour (fleet.spawns_per_hour)"))
    };
    draft.wait(Some(name), why, format!("{wanted} more are needed, {allowed} allowed: {cap}"));
    allowed
}

/// When machines were asked for: for one rule, or all of them.
fn asked_times<'v>(
    view: &'v FleetView,
    rule: Option<&'v str>,
) -> impl Iterator<Item = Timestamp> + 'v {
    let serves = move |of: &Option<String>| match rule {
        Some(rule) => of.as_deref() == Some(rule),
        None => of.is_some(),
    };
    let there = view.machines.values().map(|record| (&record.upkeep.rule, record.created_at));
    let gone = view.tombstones.values().map(|tombstone| (&tombstone.rule, tombstone.created_at));
    there.chain(gone).filter(move |(of, _)| serves(of)).map(|(_, time)| time)
}

/// Why a source is passed over.
pub(super) enum Refusal {
    /// Nobody drives it.
    Undriven,
    /// It failed, and is tried again after this time.
    BackOff(Duration),
}

/// The source that is asked next: the first that somebody drives, unless it has failed again
/// and again. Else, why there is none.
pub(super) fn source<'r>(
    view: &FleetView,
    name: &str,
    sources: &[&'r str],
) -> Result<&'r str, Refusal> {
    let mut refusal = Refusal::Undriven;
    for source in sources {
        if view.drivers(source, None).next().is_none() {
            continue;
        }
        let (failures, left) = failures(view, name, source);
        if left.is_zero() {
            return Ok(source);
        }
        refusal = match refusal {
            Refusal::BackOff(earlier) => Refusal::BackOff(earlier.min(left)),
            Refusal::Undriven => Refusal::BackOff(left),
        };
        if failures < FAILURES_MAX {
            break;
        }
    }
    Err(refusal)
}

/// How often a source failed of late, and how long until it is tried again.
fn failures(view: &FleetView, name: &str, source: &str) -> (u32, Duration) {
    let failed = view.tombstones.values().filter(|tombstone| {
        tombstone.failed
            && tombstone.rule.as_deref() == Some(name)
            && tombstone.compute_type == source
            && view.since(tombstone.at) < FAILURES_COUNT_FOR
    });
    let times: Vec<Duration> = failed.map(|tombstone| view.since(tombstone.at)).collect();
    let failures = count(times.iter());
    let Some(last) = times.into_iter().min() else { return (0, Duration::ZERO) };
    let doubled = BACK_OFF_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16));
    (failures, doubled.min(BACK_OFF_MAX).saturating_sub(last))
}

fn count(items: impl Iterator) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

/// Whole seconds, at least one.
pub(super) fn words(duration: Duration) -> String {
    format!("{} s", duration.as_secs().max(1))
}

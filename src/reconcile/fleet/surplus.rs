//! Rules with too many members: the youngest are retired, once things have come to rest.

use std::cmp::Reverse;
use std::time::Duration;

use crate::model::rule::Rule;
use crate::reconcile::fleet::caps::words;
use crate::reconcile::fleet::census::State;
use crate::reconcile::fleet::draft::Draft;
use crate::reconcile::fleet::plan::Act;
use crate::reconcile::fleet::plan::WhyNot;

/// Plans the retirement of every surplus.
pub(super) fn mend(draft: &mut Draft<'_>) {
    let mut retired = Vec::new();
    for (name, rule) in &draft.view.rules {
        let Some(max) = rule.max else { continue };
        let counted = draft.counted(rule);
        let living = |draft: &Draft<'_>, place: &usize| {
            draft.units[*place].state == State::Alive && !retired.contains(place)
        };
        let alive: Vec<usize> =
            counted.iter().copied().filter(|place| living(draft, place)).collect();
        let most = usize::try_from(max).unwrap_or(usize::MAX);
        if alive.len() <= most || !is_at_rest(draft, name, &counted, alive.len() - most) {
            continue;
        }
        retired.extend(retire(draft, name, alive, most));
    }
}

/// Whether nothing is on its way that could change what is surplus.
fn is_at_rest(draft: &mut Draft<'_>, name: &str, counted: &[usize], surplus: usize) -> bool {
    let rest = Duration::from_millis(draft.view.limits.settle_ms);
    let left = rest.saturating_sub(draft.view.settled_for);
    let is_moving = |place: &usize| {
        matches!(draft.units[*place].state, State::Coming | State::Suspect | State::Unsure { .. })
    };
    let moving = counted.iter().copied().find(|place| is_moving(place));
    let (why, message) = if draft.braked {
        let message = "half of the members are failed, so nobody is retired".to_owned();
        (WhyNot::Brake, message)
    } else if let Some(place) = moving {
        let unit = &draft.units[place];
        let what = if unit.state == State::Coming { "being made" } else { "not known to live" };
        (WhyNot::Unsettled, format!("{surplus} too many live; {} is {what}", unit.name))
    } else if !left.is_zero() {
        let left = words(left);
        (WhyNot::Unsettled, format!("{surplus} too many live; settling for {left} more"))
    } else {
        return true;
    };
    draft.wait(Some(name), why, message);
    false
}

/// Retires the youngest of `alive` beyond `most`; which ones.
fn retire(draft: &mut Draft<'_>, name: &str, mut alive: Vec<usize>, most: usize) -> Vec<usize> {
    let surplus = alive.len() - most;
    alive.sort_by_key(|place| {
        let unit = &draft.units[*place];
        Reverse((unit.born_at, unit.intent, unit.node))
    });
    let (mut retired, mut acts) = (Vec::new(), Vec::new());
    for place in alive {
        if retired.len() == surplus {
            break;
        }
        let unit = draft.units[place].clone();
        let Some((intent, _)) = unit.ours() else { continue };
        if is_needed(draft, name, place, &retired) {
            let message = format!("{} is surplus, but another rule needs it", unit.name);
            draft.wait(Some(name), WhyNot::NeededElsewhere, message);
            continue;
        }
        acts.push(Act::Retire { intent, name: unit.name.clone(), failed: false });
        retired.push(place);
    }
    let leaving = retired.iter().filter_map(|place| draft.units[*place].node).collect();
    if let Some(by) = draft.chosen_of_staying(&format!("rule {name}"), &leaving) {
        for act in acts {
            let reason = format!("{surplus} more live than max, the youngest go");
            draft.push(by, act, Some(name), reason);
        }
    }
    if retired.len() < surplus {
        let kept = surplus - retired.len();
        let message = format!("{kept} too many live that no back-end of ours made");
        draft.wait(Some(name), WhyNot::NotOurs, message);
    }
    retired
}

/// Whether a rule other than `name` would have too few without it.
fn is_needed(draft: &Draft<'_>, name: &str, place: usize, retired: &[usize]) -> bool {
    let lives = |other: &usize| {
        draft.units[*other].state == State::Alive && !retired.contains(other) && *other != place
    };
    let short = |rule: &Rule| {
        let counted = draft.counted(rule);
        let left = counted.iter().filter(|other| lives(other)).count();
        counted.contains(&place) && left < usize::try_from(rule.min).unwrap_or(usize::MAX)
    };
    draft.view.rules.iter().any(|(other, rule)| other != name && short(rule))
}

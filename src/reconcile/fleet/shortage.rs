//! Rules with too few members: more are wished for.

use std::time::Duration;

use crate::model::machine::IntentId;
use crate::model::name::Name;
use crate::model::rule::Rule;
use crate::model::time::Timestamp;
use crate::reconcile::fleet::caps;
use crate::reconcile::fleet::caps::Refusal;
use crate::reconcile::fleet::caps::words;
use crate::reconcile::fleet::census::State;
use crate::reconcile::fleet::choose::new_intent;
use crate::reconcile::fleet::draft::Draft;
use crate::reconcile::fleet::plan::Act;
use crate::reconcile::fleet::plan::WhyNot;
use crate::reconcile::fleet::plan::Wish;

/// Plans a wish for every machine that a rule lacks and that may be asked for.
pub(super) fn mend(draft: &mut Draft<'_>) {
    for (name, rule) in &draft.view.rules {
        let lacking = lacking(draft, name, rule);
        if lacking > 0 {
            wish(draft, name, rule, lacking);
        }
    }
}

/// How many machines `rule` lacks; says what may still come back.
fn lacking(draft: &mut Draft<'_>, name: &str, rule: &Rule) -> u32 {
    let (mut held, mut doubtful) = (0, Vec::new());
    for place in draft.counted(rule) {
        let unit = &draft.units[place];
        match unit.state {
            State::Alive | State::Coming => held += 1,
            State::Suspect | State::Unsure { .. } => doubtful.push(place),
            State::Dead | State::Stale | State::Going | State::Apart => {}
        }
    }
    held += wished_for(draft, rule);
    let missing = rule.min.saturating_sub(held);
    let told = doubtful.len().min(usize::try_from(missing).unwrap_or(usize::MAX));
    for place in &doubtful[..told] {
        doubt(draft, name, *place);
    }
    missing.saturating_sub(u32::try_from(doubtful.len()).unwrap_or(u32::MAX))
}

/// What rules before this one have wished for and this one counts, too.
fn wished_for(draft: &Draft<'_>, rule: &Rule) -> u32 {
    let counts = |act: &Act| match act {
        Act::Wish(wish) => rule.select.matches(wish.as_ref()),
        _ => false,
    };
    let wished = draft.plan().actions.iter().filter(|planned| counts(&planned.act));
    u32::try_from(wished.count()).unwrap_or(u32::MAX)
}

fn doubt(draft: &mut Draft<'_>, name: &str, place: usize) {
    let unit = draft.units[place].clone();
    let (why, message) = match unit.state {
        State::Unsure { left, answers: true } => {
            let left = words(left);
            let message = format!(
                "{} is failed, and answered when it was visited; given up in {left} unless it does \
                 so again",
                unit.name
            );
            (WhyNot::Unsure, message)
        }
        State::Unsure { left, .. } if draft.braked => {
            let left = words(left);
            let message = format!(
                "{} is failed, as half of the members are: this machine may be the one that is \
                 cut off; given up in {left}, or when its back-end says that it stands still",
                unit.name
            );
            (WhyNot::Brake, message)
        }
        State::Unsure { left, .. } => {
            let left = words(left);
            let message = format!(
                "{} is failed; given up in {left}, or when its back-end says that it stands still",
                unit.name
            );
            (WhyNot::Unsure, message)
        }
        _ => (WhyNot::Suspect, format!("{} is suspected, and may show that it lives", unit.name)),
    };
    draft.wait(Some(name), why, message);
}

fn wish(draft: &mut Draft<'_>, name: &str, rule: &Rule, lacking: u32) {
    let view = draft.view;
    let sources = rule.sources(&view.default_compute_type);
    let source = match caps::source(view, name, &sources) {
        Ok(source) => source,
        Err(refusal) => return refuse(draft, name, &sources, lacking, &refusal),
    };
    let allowed = caps::allowed(draft, name, rule, lacking);
    let Some(by) = draft.chosen(&format!("rule {name}"), None) else { return };
    for place in 0..usize::try_from(allowed).unwrap_or_default() {
        let intent = new_intent(by, name, view.now, place);
        let holder = draft.chosen_driver(&intent.to_string(), source, None, None);
        let scope = holder.and_then(|holder| view.members.get(&holder)?.scope(source));
        let (Some(holder), Some(scope)) = (holder, scope) else { return };
        let scope = scope.to_owned();
        let wish = Wish {
            intent,
            name: machine_name(source, intent),
            compute_type: source.to_owned(),
            server_type: rule.server_type().unwrap_or(&view.default_server_type).to_owned(),
            labels: rule.labels(),
            rule: name.to_owned(),
            holder,
            scope,
            expires_at: rule.ttl_ms.map(|ttl| end(view.now, ttl)),
        };
        let reason = format!("{lacking} fewer live than min, which is {}", rule.min);
        draft.push(by, Act::Wish(Box::new(wish)), Some(name), reason);
    }
}

fn refuse(draft: &mut Draft<'_>, name: &str, sources: &[&str], lacking: u32, refusal: &Refusal) {
    let listed = sources.join(", ");
    let (why, message) = match refusal {
        Refusal::Undriven => (
            WhyNot::NoBackEnd,
            format!("{lacking} more are needed, and no member that lives can drive {listed}"),
        ),
        Refusal::BackOff(left) => (
            WhyNot::BackOff,
            format!("{lacking} more are needed; {listed} failed, tried again in {}", words(*left)),
        ),
    };
    draft.wait(Some(name), why, message);
}

fn end(now: Timestamp, ttl_ms: u64) -> Timestamp {
    now.after(Duration::from_millis(ttl_ms))
}

/// `local-7fqk2`: two halves of a network that name machines at the same time name them apart.
fn machine_name(compute_type: &str, intent: IntentId) -> Name {
    const STEM_LENGTH_MAX: usize = 52;
    let stem: String = compute_type.chars().take(STEM_LENGTH_MAX).collect();
    let digits: String = intent.to_string().chars().take(5).collect();
    Name::from_hostname(&format!("{stem}-{digits}"))
}

impl crate::model::label::Selectable for Wish {
    fn attribute(&self, key: &str) -> Option<String> {
        match key {
            "compute_type" => Some(self.compute_type.clone()),
            "server_type" => Some(self.server_type.clone()),
            label => self.labels.get(label).cloned(),
        }
    }
}

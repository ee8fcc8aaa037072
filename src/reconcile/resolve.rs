//! Which machine or member a user means.

use std::fmt;

use crate::model::name::Name;
use crate::reconcile::world::Subject;
use crate::reconcile::world::World;

/// Shortest part of an id that counts as naming a member.
const ID_PREFIX_LENGTH_MIN: usize = 4;
/// Similar names that an error lists.
const SUGGESTIONS: usize = 3;
/// Least likeness (Jaro-Winkler, 0 to 1) of a name that is suggested.
const LIKENESS_MIN: f64 = 0.7;

/// The text means nothing, or too much.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// No machine or member of that name or id.
    #[error("no machine or member is called {text:?}{}", Suggestions(nearest))]
    Unknown {
        /// What was asked for.
        text: String,
        /// The most similar names, best first.
        nearest: Vec<Name>,
    },
    /// Several.
    #[error("{text:?} may mean {}; give the whole id", Listed(candidates))]
    Ambiguous {
        /// What was asked for.
        text: String,
        /// What it may mean: name and id of each.
        candidates: Vec<String>,
    },
}

struct Suggestions<'a>(&'a [Name]);

impl fmt::Display for Suggestions<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = self.0.iter().map(Name::to_string).collect();
        write!(formatter, "; similar: {}", names.join(", "))
    }
}

struct Listed<'a>(&'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join(" or "))
    }
}

impl World {
    /// The machine or member that `text` means: a name, a node id or at least four digits of its
    /// beginning, or a machine's intent id.
    ///
    /// # Errors
    /// [`ResolveError`] when there is none, or more than one.
    pub fn resolve(&self, text: &str) -> Result<Subject, ResolveError> {
        let subjects = self.subjects();
        let named = subjects.iter().filter(|subject| subject.name.as_str() == text);
        let mut matching: Vec<&Subject> = named.collect();
        if matching.is_empty() {
            matching = subjects.iter().filter(|subject| has_id(subject, text)).collect();
        }
        match matching.as_slice() {
            [] => Err(ResolveError::Unknown {
                text: text.to_owned(),
                nearest: nearest(text, &subjects),
            }),
            [subject] => Ok((*subject).clone()),
            several => Err(ResolveError::Ambiguous {
                text: text.to_owned(),
                candidates: several.iter().map(|subject| describe(subject)).collect(),
            }),
        }
    }
}

fn has_id(subject: &Subject, text: &str) -> bool {
    let is_node = text.len() >= ID_PREFIX_LENGTH_MIN
        && subject.node.is_some_and(|node| node.to_string().starts_with(text));
    is_node || subject.intent.is_some_and(|intent| intent.to_string() == text)
}

fn describe(subject: &Subject) -> String {
    let id = match (subject.node, subject.intent) {
        (Some(node), _) => node.to_string(),
        (None, Some(intent)) => intent.to_string(),
        (None, None) => String::new(),
    };
    format!("{} ({id})", subject.name)
}

fn nearest(text: &str, subjects: &[Subject]) -> Vec<Name> {
    let mut scored: Vec<(f64, &Name)> = subjects
        .iter()
        .map(|subject| (strsim::jaro_winkler(text, subject.name.as_str()), &subject.name))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .collect();
    scored.sort_by(|(left, _), (right, _)| right.total_cmp(left));
    scored.into_iter().take(SUGGESTIONS).map(|(_, name)| name.clone()).collect()
}

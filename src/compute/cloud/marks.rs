//! What a cloud machine carries so that whoever looks later finds it: its wish, its cluster, its
//! name and its first host key, as labels where the provider has them and as tags elsewhere.

use std::collections::BTreeMap;

use data_encoding::BASE32_NOPAD;

use crate::model::cluster::ClusterId;
use crate::model::label::Labels;
use crate::model::machine::IntentId;
use crate::model::name::Name;
use crate::model::ssh_key;

/// Before each of our keys.
pub(super) const PREFIX: &str = "raptor-";
/// Between key and value of a tag: DigitalOcean's alphabet has no other that a name has not.
const SEPARATOR: char = ':';
/// Longest value in one tag; a longer one goes on in the next. Linode's tags have at most 50
/// characters, and no key of ours is longer than 16.
const CHUNK: usize = 32;
/// Before the key of a label that the user gave.
const LABEL: &str = "label-";

/// By what machines are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Intent(IntentId),
    Cluster(ClusterId),
}

impl Mark {
    pub(super) fn key(self) -> String {
        match self {
            Self::Intent(_) => format!("{PREFIX}intent"),
            Self::Cluster(_) => format!("{PREFIX}cluster"),
        }
    }

    pub(super) fn value(self) -> String {
        match self {
            Self::Intent(intent) => intent.to_string(),
            Self::Cluster(cluster) => cluster.to_string(),
        }
    }

    /// As a tag: `raptor-intent:VALUE`.
    pub(super) fn tag(self) -> String {
        format!("{}{SEPARATOR}{}", self.key(), self.value())
    }
}

/// All that a machine carries of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) intent: IntentId,
    pub(super) cluster: ClusterId,
    pub(super) name: Name,
    /// Its public key, 32 bytes of Ed25519.
    pub(super) host_key: Option<[u8; 32]>,
}

impl Marks {
    /// Whether a search for `mark` is meant to find it.
    pub(super) fn bear(&self, mark: Mark) -> bool {
        match mark {
            Mark::Intent(intent) => self.intent == intent,
            Mark::Cluster(cluster) => self.cluster == cluster,
        }
    }

    /// As `known_hosts` has it.
    pub(super) fn host_keys(&self) -> Vec<String> {
        self.host_key.iter().map(ssh_key::public_line).collect()
    }

    /// As keys and values.
    pub(super) fn pairs(&self) -> BTreeMap<String, String> {
        let mut pairs = BTreeMap::from([
            (format!("{PREFIX}intent"), self.intent.to_string()),
            (format!("{PREFIX}cluster"), self.cluster.to_string()),
            (format!("{PREFIX}name"), self.name.to_string()),
        ]);
        if let Some(key) = &self.host_key {
            let text = BASE32_NOPAD.encode(key).to_ascii_lowercase();
            pairs.insert(format!("{PREFIX}key"), text);
        }
        pairs
    }

    /// From keys and values; none when one of ours is missing or wrong.
    pub(super) fn from_pairs(pairs: &BTreeMap<String, String>) -> Option<Self> {
        let part = |key: &str| pairs.get(&format!("{PREFIX}{key}"));
        let host_key = part("key").and_then(|text| {
            let bytes = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).ok()?;
            bytes.try_into().ok()
        });
        Some(Self {
            intent: part("intent")?.parse().ok()?,
            cluster: part("cluster")?.parse().ok()?,
            name: part("name")?.parse().ok()?,
            host_key,
        })
    }

    /// As tags `KEY:VALUE`; a long value as `KEY:CHUNK`, `KEY-2:CHUNK`.
    pub(super) fn tags(&self) -> Vec<String> {
        let mut tags = Vec::new();
        for (key, value) in self.pairs() {
            let mut rest = value.as_str();
            for number in 1.. {
                let (chunk, after) = rest.split_at(rest.len().min(CHUNK));
                let suffix = if number == 1 { String::new() } else { format!("-{number}") };
                tags.push(format!("{key}{suffix}{SEPARATOR}{chunk}"));
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
        }
        tags
    }

    /// From a machine's tags, in whatever order.
    pub(super) fn from_tags<'t>(tags: impl Iterator<Item = &'t str>) -> Option<Self> {
        let sorted: BTreeMap<&str, &str> =
            tags.filter_map(|tag| tag.split_once(SEPARATOR)).collect();
        let mut pairs = BTreeMap::new();
        for (key, chunk) in sorted {
            let whole = key.strip_suffix("-2").unwrap_or(key);
            pairs.entry(whole.to_owned()).or_insert_with(String::new).push_str(chunk);
        }
        Self::from_pairs(&pairs)
    }
}

/// The user's labels as keys and values of ours; `is_sound` says what the provider takes.
pub(super) fn label_pairs(
    labels: &Labels,
    is_sound: impl Fn(&str, &str) -> bool,
) -> BTreeMap<String, String> {
    let named = labels.iter().map(|(key, value)| (format!("{PREFIX}{LABEL}{key}"), value.clone()));
    named.filter(|(key, value)| is_sound(key, value)).collect()
}

/// The user's labels as tags.
pub(super) fn label_tags(labels: &Labels, is_sound: impl Fn(&str) -> bool) -> Vec<String> {
    let tags = labels.iter().map(|(key, value)| format!("{PREFIX}{LABEL}{key}{SEPARATOR}{value}"));
    tags.filter(|tag| is_sound(tag)).collect()
}

/// What a machine is called there: `NAME-INTENT`, at most 63 characters, a letter first and no
/// two hyphens in a row (Linode), so that all five take it and none has two of it.
pub(super) fn server_name(name: &Name, intent: IntentId) -> String {
    let mut text = String::new();
    if !name.as_str().starts_with(|letter: char| letter.is_ascii_lowercase()) {
        text.push_str("m-");
    }
    for letter in name.as_str().chars().take(44) {
        if letter != '-' || !text.ends_with('-') {
            text.push(letter);
        }
    }
    format!("{}-{intent}", text.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::conformance::spec;
    use proptest::prelude::*;

    fn marks(name: &str) -> Marks {
        let spec = spec(name, 3, 4);
        let (intent, cluster) = (spec.intent, spec.cluster);
        Marks { intent, cluster, name: spec.name, host_key: Some([0xA5; 32]) }
    }

    #[test]
    fn tags_fit_the_strictest_provider_and_are_read_back_in_any_order() {
        let marks = marks(&"n".repeat(63));
        let mut tags = marks.tags();
        for tag in &tags {
            assert!((3..=50).contains(&tag.len()), "{tag}");
            let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"_:-".contains(&byte);
            assert!(
                tag.bytes().all(sound) && !tag.bytes().any(|it| it.is_ascii_uppercase()),
                "{tag}"
            );
        }
        assert!(tags.contains(&Mark::Intent(marks.intent).tag()));
        assert!(tags.contains(&Mark::Cluster(marks.cluster).tag()));
        tags.reverse();
        tags.push("somebody:else".to_owned());
        assert_eq!(Marks::from_tags(tags.iter().map(String::as_str)), Some(marks));
        assert_eq!(Marks::from_tags(["a", "raptor-intent:x"].into_iter()), None);
    }

    #[test]
    fn names_fit_everywhere() {
        let intent = spec("a", 1, 1).intent;
        assert_eq!(server_name(&"web-1".parse().unwrap(), intent), format!("web-1-{intent}"));
        assert_eq!(server_name(&"0--x".parse().unwrap(), intent), format!("m-0-x-{intent}"));
    }

    proptest! {
        #[test]
        fn every_name_makes_a_sound_one(name in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?") {
            let text = server_name(&name.parse().unwrap(), spec("a", 1, 1).intent);
            prop_assert!(text.len() <= 63 && !text.contains("--"), "{text}");
            prop_assert!(text.starts_with(|letter: char| letter.is_ascii_lowercase()));
            let marks = marks(&name);
            let tags = marks.tags();
            prop_assert_eq!(Marks::from_tags(tags.iter().map(String::as_str)), Some(marks));
        }
    }
}

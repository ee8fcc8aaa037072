//! Rules: what must hold about the fleet, and within which bounds the members see to it.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::label::Labels;
use crate::model::label::Selector;

/// The rule that `raptor scale` writes.
pub const DEFAULT_RULE: &str = "default";

/// How many members there must be, and where more come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Which machines count: `KEY=VALUE` and `KEY!=VALUE` joined by commas, where KEY is
    /// `compute_type`, `server_type` or a label such as `zone`. Empty: all.
    #[schemars(with = "String")]
    pub select: Selector,
    /// Fewest members that must live.
    pub min: u32,
    /// Most members that may live; none for no bound. The youngest go first.
    pub max: Option<u32>,
    /// Where to get a machine, best first; the next one is taken when nobody can drive the one
    /// before, or it keeps failing. Empty: the default compute type.
    pub compute_types: Vec<String>,
    /// Milliseconds between two decisions to get machines for this rule.
    pub cooldown_ms: u64,
    /// Machines that may be asked for in one hour for this rule.
    pub spawns_per_hour: u32,
    /// Milliseconds that a machine of this rule lives; none for as long as it is needed.
    pub ttl_ms: Option<u64>,
    /// What it costs and who pays, for people: shown with the rule and in the plan.
    pub note: String,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            select: Selector::default(),
            min: 0,
            max: None,
            compute_types: Vec::new(),
            cooldown_ms: 1_000,
            spawns_per_hour: 60,
            ttl_ms: None,
            note: String::new(),
        }
    }
}

impl Rule {
    /// `cooldown_ms` as a duration.
    #[must_use]
    pub fn cooldown(&self) -> Duration {
        Duration::from_millis(self.cooldown_ms)
    }

    /// The labels that a machine must have to count.
    #[must_use]
    pub fn labels(&self) -> Labels {
        let wanted = self.select.equalities();
        wanted
            .filter(|(key, _)| !SELECTABLE_WORDS.contains(key))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    /// The compute type that a machine must have to count, when there is one.
    #[must_use]
    pub fn compute_type(&self) -> Option<&str> {
        self.select.equal_to("compute_type")
    }

    /// The server type that a machine must have to count, when there is one.
    #[must_use]
    pub fn server_type(&self) -> Option<&str> {
        self.select.equal_to("server_type")
    }

    /// Where its machines come from, best first.
    #[must_use]
    pub fn sources<'r>(&'r self, default_compute_type: &'r str) -> Vec<&'r str> {
        match (self.compute_types.as_slice(), self.compute_type()) {
            ([], Some(only)) => vec![only],
            ([], None) => vec![default_compute_type],
            (listed, _) => listed.iter().map(String::as_str).collect(),
        }
    }
}

/// What a selector of a rule may look at besides labels.
pub const SELECTABLE_WORDS: [&str; 2] = ["compute_type", "server_type"];

/// What a selector of a rule may not look at: it would not say what machine to get.
pub const UNSELECTABLE_WORDS: [&str; 3] = ["name", "id", "status"];

/// Rules by name.
pub type Rules = BTreeMap<String, Rule>;

/// Bounds that hold for the whole fleet, and the patience of those who mend it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FleetLimits {
    /// Whether the members leave the fleet as it is, whatever the rules say.
    pub paused: bool,
    /// Most machines that may exist at once, the dead that were not cleared away included.
    pub max: u32,
    /// Machines that may be asked for in one hour, whatever for.
    pub spawns_per_hour: u32,
    /// Milliseconds after which a failed member is replaced though no back-end says that its
    /// machine stands still. One that does stand still is replaced at once.
    pub replace_after_ms: u64,
    /// The same while half of the members or more are failed: it may be this machine that is cut
    /// off.
    pub brake_ms: u64,
    /// Milliseconds for which nothing must have changed before a surplus is retired.
    pub settle_ms: u64,
    /// Milliseconds after which a machine that is being made, and whose maker gives no sign, is
    /// taken over by another member.
    pub lease_ms: u64,
    /// Milliseconds after which a dead machine is given back to its back-end.
    pub bury_after_ms: u64,
    /// Milliseconds that a machine which a person asked for may take to become a member.
    pub boot_timeout_ms: u64,
    /// Milliseconds after which a machine that a back-end lists for this cluster, and of which the
    /// document knows nothing, is made a member.
    pub adopt_after_ms: u64,
    /// Milliseconds before its end at which the end of a machine is announced.
    pub ttl_warning_ms: u64,
}

impl Default for FleetLimits {
    fn default() -> Self {
        Self {
            paused: false,
            max: 100,
            spawns_per_hour: 200,
            replace_after_ms: 30_000,
            brake_ms: 60_000,
            settle_ms: 10_000,
            lease_ms: 60_000,
            bury_after_ms: 60_000,
            boot_timeout_ms: 600_000,
            adopt_after_ms: 600_000,
            ttl_warning_ms: 600_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_says_what_its_machines_must_be() {
        let rule = Rule {
            select: "zone=home,server_type=web,rack!=3".parse().unwrap(),
            ..Rule::default()
        };
        assert_eq!(rule.labels(), [("zone".to_owned(), "home".to_owned())].into());
        assert_eq!(rule.server_type(), Some("web"));
        assert_eq!(rule.sources("local"), ["local"]);
        let rule = Rule { select: "compute_type=docker".parse().unwrap(), ..Rule::default() };
        assert_eq!(rule.sources("local"), ["docker"]);
    }
}

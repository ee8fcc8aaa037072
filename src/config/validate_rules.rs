//! What types alone cannot say about rules, the fleet's bounds and hooks.

use crate::config::schema::Config;
use crate::config::validate::Check;
use crate::model::name::Name;
use crate::model::rule::Rule;
use crate::model::rule::UNSELECTABLE_WORDS;

/// Most machines that a rule or the fleet may ask for.
const MACHINES_MAX: u32 = 100_000;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

impl Check {
    /// Whether every hook does something and may take some time for it.
    pub(super) fn hooks(&mut self, config: &Config) {
        for (name, hook) in &config.hooks {
            if let Err(error) = name.parse::<Name>() {
                self.refuse(&["hooks", name], format!("a hook's name: {error}"));
            }
            if hook.command.trim().is_empty() {
                self.refuse(&["hooks", name, "command"], "a hook needs a command".to_owned());
            }
            if !(1..=DAY_MS).contains(&hook.timeout_ms) {
                let what = format!("{} is not between 1 and {DAY_MS}", hook.timeout_ms);
                self.refuse(&["hooks", name, "timeout_ms"], what);
            }
        }
    }

    /// Whether every rule can be kept and means what it says.
    pub(super) fn rules(&mut self, config: &Config) {
        for (name, rule) in &config.rules {
            let refuse = |check: &mut Self, key: &str, what: String| {
                check.refuse(&["rules", name, key], what);
            };
            if let Err(error) = name.parse::<Name>() {
                self.refuse(&["rules", name], format!("a rule's name: {error}"));
            }
            if let Some(max) = rule.max.filter(|max| *max < rule.min) {
                refuse(self, "max", format!("{max} is less than min, which is {}", rule.min));
            }
            if rule.min > config.fleet.max {
                let most = config.fleet.max;
                refuse(self, "min", format!("fleet.max allows {most} machines, not {}", rule.min));
            }
            if rule.ttl_ms.is_some_and(|ttl| ttl < 1_000) {
                refuse(self, "ttl_ms", "a machine lives for at least 1000 ms".to_owned());
            }
            if rule.cooldown_ms > DAY_MS {
                refuse(self, "cooldown_ms", format!("expected 0 to {DAY_MS}"));
            }
            self.selection(config, name, rule);
            for (index, compute_type) in rule.compute_types.iter().enumerate() {
                let index = index.to_string();
                let path = ["rules", name.as_str(), "compute_types", index.as_str()];
                self.name(&path, "compute type", compute_type, config.compute_types.keys());
            }
        }
    }

    /// Whether a machine can be made that the rule counts.
    fn selection(&mut self, config: &Config, name: &str, rule: &Rule) {
        let path = ["rules", name, "select"];
        if let Some(word) = rule.select.names().first() {
            let what = format!("{word:?}: a rule chooses by KEY=VALUE, not by name");
            self.refuse(&path, what);
        }
        if let Some(key) = rule.select.keys().find(|key| UNSELECTABLE_WORDS.contains(key)) {
            self.refuse(&path, format!("a rule cannot choose by {key}"));
        }
        if let Some(compute_type) = rule.compute_type() {
            self.name(&path, "compute type", compute_type, config.compute_types.keys());
            if rule.compute_types.iter().any(|listed| listed != compute_type) {
                let what = format!("only {compute_type} counts, and compute_types lists others");
                self.refuse(&path, what);
            }
        }
        if let Some(server_type) = rule.server_type() {
            self.name(&path, "server type", server_type, config.server_types.keys());
        }
    }

    /// Whether the bounds of the fleet make sense.
    pub(super) fn fleet(&mut self, config: &Config) {
        let fleet = &config.fleet;
        self.range(["fleet", "max"], fleet.max.into(), 1, MACHINES_MAX.into());
        for (key, value, least) in [
            ("replace_after_ms", fleet.replace_after_ms, 0),
            ("brake_ms", fleet.brake_ms, 1_000),
            ("settle_ms", fleet.settle_ms, 1_000),
            ("lease_ms", fleet.lease_ms, 1_000),
            ("bury_after_ms", fleet.bury_after_ms, 1_000),
            ("boot_timeout_ms", fleet.boot_timeout_ms, 1_000),
            ("adopt_after_ms", fleet.adopt_after_ms, 1_000),
            ("ttl_warning_ms", fleet.ttl_warning_ms, 0),
        ] {
            self.range(["fleet", key], value, least, 7 * DAY_MS);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use crate::config::home::Home;
    use crate::config::load::load;

    /// What the configuration says of a document's layer: problems and warnings, one text.
    fn told(layer: &Value) -> String {
        let folder = tempfile::tempdir().unwrap();
        match load(&Home::new(folder.path()), None, Some(layer)) {
            Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn hooks_that_could_do_nothing_are_refused() {
        let hook = json!({"event": "after_mesh", "command": "true", "timeout_ms": 5});
        assert_eq!(told(&json!({"hooks": {"tell": hook}})), "");
        for (hook, words) in [
            (json!({"event": "after_mesh"}), "a hook needs a command"),
            (json!({"command": "true", "timeout_ms": 0}), "0 is not between"),
            (json!({"command": "true", "event": "never"}), "never"),
        ] {
            let told = told(&json!({"hooks": {"tell": hook}}));
            assert!(told.contains(words), "{told}");
        }
    }

    #[test]
    fn a_sound_rule_is_read_and_a_wrong_one_is_told() {
        let sound = json!({"rules": {"web": {"select": "zone=home", "min": 2, "max": 3,
            "compute_types": ["docker", "local"], "ttl_ms": 60_000}}, "fleet": {"max": 9}});
        assert_eq!(told(&sound), "");
        for (rule, expected) in [
            (json!({"mni": 3}), "did you mean \"min\"?"),
            (json!({"min": 3, "max": 2}), "2 is less than min, which is 3"),
            (json!({"min": 1_000}), "fleet.max allows 100 machines, not 1000"),
            (json!({"compute_types": ["dcker"]}), "did you mean \"docker\"?"),
            (json!({"select": "web-1"}), "not by name"),
            (json!({"select": "status=alive"}), "a rule cannot choose by status"),
            (json!({"select": "server_type=headles"}), "did you mean \"headless\"?"),
            (json!({"select": "compute_type=local", "compute_types": ["docker"]}), "lists others"),
            (json!({"select": "="}), "is not a selector"),
            (json!({"ttl_ms": 3}), "at least 1000 ms"),
        ] {
            let told = told(&json!({"rules": {"web": rule}}));
            assert!(told.contains(expected), "{rule}: {told}");
        }
        assert!(told(&json!({"fleet": {"max": 0}})).contains("expected 1 to 100000, found 0"));
        assert!(told(&json!({"rules": {"A b": {}}})).contains("a rule's name"));
    }
}

//! The parameters of driver `vagrant`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Map;
use serde_json::Value;

use crate::compute::error::Cause;

/// The provider that makes containers from images: it knows no boxes.
const DOCKER: &str = "docker";

/// As the configuration gives them; every one may be left out.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VagrantSettings {
    /// The program: `vagrant`, or a path.
    pub program: String,
    /// Vagrant's provider; its own choice when absent.
    pub provider: Option<String>,
    /// The box: a name that Vagrant knows or finds.
    #[serde(rename = "box")]
    pub box_name: Option<String>,
    /// Which of its versions.
    pub box_version: Option<String>,
    /// Where it is when no catalogue says: an address or a file.
    pub box_url: Option<String>,
    /// Memory of a machine in MiB.
    pub memory_mb: Option<u64>,
    /// Processors of a machine.
    pub cpus: Option<u64>,
    /// Settings of the provider by their names in a Vagrantfile.
    pub provider_settings: Map<String, Value>,
    /// How long making a machine may take, its box's download included.
    pub create_timeout_ms: u64,
    /// How long it may take to boot.
    pub boot_timeout_ms: u64,
}

impl Default for VagrantSettings {
    fn default() -> Self {
        Self {
            program: "vagrant".to_owned(),
            provider: None,
            box_name: None,
            box_version: None,
            box_url: None,
            memory_mb: None,
            cpus: None,
            provider_settings: Map::new(),
            create_timeout_ms: 1_800_000,
            boot_timeout_ms: 300_000,
        }
    }
}

impl VagrantSettings {
    /// Refuses what would be more than data in the Vagrantfile or on a command line.
    pub(crate) fn check(&self) -> Result<(), Cause> {
        let refuse =
            |path: &str, message: String| Err(Cause::Settings { path: path.to_owned(), message });
        if self.program.is_empty() {
            return refuse("program", "expected a program".to_owned());
        }
        if let Some(provider) = self.provider.as_ref().filter(|provider| !is_word(provider)) {
            return refuse("provider", format!("{provider:?} is no provider's name"));
        }
        if let Some(key) = self.provider_settings.keys().find(|key| !is_word(key)) {
            return refuse("provider_settings", format!("{key:?} is no setting's name"));
        }
        let has_own = !self.provider_settings.is_empty();
        let has_size = self.memory_mb.is_some() || self.cpus.is_some();
        if self.provider.is_none() && (has_own || has_size) {
            let message = "is needed for memory_mb, cpus and provider_settings";
            return refuse("provider", message.to_owned());
        }
        if self.provider.as_deref() == Some(DOCKER) && has_size {
            let message = "the provider docker takes \"create_args\" such as [\"--memory=1g\"] in \
                           provider_settings";
            return refuse("memory_mb", message.to_owned());
        }
        if self.provider.as_deref() != Some(DOCKER) && self.box_name.is_none() {
            return refuse("box", "is missing".to_owned());
        }
        Ok(())
    }

    /// The box, where the provider knows boxes.
    pub(super) fn box_for_provider(&self) -> Option<&str> {
        self.box_name.as_deref().filter(|_| self.provider.as_deref() != Some(DOCKER))
    }

    pub(super) fn create_timeout(&self) -> Duration {
        Duration::from_millis(self.create_timeout_ms)
    }
}

/// A name as Ruby's methods have them.
fn is_word(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !text.starts_with(|letter: char| letter.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_data_gets_into_a_vagrantfile() {
        let refused = |value: Value| {
            let settings: VagrantSettings = serde_json::from_value(value).unwrap();
            match settings.check() {
                Err(Cause::Settings { path, .. }) => path,
                other => format!("{other:?}"),
            }
        };
        assert_eq!(refused(json!({"box": "debian/bookworm64"})), "Ok(())");
        let docker = json!({"provider": "docker", "provider_settings": {"image": "x"}});
        assert_eq!(refused(docker), "Ok(())");
        assert_eq!(refused(json!({})), "box");
        assert_eq!(refused(json!({"box": "a", "provider": "--help"})), "provider");
        assert_eq!(refused(json!({"box": "a", "cpus": 2})), "provider");
        assert_eq!(refused(json!({"provider": "docker", "cpus": 2})), "memory_mb");
        let method = json!({"provider": "docker", "provider_settings": {"x; exit": 1}});
        assert_eq!(refused(method), "provider_settings");
        assert_eq!(refused(json!({"program": ""})), "program");
    }
}

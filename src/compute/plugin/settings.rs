//! The parameters of driver `plugin`.

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Map;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::compute::Secrets as SealedSecrets;
use crate::compute::error::Cause;
use crate::compute::plugin::error::PluginCause;
use crate::compute::private_file;

/// The largest secret: a private key has some 3 KiB.
const SECRET_SIZE_MAX: u64 = 64 * 1024;
/// Before the name of a secret of the cluster.
const SEALED_PREFIX: &str = "secret:";
const DAY_MS: u64 = 24 * 3_600_000;

/// As the configuration gives them; every one may be left out.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginSettings {
    /// The plug-in: `NAME` of `raptor-provider-NAME`. Absent: the compute type's name.
    pub provider: Option<String>,
    /// A folder to look in before all others.
    pub folder: Option<PathBuf>,
    /// The program's SHA-256 in hexadecimal: no other is run.
    pub sha256: Option<String>,
    /// What the plug-in itself is told.
    pub settings: Map<String, Value>,
    /// What it is told secretly: a file of mode 0600 for each, `$VARIABLE`, or `secret:NAME` for one
    /// of the cluster's own.
    pub secrets: BTreeMap<String, String>,
    /// Variables of the environment that it gets besides the usual ones.
    pub environment: Vec<String>,
    /// How long it may take to answer.
    pub timeout_ms: u64,
    /// How long it may take to make a machine.
    pub create_timeout_ms: u64,
    /// How long a machine that was made may take to let us in.
    pub boot_timeout_ms: Option<u64>,
}

impl Default for PluginSettings {
    fn default() -> Self {
        Self {
            provider: None,
            folder: None,
            sha256: None,
            settings: Map::new(),
            secrets: BTreeMap::new(),
            environment: Vec::new(),
            timeout_ms: 60_000,
            create_timeout_ms: 600_000,
            boot_timeout_ms: None,
        }
    }
}

impl PluginSettings {
    /// Refuses names that lead elsewhere, and times that nobody means.
    pub(crate) fn check(&self) -> Result<(), Cause> {
        let refuse =
            |path: &str, message: String| Err(Cause::Settings { path: path.to_owned(), message });
        if let Some(name) = self.provider.as_ref().filter(|name| !is_name(name)) {
            return refuse("provider", format!("{name:?} is no name of a plug-in"));
        }
        if let Some(folder) = self.folder.as_ref().filter(|folder| !folder.is_absolute()) {
            return refuse("folder", format!("{} does not begin with '/'", folder.display()));
        }
        let is_digest =
            |text: &&String| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if let Some(text) = self.sha256.as_ref().filter(|text| !is_digest(text)) {
            return refuse("sha256", format!("{text:?} is no SHA-256 (64 hexadecimal digits)"));
        }
        for (path, value) in
            [("timeout_ms", self.timeout_ms), ("create_timeout_ms", self.create_timeout_ms)]
        {
            if !(100..=DAY_MS).contains(&value) {
                return refuse(path, format!("expected 100 to {DAY_MS}, found {value}"));
            }
        }
        Ok(())
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(super) fn create_timeout(&self) -> Duration {
        Duration::from_millis(self.create_timeout_ms)
    }

    /// Reads the secrets, each time anew: a token may be renewed. `sealed` opens the cluster's own.
    pub(super) fn read_secrets(&self, sealed: &SealedSecrets) -> Result<Secrets, PluginCause> {
        let read = |(name, place): (&String, &String)| {
            let secret = if let Some(variable) = place.strip_prefix('$') {
                env::var(variable).map(Zeroizing::new).map_err(|_| format!("{variable} is not set"))
            } else if let Some(secret) = place.strip_prefix(SEALED_PREFIX) {
                sealed(secret).map_err(|why| format!("{place}: {why}"))
            } else {
                read_secret(Path::new(place))
            };
            let refuse = |why| PluginCause::Secret { name: name.clone(), why };
            Ok((name.clone(), secret.map_err(refuse)?))
        };
        self.secrets.iter().map(read).collect::<Result<_, _>>().map(Secrets)
    }
}

/// Whether it is the `NAME` of a `raptor-provider-NAME`.
pub(super) fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && !text.starts_with(['-', '.'])
}

/// Secrets by name; wiped when dropped, and `Debug` does not show them.
#[derive(Default)]
pub(super) struct Secrets(BTreeMap<String, Zeroizing<String>>);

impl Secrets {
    /// For the line to the plug-in, and nothing else.
    pub(super) fn reveal(&self) -> BTreeMap<&str, &str> {
        self.0.iter().map(|(name, secret)| (name.as_str(), secret.as_str())).collect()
    }

    /// `text` without the secrets, should a plug-in have repeated one.
    pub(super) fn redact(&self, text: &str) -> String {
        let secrets = self.0.values().filter(|secret| !secret.is_empty());
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "[secret]"))
    }
}

fn read_secret(path: &Path) -> Result<Zeroizing<String>, String> {
    let refuse = |why| format!("{}: {why}", path.display());
    let text = private_file::read(path, SECRET_SIZE_MAX).map_err(refuse)?;
    Ok(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::no_secrets;
    use serde_json::json;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    fn settings(value: Value) -> PluginSettings {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn names_that_lead_elsewhere_and_other_nonsense_are_refused() {
        settings(json!({"provider": "open-nebula_2", "sha256": "aB".repeat(32)})).check().unwrap();
        for (value, path) in [
            (json!({"provider": "../x"}), "provider"),
            (json!({"provider": ""}), "provider"),
            (json!({"provider": ".."}), "provider"),
            (json!({"folder": "plugins"}), "folder"),
            (json!({"sha256": "abc"}), "sha256"),
            (json!({"timeout_ms": 0}), "timeout_ms"),
            (json!({"create_timeout_ms": DAY_MS + 1}), "create_timeout_ms"),
        ] {
            let Err(Cause::Settings { path: refused, .. }) = settings(value).check() else {
                panic!("{path} is not refused")
            };
            assert_eq!(refused, path);
        }
    }

    #[test]
    fn secrets_are_read_from_private_files_and_never_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, "hunter2\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let settings = settings(json!({"secrets": {"token": file}}));
        let secrets = settings.read_secrets(&no_secrets()).ok().unwrap();
        assert_eq!(secrets.reveal(), [("token", "hunter2")].into());
        assert_eq!(secrets.redact("hunter2 is wrong"), "[secret] is wrong");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let error = settings.read_secrets(&no_secrets()).err().unwrap().to_string();
        assert!(error.contains("mode 0644, expected 0600"), "{error}");
        let unset = PluginSettings {
            secrets: [("token".to_owned(), "$NO_SUCH_VARIABLE_7".to_owned())].into(),
            ..PluginSettings::default()
        };
        let error = unset.read_secrets(&no_secrets()).err().unwrap().to_string();
        assert!(error.ends_with("NO_SUCH_VARIABLE_7 is not set"), "{error}");
    }

    #[test]
    fn a_secret_of_the_cluster_is_opened_when_it_is_needed() {
        let settings = settings(json!({"secrets": {"token": "secret:lab"}}));
        let sealed: SealedSecrets = Arc::new(|name| match name {
            "lab" => Ok(Zeroizing::new("hunter2".to_owned())),
            _ => Err("there is no such secret".to_owned()),
        });
        let secrets = settings.read_secrets(&sealed).ok().unwrap();
        assert_eq!(secrets.reveal(), [("token", "hunter2")].into());
        let error = settings.read_secrets(&no_secrets()).err().unwrap().to_string();
        assert!(error.starts_with("the secret \"token\" cannot be read: secret:lab: "), "{error}");
    }
}

//! Tokens: read when first needed, shown to nobody.

use std::fmt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::compute::Secrets;
use crate::compute::cloud::error::CloudCause;
use crate::compute::cloud::settings::CloudSettings;
use crate::compute::private_file;

/// Longest token: the longest of the five providers' (AWS session tokens) have about 1.5 KiB.
const LENGTH_MAX: u64 = 8 * 1024;

/// A secret text. It is wiped when it is dropped, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Zeroizing<String>);

impl Secret {
    pub(crate) fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The secret itself: for a header or a signature, and nothing else.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// `text` with the secret taken out, should a provider have repeated it.
    pub(super) fn redact(&self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { text.replace(self.0.as_str(), "[secret]") }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

/// Looks an environment variable up.
type Variables = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Where tokens come from besides files.
pub(super) struct Environment {
    variables: Variables,
    secrets: Secrets,
}

impl Environment {
    /// Variables by name, and the cluster's secrets.
    pub(super) fn new(
        variables: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
        secrets: Secrets,
    ) -> Self {
        Self { variables: Box::new(variables), secrets }
    }

    /// The value of an environment variable.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.variables)(name)
    }
}

/// The token of the first of `variables` that is set, else the one that `settings` lead to.
pub(super) fn token(
    variables: &[&str],
    named: &'static str,
    settings: &CloudSettings,
    environment: &Environment,
) -> Result<Secret, CloudCause> {
    let given = variables.iter().find_map(|variable| environment.variable(variable));
    if let Some(text) = given.map(Zeroizing::new).filter(|text| !text.trim().is_empty()) {
        return Ok(Secret::new(text.trim()));
    }
    stored(named, settings, environment)
}

/// What the secret or the file holds that `settings` name.
pub(super) fn stored(
    named: &'static str,
    settings: &CloudSettings,
    environment: &Environment,
) -> Result<Secret, CloudCause> {
    match (&settings.token_secret, &settings.token_file) {
        (Some(name), _) => {
            let refuse = |why| CloudCause::TokenSecret { name: name.clone(), why };
            let text = (environment.secrets)(name).map_err(refuse)?;
            match text.trim() {
                "" => Err(refuse("it is empty".to_owned())),
                trimmed => Ok(Secret::new(trimmed)),
            }
        }
        (None, Some(file)) => read(file),
        (None, None) => Err(CloudCause::NoToken { variables: named }),
    }
}

/// The text of a file that nobody else may read.
fn read(path: &Path) -> Result<Secret, CloudCause> {
    let refuse = |why: String| CloudCause::TokenFile { path: path.to_owned(), why };
    let text = private_file::read(path, LENGTH_MAX).map_err(refuse)?;
    match text.trim() {
        "" => Err(refuse("it is empty".to_owned())),
        trimmed => Ok(Secret::new(trimmed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    fn environment(variable: Option<&'static str>) -> Environment {
        let secrets: Secrets = Arc::new(|name| match name {
            "token" => Ok(Zeroizing::new("from-secret\n".to_owned())),
            _ => Err("there is no such secret".to_owned()),
        });
        Environment::new(move |name| variable.filter(|_| name == "T").map(str::to_owned), secrets)
    }

    #[test]
    fn the_environment_goes_before_the_secret_before_the_file_and_blanks_are_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, " from-file\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let settings = |secret: Option<&str>, file: Option<&Path>| CloudSettings {
            token_secret: secret.map(str::to_owned),
            token_file: file.map(Path::to_owned),
            ..CloudSettings::default()
        };
        let (both, only_file) = (settings(Some("token"), Some(&file)), settings(None, Some(&file)));
        for (variable, settings, expected) in [
            (Some("from-environment\n"), &both, "from-environment"),
            (Some(" "), &both, "from-secret"),
            (None, &both, "from-secret"),
            (None, &only_file, "from-file"),
        ] {
            let found = token(&["T"], "T", settings, &environment(variable)).unwrap();
            assert_eq!(found.reveal(), expected);
        }
        let error = token(&["T"], "T", &settings(None, None), &environment(None)).unwrap_err();
        assert!(error.to_string().contains("T is not set"), "{error}");
        let error = token(&["T"], "T", &settings(Some("x"), Some(&file)), &environment(None));
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "the secret \"x\" cannot be used: there is no such secret");
    }

    #[test]
    fn a_file_that_others_may_read_and_an_empty_one_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, "secret").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let error = read(&file).unwrap_err().to_string();
        assert!(error.contains("mode 0640, expected 0600") && !error.contains("secret"), "{error}");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, "\n").unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("it is empty"));
        assert!(read(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_secret_is_shown_to_nobody() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "Secret");
        assert_eq!(secret.redact("token hunter2 is wrong"), "token [secret] is wrong");
    }
}

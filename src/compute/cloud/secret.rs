//! Tokens: read when first needed, shown to nobody.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::compute::cloud::error::CloudCause;

/// Longest token: the longest of the five providers' (AWS session tokens) have about 1.5 KiB.
const LENGTH_MAX: usize = 8 * 1024;

/// A secret text. It is wiped when it is dropped, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(Zeroizing<String>);

impl Secret {
    pub(super) fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The secret itself: for a header or a signature, and nothing else.
    pub(super) fn reveal(&self) -> &str {
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
pub(super) type Environment = dyn Fn(&str) -> Option<String> + Send + Sync;

/// The token of the first of `variables` that is set, else that in `file`.
pub(super) fn token(
    variables: &[&str],
    named: &'static str,
    file: Option<&Path>,
    environment: &Environment,
) -> Result<Secret, CloudCause> {
    let given = variables.iter().find_map(|variable| environment(variable));
    if let Some(text) = given.filter(|text| !text.trim().is_empty()) {
        return Ok(Secret::new(text.trim()));
    }
    match file {
        Some(file) => read(file),
        None => Err(CloudCause::NoToken { variables: named }),
    }
}

/// The text of a file that nobody else may read.
pub(super) fn read(path: &Path) -> Result<Secret, CloudCause> {
    let refuse = |why: String| CloudCause::TokenFile { path: path.to_owned(), why };
    let metadata = fs::metadata(path).map_err(|error| refuse(error.to_string()))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(refuse(format!("others may read it (mode {mode:04o}, expected 0600)")));
    }
    if metadata.len() > LENGTH_MAX as u64 {
        return Err(refuse("it is too long for a token".to_owned()));
    }
    let text = fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| refuse(error.to_string()))?;
    match text.trim() {
        "" => Err(refuse("it is empty".to_owned())),
        trimmed => Ok(Secret::new(trimmed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn the_environment_goes_before_the_file_and_blanks_are_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, " from-file\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let set = |name: &str| (name == "T").then(|| "from-environment\n".to_owned());
        assert_eq!(token(&["T"], "T", Some(&file), &set).unwrap().reveal(), "from-environment");
        let blank = |_: &str| Some(" ".to_owned());
        assert_eq!(token(&["T"], "T", Some(&file), &blank).unwrap().reveal(), "from-file");
        assert_eq!(token(&["T"], "T", Some(&file), &nothing).unwrap().reveal(), "from-file");
        let error = token(&["T"], "T", None, &nothing).unwrap_err();
        assert!(error.to_string().contains("T is not set"), "{error}");
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

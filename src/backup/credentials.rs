//! What a place for backups asks for before it lets anybody in.

use zeroize::Zeroizing;

/// Credentials as one text. Wiped when dropped, and `Debug` does not show them.
#[derive(Clone)]
pub struct Credentials(Zeroizing<String>);

impl Credentials {
    /// `USER:PASSWORD`, a bearer token, or, of S3, the key's id, its secret and perhaps a session
    /// token, set apart by blanks.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.trim().to_owned()))
    }

    /// Login and password, where the text is that.
    pub(super) fn pair(&self) -> Option<(&str, &str)> {
        self.0.split_once(':')
    }

    /// The whole text.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Credentials")
    }
}

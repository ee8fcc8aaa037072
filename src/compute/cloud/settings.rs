//! The parameters that every cloud takes.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::compute::cloud::web::is_loopback;
use crate::compute::error::Cause;

/// As the configuration gives them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CloudSettings {
    /// The API's address, in the place of the provider's own.
    pub api: Option<String>,
    /// The cluster's secret with the token, where the environment has none.
    pub token_secret: Option<String>,
    /// A file of mode 0600 with the token, where neither has.
    pub token_file: Option<PathBuf>,
    /// Where machines are made.
    pub region: String,
    /// How large they are.
    pub size: String,
    /// What they boot from: a name, or the provider's id.
    pub image: String,
    /// The private network (VPC, subnet) that they are put on.
    pub network: Option<String>,
    /// The firewall, or security group, that they are put behind.
    pub firewall: Option<String>,
    /// Whether they get an IPv6 address.
    pub ipv6: bool,
    /// Tags to put on them besides raptor's own.
    pub tags: Vec<String>,
    /// How long a machine may take until it is there and lets us in.
    pub boot_timeout_ms: Option<u64>,
}

/// What the slowest of the providers needs for a machine on a bad day.
pub const BOOT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);

impl CloudSettings {
    /// How long a machine may take until it is there.
    pub(super) fn boot_timeout(&self) -> Duration {
        self.boot_timeout_ms.map_or(BOOT_TIMEOUT_DEFAULT, Duration::from_millis)
    }

    /// Refuses what no provider could make a machine from, and an API that would see the token in
    /// the clear.
    pub(crate) fn check(&self) -> Result<(), Cause> {
        let refuse =
            |path: &str, message: String| Err(Cause::Settings { path: path.to_owned(), message });
        for (path, value) in
            [("region", &self.region), ("size", &self.size), ("image", &self.image)]
        {
            let sound = |letter: char| !letter.is_whitespace() && !letter.is_control();
            if value.is_empty() || !value.chars().all(sound) {
                return refuse(path, format!("{value:?} is no {path}"));
            }
        }
        let Some(api) = &self.api else { return Ok(()) };
        let Ok(url) = reqwest::Url::parse(api) else {
            return refuse("api", format!("{api:?} is no address"));
        };
        if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(&url)) {
            let why =
                "expected https://, since the token goes there; http:// only to this computer";
            return refuse("api", why.to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(api: &str) -> CloudSettings {
        CloudSettings {
            api: Some(api.to_owned()),
            region: "fra1".to_owned(),
            size: "small".to_owned(),
            image: "debian".to_owned(),
            ..CloudSettings::default()
        }
    }

    #[test]
    fn a_token_goes_nowhere_in_the_clear() {
        for sound in ["https://api.example/v1", "http://127.0.0.1:80", "http://[::1]:1/v2"] {
            settings(sound).check().unwrap();
        }
        for unsafe_api in ["http://api.example", "http://127.0.0.1.example", "ftp://x", "x"] {
            assert!(settings(unsafe_api).check().is_err(), "{unsafe_api}");
        }
    }

    #[test]
    fn a_machine_needs_a_place_a_size_and_an_image() {
        let missing = CloudSettings { size: String::new(), ..settings("https://x") };
        let error = missing.check().unwrap_err().to_string();
        assert_eq!(error, "size: \"\" is no size");
    }
}

//! `[USER@]HOST[:PORT]`: where `ssh` should go.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An SSH destination. What is absent is left to the user's `ssh_config`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Destination {
    /// Login name.
    pub user: Option<String>,
    /// Host name, alias of `ssh_config`, or address (an IPv6 address without brackets).
    pub host: String,
    /// TCP port.
    pub port: Option<u16>,
}

/// The text is no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not [USER@]HOST[:PORT]: {why}")]
pub struct DestinationError {
    text: String,
    why: &'static str,
}

impl Destination {
    /// Whether the login is root's: nothing there needs `sudo` then.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.user.as_deref() == Some("root")
    }

    /// `[USER@]HOST`, as the `ssh` program takes it: the port goes into `-p`.
    #[must_use]
    pub fn login(&self) -> String {
        match &self.user {
            Some(user) => format!("{user}@{}", self.host),
            None => self.host.clone(),
        }
    }
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |why| DestinationError { text: text.chars().take(200).collect(), why };
        let (user, rest) = match text.rsplit_once('@') {
            Some(("", _)) => return Err(refuse("the user is empty")),
            Some((user, rest)) => (Some(user), rest),
            None => (None, text),
        };
        let (host, port) = split_port(rest).map_err(refuse)?;
        let unsafe_part = |part: &str| {
            part.starts_with('-')
                || part.chars().any(|letter| letter.is_whitespace() || letter.is_control())
        };
        if host.is_empty() {
            return Err(refuse("the host is empty"));
        }
        if unsafe_part(host) || user.is_some_and(unsafe_part) {
            return Err(refuse("a part starts with '-' or holds blanks"));
        }
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port })
    }
}

/// Splits `HOST`, `HOST:PORT`, `[V6]`, `[V6]:PORT` and a bare IPv6 address.
fn split_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    const BAD_PORT: &str = "the port is not 1 to 65535";
    let parse = |port: &str| match port.parse::<u16>() {
        Ok(0) | Err(_) => Err(BAD_PORT),
        Ok(port) => Ok(Some(port)),
    };
    if let Some(inner) = text.strip_prefix('[') {
        let (host, rest) = inner.split_once(']').ok_or("a '[' is not closed")?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, parse(port)?)),
            None if rest.is_empty() => Ok((host, None)),
            None => Err("text follows the ']'"),
        };
    }
    match text.split_once(':') {
        None => Ok((text, None)),
        Some((_, port)) if port.contains(':') => Ok((text, None)),
        Some((host, port)) => Ok((host, parse(port)?)),
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(formatter, "{user}@")?;
        }
        match (self.host.contains(':'), self.port) {
            (true, Some(port)) => write!(formatter, "[{}]:{port}", self.host),
            (false, Some(port)) => write!(formatter, "{}:{port}", self.host),
            (_, None) => formatter.write_str(&self.host),
        }
    }
}

impl TryFrom<String> for Destination {
    type Error = DestinationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        destination.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_written_form_is_understood_and_round_trips() {
        for (text, user, host, port) in [
            ("box", None, "box", None),
            ("root@box", Some("root"), "box", None),
            ("root@10.0.0.1:2222", Some("root"), "10.0.0.1", Some(2222)),
            ("fe80::1", None, "fe80::1", None),
            ("me@[fe80::1%eth0]:22", Some("me"), "fe80::1%eth0", Some(22)),
            ("me@corp@box", Some("me@corp"), "box", None),
        ] {
            let destination: Destination = text.parse().unwrap();
            assert_eq!(destination.user.as_deref(), user, "{text}");
            assert_eq!(destination.host, host, "{text}");
            assert_eq!(destination.port, port, "{text}");
            assert_eq!(destination.to_string().parse::<Destination>().unwrap(), destination);
        }
    }

    #[test]
    fn options_in_disguise_and_broken_ports_are_refused() {
        for text in [
            "",
            "@box",
            "root@",
            "-oProxyCommand=x",
            "a@-x",
            "box:",
            "box:0",
            "box:70000",
            "[::1",
            "[::1]x",
            "a b",
        ] {
            assert!(text.parse::<Destination>().is_err(), "{text}");
        }
    }
}

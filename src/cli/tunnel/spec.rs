//! What a door is asked to be, as it is written on the command line.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::str::FromStr;

/// A local address and port, written `[LOCAL:]PORT`; loopback unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalSpec(pub SocketAddr);

/// A local port and where it leads, written `[LOCAL:]PORT:NODE:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardSpec {
    /// Where connections are taken.
    pub local: SocketAddr,
    /// The member, as the user names it.
    pub node: String,
    /// The port on the member.
    pub port: u16,
}

/// Why a text is no door.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Too few or too many parts.
    #[error("expected [LOCAL:]PORT:NODE:PORT, as in 8080:web-1:80")]
    ForwardForm,
    /// Too many parts.
    #[error("expected [LOCAL:]PORT, as in 1080")]
    LocalForm,
    /// No port.
    #[error("{0:?} is no port; expected a number from {least} to 65535", least = .1)]
    Port(String, u16),
    /// No address.
    #[error(
        "{0:?} is no address of this computer to listen at; expected an IP address, localhost or *"
    )]
    Address(String),
    /// No member.
    #[error("the member is missing between the ports")]
    NoNode,
}

impl FromStr for LocalSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match parts(text).as_slice() {
            [port] => Ok(Self(local("localhost", port)?)),
            [address, port] => Ok(Self(local(address, port)?)),
            _ => Err(SpecError::LocalForm),
        }
    }
}

impl FromStr for ForwardSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (address, local_port, node, remote_port) = match *parts(text).as_slice() {
            [local_port, node, remote_port] => ("localhost", local_port, node, remote_port),
            [address, local_port, node, remote_port] => (address, local_port, node, remote_port),
            _ => return Err(SpecError::ForwardForm),
        };
        if node.is_empty() {
            return Err(SpecError::NoNode);
        }
        Ok(Self {
            local: local(address, local_port)?,
            node: node.to_owned(),
            port: port(remote_port, 1)?,
        })
    }
}

impl fmt::Display for ForwardSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} -> {}:{}", self.local, self.node, self.port)
    }
}

/// The parts between colons; colons in square brackets divide nothing, and the brackets are left
/// out.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut inside = false;
    for (index, letter) in text.char_indices() {
        match letter {
            '[' => inside = true,
            ']' => inside = false,
            ':' if !inside => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    let bare = |part: &'_ str| -> Option<(usize, usize)> {
        (part.starts_with('[') && part.ends_with(']') && part.len() >= 2)
            .then(|| (1, part.len() - 1))
    };
    parts.into_iter().map(|part| bare(part).map_or(part, |(from, to)| &part[from..to])).collect()
}

fn local(address: &str, port_text: &str) -> Result<SocketAddr, SpecError> {
    let port = port(port_text, 0)?;
    let ip = match address {
        "localhost" => IpAddr::from(Ipv4Addr::LOCALHOST),
        "*" | "" => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        other => other.parse().map_err(|_| SpecError::Address(other.to_owned()))?,
    };
    Ok(SocketAddr::new(ip, port))
}

fn port(text: &str, least: u16) -> Result<u16, SpecError> {
    let all_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|port| all_digits && *port >= least)
        .ok_or_else(|| SpecError::Port(text.to_owned(), least))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_are_read_as_ssh_reads_them() {
        for (text, shown) in [
            ("8080:web-1:80", "127.0.0.1:8080 -> web-1:80"),
            ("0:web-1:80", "127.0.0.1:0 -> web-1:80"),
            ("localhost:8080:web-1:80", "127.0.0.1:8080 -> web-1:80"),
            ("127.0.0.2:8080:web-1:80", "127.0.0.2:8080 -> web-1:80"),
            ("[::1]:8080:web-1:80", "[::1]:8080 -> web-1:80"),
            ("*:8080:web-1:80", "[::]:8080 -> web-1:80"),
            (":8080:web-1:80", "[::]:8080 -> web-1:80"),
            ("8080:[fc00::7]:80", "127.0.0.1:8080 -> fc00::7:80"),
        ] {
            assert_eq!(text.parse::<ForwardSpec>().unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_forward_says_why() {
        let port = |text: &str, least| SpecError::Port(text.to_owned(), least);
        for (text, error) in [
            ("", SpecError::ForwardForm),
            ("80", SpecError::ForwardForm),
            ("80:web-1", SpecError::ForwardForm),
            ("1:2:3:4:5", SpecError::ForwardForm),
            ("fc00::7:80:web-1:80", SpecError::ForwardForm),
            ("80::80", SpecError::NoNode),
            ("http:web-1:80", port("http", 0)),
            ("65536:web-1:80", port("65536", 0)),
            ("+1:web-1:80", port("+1", 0)),
            ("8080:web-1:0", port("0", 1)),
            ("8080:web-1:", port("", 1)),
            ("web-2:8080:web-1:80", SpecError::Address("web-2".to_owned())),
        ] {
            assert_eq!(text.parse::<ForwardSpec>(), Err(error), "{text}");
        }
        let told = SpecError::Port("0".to_owned(), 1).to_string();
        assert_eq!(told, "\"0\" is no port; expected a number from 1 to 65535");
    }

    #[test]
    fn a_local_door_is_on_loopback_unless_said_otherwise() {
        let read = |text: &str| text.parse::<LocalSpec>().map(|spec| spec.0.to_string());
        assert_eq!(read("1080").unwrap(), "127.0.0.1:1080");
        assert_eq!(read("*:1080").unwrap(), "[::]:1080");
        assert_eq!(read("a:b:c"), Err(SpecError::LocalForm));
    }
}

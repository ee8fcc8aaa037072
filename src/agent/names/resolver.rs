//! Leading the system's own resolver to the agent, and back again.
//!
//! Where systemd-resolved answers, it is told to ask the agent for the members' domain on the mesh
//! interface, which is forgotten with the interface. Elsewhere `resolv.conf` names the agent first
//! and the servers that were there before after it; the original is kept in the agent's folder and
//! put back at the end, or at the next start when there was no end.

use std::fs;
use std::io;
use std::io::ErrorKind;
use std::io::Write as _;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use crate::agent::names::answer::DOMAIN;
use crate::agent::names::answer::REVERSE_DOMAIN;
use crate::agent::outside::RUN_THROUGH;

/// Where programs find their servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Where systemd-resolved is asked (systemd-resolved.service(8)). The file outlives the service.
const RESOLVED_SOCKET: &str = "/run/systemd/resolve/io.systemd.Resolve";

/// The one port that `resolv.conf` can mean.
const DNS_PORT: u16 = 53;

/// First words of a `resolv.conf` of ours.
const MARK: &str = "# by raptor: the original comes back when the agent ends; it is kept in ";

/// How the system's resolver is led here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wiring {
    /// systemd-resolved, on this interface.
    Resolved {
        /// The mesh interface.
        interface: String,
    },
    /// `resolv.conf`; the original is kept here.
    ResolvConf {
        /// In the agent's folder.
        backup: PathBuf,
    },
    /// Not at all.
    Nothing {
        /// Why, and what can be done.
        why: String,
    },
}

/// The original `resolv.conf`, in the folder of the agent.
#[must_use]
pub fn backup_file(agent_folder: &Path) -> PathBuf {
    agent_folder.join("resolv.conf.original")
}

/// The servers that the system asks without us, who listen at `local`.
#[must_use]
pub fn upstreams(local: IpAddr) -> Vec<SocketAddr> {
    let text = fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    let others = servers(&text).into_iter().filter(|server| *server != local);
    others.map(|server| SocketAddr::new(server, DNS_PORT)).collect()
}

fn servers(resolv_conf: &str) -> Vec<IpAddr> {
    let words = resolv_conf.lines().map(str::split_whitespace);
    words
        .filter_map(|mut words| (words.next()? == "nameserver").then(|| words.next()).flatten())
        // A link-local server's zone has no place in an address.
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// Undoes what an agent that was killed left behind. To be called before anything reads
/// `resolv.conf`.
///
/// # Errors
/// The original cannot be put back.
pub fn recover(agent_folder: &Path) -> io::Result<()> {
    restore(&backup_file(agent_folder))
}

/// Whether systemd-resolved answers this system's programs.
#[must_use]
pub fn is_resolved_there() -> bool {
    UnixStream::connect(RESOLVED_SOCKET).is_ok()
}

/// Leads the system's resolver to `local`, in the way that suits this system. `interface` is the
/// mesh interface, when there is one; `may_write` says that `resolv.conf` may be changed.
#[must_use]
pub fn wire(
    local: SocketAddr,
    interface: Option<&str>,
    agent_folder: &Path,
    may_write: bool,
) -> Wiring {
    let nothing = |why: String| Wiring::Nothing {
        why: format!("{why}; send {DOMAIN} and {REVERSE_DOMAIN} there yourself"),
    };
    if is_resolved_there() {
        let Some(interface) = interface else {
            let why = "systemd-resolved takes servers for an interface, and there is none of ours";
            return nothing(why.to_owned());
        };
        return match tell_resolved(local, interface) {
            Ok(()) => Wiring::Resolved { interface: interface.to_owned() },
            Err(why) => nothing(format!("systemd-resolved: {why}")),
        };
    }
    if !may_write {
        return nothing("systemd-resolved does not run (dns.resolver)".to_owned());
    }
    if !is_of_this_network() {
        return nothing(format!("{RESOLV_CONF} may be that of programs in another network"));
    }
    if local.port() != DNS_PORT {
        return nothing(format!("{RESOLV_CONF} can only name servers at port {DNS_PORT}"));
    }
    let backup = backup_file(agent_folder);
    match rewrite(local.ip(), &backup) {
        Ok(()) => Wiring::ResolvConf { backup },
        Err(error) => nothing(format!("{RESOLV_CONF}: {error}")),
    }
}

/// Takes back what [`wire`] did.
///
/// # Errors
/// The original `resolv.conf` cannot be put back; the next start tries again.
pub fn unwire(wiring: &Wiring) -> io::Result<()> {
    match wiring {
        Wiring::Nothing { .. } => Ok(()),
        Wiring::Resolved { interface } => {
            // It forgets the interface anyway when that is gone.
            let _ = resolvectl(&["revert", interface]);
            Ok(())
        }
        Wiring::ResolvConf { backup } => restore(backup),
    }
}

/// Whether `resolv.conf` is known to be that of programs in this agent's network, and not shared
/// with others from whom a network namespace divides it: when the first process is in the same
/// network, or has another file. A confined unit of systemd cannot look at the first process, but
/// is in its network.
fn is_of_this_network() -> bool {
    if std::env::var_os(RUN_THROUGH).is_some_and(|through| through == "systemd") {
        return true;
    }
    let network = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    let file = |path: &str| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let [Some(first), Some(own)] = ["1", "self"].map(network) else { return false };
    let [first_file, own_file] = [&format!("/proc/1/root{RESOLV_CONF}"), RESOLV_CONF].map(file);
    // A file that is not there yet would be made where the first process may see it.
    first == own || own_file.is_some() && first_file.is_some() && first_file != own_file
}

fn tell_resolved(local: SocketAddr, interface: &str) -> Result<(), String> {
    let [members, addresses] = [DOMAIN, REVERSE_DOMAIN].map(|domain| format!("~{domain}"));
    resolvectl(&["dns", interface, &local.to_string()])?;
    resolvectl(&["domain", interface, &members, &addresses])?;
    resolvectl(&["default-route", interface, "no"])
}

fn resolvectl(words: &[&str]) -> Result<(), String> {
    let output = Command::new("resolvectl").args(words).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("resolvectl: {error}")),
    }
}

/// Puts our server before the others, after the original is safe.
fn rewrite(server: IpAddr, backup: &Path) -> io::Result<()> {
    let is_link = fs::symlink_metadata(RESOLV_CONF).is_ok_and(|found| found.is_symlink());
    if is_link {
        return Err(io::Error::other("it is a link: another program writes it"));
    }
    let original = match fs::read_to_string(RESOLV_CONF) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        read => read?,
    };
    let Some(original) = without_the_dead(&original, |backup| Path::new(backup).exists()) else {
        return Err(io::Error::other("it leads to another agent of this computer"));
    };
    keep(backup, original.as_bytes())?;
    let text = format!("{MARK}{}\nnameserver {server}\n{original}", backup.display());
    // In place: where it is mounted, as in containers, it cannot be replaced.
    fs::write(RESOLV_CONF, text)
}

/// What was there before us. None when another agent, whose backup `exists`, will still put that
/// back; one that was taken away with its folder never does.
fn without_the_dead(text: &str, exists: impl Fn(&str) -> bool) -> Option<&str> {
    let Some(marked) = text.strip_prefix(MARK) else { return Some(text) };
    let (backup, rest) = marked.split_once('\n').unwrap_or((marked, ""));
    let (_own_server, original) = rest.split_once('\n').unwrap_or((rest, ""));
    (!exists(backup)).then_some(original)
}

fn keep(backup: &Path, original: &[u8]) -> io::Result<()> {
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(backup)?;
    file.write_all(original)?;
    file.sync_all()
}

/// Puts the original back, unless somebody else has written another since.
fn restore(backup: &Path) -> io::Result<()> {
    let original = match fs::read(backup) {
        Ok(original) => original,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mark = format!("{MARK}{}\n", backup.display());
    // Cut short, as when the power went, it still begins as ours does.
    let found = fs::read(RESOLV_CONF).unwrap_or_default();
    if found.starts_with(mark.as_bytes()) || mark.as_bytes().starts_with(&found) {
        fs::write(RESOLV_CONF, original)?;
    }
    fs::remove_file(backup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_and_the_rest_is_left() {
        let text = "# nameserver 9.9.9.9\nsearch lan\nnameserver 192.0.2.1\n nameserver  2001:db8::1 \n\
                    nameserver fe80::1%eth0\nnameserver\noptions ndots:2\n";
        let expected: Vec<IpAddr> =
            ["192.0.2.1", "2001:db8::1"].map(|address| address.parse().unwrap()).to_vec();
        assert_eq!(servers(text), expected);
    }

    #[test]
    fn what_an_agent_left_that_is_gone_is_taken_for_what_it_is() {
        let text = format!("{MARK}/gone/backup\nnameserver 127.0.0.153\nnameserver 192.0.2.1\n");
        assert_eq!(without_the_dead(&text, |_| false), Some("nameserver 192.0.2.1\n"));
        assert_eq!(without_the_dead(&text, |backup| backup == "/gone/backup"), None);
        assert_eq!(without_the_dead("nameserver ::1\n", |_| true), Some("nameserver ::1\n"));
        assert_eq!(without_the_dead(MARK, |_| false), Some(""));
    }
}

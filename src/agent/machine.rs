//! What the agent finds out about the machine it runs on.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::agent::metrics::Family;
use crate::agent::metrics::Kind;
use crate::agent::metrics::count;

/// How long an `sshd` on the machine itself may take to greet.
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);

/// `USER_HZ`, the unit of times in `/proc`: the same on every architecture that Linux and this
/// program share.
const TICKS_PER_SECOND: f64 = 100.0;

/// The operating system's own name for itself, from `/etc/os-release`.
#[must_use]
pub fn os_name() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    pretty_name(&text).unwrap_or_else(|| std::env::consts::OS.to_owned())
}

fn pretty_name(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.chars().take(100).collect())
}

/// Whether an SSH server answers on `port` of the machine itself (RFC 4253, section 4.2).
pub async fn greets_as_ssh(port: u16) -> bool {
    let greeting = async {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
        let mut start = [0u8; 4];
        socket.read_exact(&mut start).await.ok()?;
        Some(&start == b"SSH-")
    };
    timeout(GREETING_TIMEOUT, greeting).await.ok().flatten().unwrap_or(false)
}

/// What Prometheus' own clients tell of their process, as far as `/proc` tells it.
#[must_use]
pub fn process_metrics() -> Vec<Family> {
    let mut families = Vec::new();
    let mut add = |name: &str, kind: Kind, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            families.push(Family::new(name, kind, help).with(&[], value));
        }
    };
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields by their number in proc_pid_stat(5); the second may hold blanks.
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok().map(count);
    let cpu = field(14).zip(field(15)).map(|(user, system)| (user + system) / TICKS_PER_SECOND);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    let resident = resident.map(|kilobytes: u64| count(kilobytes * 1024));
    add("process_cpu_seconds_total", Kind::Counter, "Processor time spent.", cpu);
    add("process_resident_memory_bytes", Kind::Gauge, "Memory in use.", resident);
    let files = std::fs::read_dir("/proc/self/fd").ok().map(|files| count(files.count() as u64));
    add("process_open_fds", Kind::Gauge, "Open file descriptors.", files);
    families
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_tells_of_itself() {
        let names = |families: Vec<Family>| -> Vec<(String, f64)> {
            families.into_iter().map(|family| (family.name, family.samples[0].value)).collect()
        };
        let told = names(process_metrics());
        assert_eq!(told.len(), 3, "{told:?}");
        // A test's process is larger than a megabyte and has its standard streams open.
        assert!(told[1].1 > 1e6 && told[1].1 < 1e11, "{told:?}");
        assert!(told[2].1 >= 3.0, "{told:?}");
    }

    #[test]
    fn the_pretty_name_is_read_with_and_without_quotes() {
        let quoted = "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n";
        assert_eq!(pretty_name(quoted).as_deref(), Some("Debian GNU/Linux 13 (trixie)"));
        assert_eq!(pretty_name("PRETTY_NAME=Alpine"), Some("Alpine".to_owned()));
        assert_eq!(pretty_name("NAME=x"), None);
    }

    #[tokio::test]
    async fn only_an_ssh_greeting_counts() {
        use tokio::io::AsyncWriteExt;
        for (greeting, counts) in [(&b"SSH-2.0-x\r\n"[..], true), (b"HTTP/1.1", false)] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = tokio::spawn(async move {
                let (mut socket, _) = listener.accept().await.unwrap();
                socket.write_all(greeting).await.unwrap();
            });
            assert_eq!(greets_as_ssh(port).await, counts);
            server.await.unwrap();
        }
    }
}

//! What the agent finds out about the machine it runs on.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an `sshd` on the machine itself may take to greet.
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);

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

#[cfg(test)]
mod tests {
    use super::*;

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

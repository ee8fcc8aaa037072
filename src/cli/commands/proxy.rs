//! `raptor proxy`

use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::agent::dial;
use crate::cli::connection;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::cli::output::print;
use crate::cli::output::table::printable;
use crate::cli::output::tell;
use crate::cli::tunnel::door;
use crate::cli::tunnel::door::Door;
use crate::cli::tunnel::socks;
use crate::cli::tunnel::socks::Host;
use crate::cli::tunnel::socks::Login;
use crate::cli::tunnel::socks::Reply;
use crate::cli::tunnel::spec::LocalSpec;
use crate::http::client::ApiClient;
use crate::http::client::ClientError;
use crate::model::name::Name;

/// How long a client may take to say where it wants to go.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a destination outside the mesh may take to answer.
const DIRECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The domain of the members' names.
const DOMAIN: &str = "raptor";

/// First byte of every mesh address.
const MESH_PREFIX: u8 = 0xfc;

/// Reach every port of every member through a SOCKS5 proxy
///
/// Programs that speak SOCKS5 and leave the names to the proxy reach NODE.raptor,
/// NODE.CLUSTER.raptor and the members' addresses, without root and without a network device.
/// Anything else is refused unless --direct is given. Runs until Ctrl-C.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor proxy 1080
  curl --socks5-hostname 127.0.0.1:1080 http://web-1.raptor/
  ssh -o ProxyCommand='nc -X 5 -x 127.0.0.1:1080 %h %p' web-1.raptor
  raptor proxy 1080 --direct                         for a browser: the rest of the world, too
  raptor proxy '*:1080' --login-file proxy-login     for others, who must log in")]
pub struct ProxyArguments {
    /// Where connections are taken [default address: loopback]
    #[arg(value_name = "[LOCAL:]PORT")]
    pub local: LocalSpec,

    /// Connect to what is no member, too, from this computer
    #[arg(long)]
    pub direct: bool,

    /// A file with one line, NAME:PASSWORD, that clients must log in with
    #[arg(long, value_name = "FILE")]
    pub login_file: Option<PathBuf>,
}

/// What every connection needs.
struct Proxy {
    client: ApiClient,
    cluster: Name,
    direct: bool,
    login: Option<Login>,
}

/// Where a request leads.
#[derive(Debug, PartialEq, Eq)]
enum Destination {
    /// To a member, by name or address.
    Member(String),
    /// Elsewhere.
    Outside,
    /// Nowhere: the name is of our domain and names nobody.
    Nobody,
}

/// Opens the port, then carries connections until the program ends.
///
/// # Errors
/// No agent answers, or the port cannot be had.
pub async fn run(
    invocation: &Invocation,
    arguments: ProxyArguments,
) -> Result<ExitStatus, CliError> {
    let LocalSpec(wanted) = arguments.local;
    let login = arguments.login_file.as_deref().map(read_login).transpose()?;
    if login.is_none() && !wanted.ip().is_loopback() {
        return Err(CliError::usage(format!(
            "{wanted} would let everybody who reaches this computer into the mesh"
        ))
        .with_hint("add --login-file FILE, or leave the address out"));
    }
    let connection = connection::open(invocation).await?;
    let cluster = connection.status.cluster.clone();
    if invocation.dry_run {
        return told(invocation, wanted, &cluster).map(|()| ExitStatus::DONE);
    }
    let door = Door::open(invocation, wanted).await?;
    told(invocation, door.local, &cluster)?;
    let client = connection.client.clone();
    let proxy = Arc::new(Proxy { client, cluster, direct: arguments.direct, login });
    door.serve(move |socket| Arc::clone(&proxy).serve(socket)).await
}

fn told(
    invocation: &Invocation,
    local: std::net::SocketAddr,
    cluster: &Name,
) -> Result<(), CliError> {
    if invocation.format.is_json() {
        return print(&format!("{}\n", json!({ "local": local, "cluster": cluster })));
    }
    print(&format!("{local} -> *.{DOMAIN}, *.{cluster}.{DOMAIN}\n"))
}

fn read_login(path: &Path) -> Result<Login, CliError> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| CliError::file("read", path, &error))?;
    let (user, password) = text
        .trim_end_matches(['\r', '\n'])
        .split_once(':')
        .filter(|(user, password)| {
            [user, password].iter().all(|word| (1..=255).contains(&word.len()))
        })
        .ok_or_else(|| CliError::user(format!("{} holds no line NAME:PASSWORD", path.display())))?;
    Ok(Login { user: user.to_owned(), password: password.to_owned().into() })
}

impl Proxy {
    async fn serve(self: Arc<Self>, mut socket: TcpStream) {
        let greeting = socks::greet(&mut socket, self.login.as_ref());
        let (host, port) = match timeout(GREETING_TIMEOUT, greeting).await {
            Ok(Ok(wanted)) => wanted,
            Ok(Err(socks::SocksError::Gone(_))) => return,
            Ok(Err(error)) => return tell(&error.to_string()),
            Err(_) => return tell("a client did not say in time where it wants to go"),
        };
        let refused = match destination(&host, &self.cluster) {
            Destination::Member(node) => match door::reach(&self.client, &node, port).await {
                Ok(far) => {
                    if socks::reply(&mut socket, Reply::Done).await.is_ok() {
                        door::join(socket, far).await;
                    }
                    return;
                }
                Err(error) => {
                    tell(&error.to_string());
                    reply_to(&error)
                }
            },
            Destination::Outside if self.direct => match direct(&host, port).await {
                Ok(far) => {
                    if socks::reply(&mut socket, Reply::Done).await.is_ok() {
                        // Either end may go at any time, and knows so itself.
                        let _ = dial::carry(socket, far).await;
                    }
                    return;
                }
                Err(reply) => reply,
            },
            Destination::Outside => {
                let host = shown(&host);
                tell(&format!("{host} is no member of {}; --direct lets through", self.cluster));
                Reply::NotAllowed
            }
            Destination::Nobody => {
                tell(&format!("{} names no member of {}", shown(&host), self.cluster));
                Reply::Unreachable
            }
        };
        // A client that is gone needs no answer.
        let _ = socks::reply(&mut socket, refused).await;
    }
}

fn shown(host: &Host) -> String {
    match host {
        Host::Name(name) => printable(name),
        Host::Address(address) => address.to_string(),
    }
}

/// Who is meant by `host`, seen from `cluster`.
fn destination(host: &Host, cluster: &Name) -> Destination {
    let name = match host {
        Host::Address(IpAddr::V6(address)) if address.octets()[0] == MESH_PREFIX => {
            return Destination::Member(address.to_string());
        }
        Host::Address(_) => return Destination::Outside,
        Host::Name(name) => name.to_ascii_lowercase(),
    };
    let name = name.strip_suffix('.').unwrap_or(&name);
    if let Ok(address) = name.parse::<IpAddr>() {
        return destination(&Host::Address(address), cluster);
    }
    let mut labels = name.rsplit('.');
    if labels.next() != Some(DOMAIN) {
        return Destination::Outside;
    }
    let labels: Vec<&str> = labels.collect();
    let node = match labels.as_slice() {
        [node] => node,
        [of, node] if *of == cluster.as_str() => node,
        _ => return Destination::Nobody,
    };
    // Words that are no names could be read as beginnings of ids.
    node.parse::<Name>().map_or(Destination::Nobody, |name| Destination::Member(name.to_string()))
}

async fn direct(host: &Host, port: u16) -> Result<TcpStream, Reply> {
    let connecting = async {
        match host {
            Host::Name(name) => TcpStream::connect((name.as_str(), port)).await,
            Host::Address(address) => TcpStream::connect((*address, port)).await,
        }
    };
    match timeout(DIRECT_TIMEOUT, connecting).await {
        Ok(Ok(socket)) => Ok(socket),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Err(Reply::Refused)
        }
        Ok(Err(_)) | Err(_) => Err(Reply::Unreachable),
    }
}

fn reply_to(error: &ClientError) -> Reply {
    let ClientError::Refused { error, .. } = error else { return Reply::Failed };
    match error.code.as_str() {
        "refused" => Reply::Refused,
        "not_found" | "unavailable" => Reply::Unreachable,
        _ => Reply::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(host: &str) -> Destination {
        destination(&Host::Name(host.to_owned()), &"lab".parse().unwrap())
    }

    #[test]
    fn members_are_named_in_the_domain_and_nowhere_else() {
        let member = |name: &str| Destination::Member(name.to_owned());
        assert_eq!(leads("web-1.raptor"), member("web-1"));
        assert_eq!(leads("WEB-1.Lab.Raptor."), member("web-1"));
        assert_eq!(leads("fc00::1"), member("fc00::1"));
        for nobody in ["raptor", "web-1.other.raptor", "a.web-1.lab.raptor", ".raptor", "-.raptor"]
        {
            assert_eq!(leads(nobody), Destination::Nobody, "{nobody}");
        }
        for outside in ["web-1", "example.org", "raptor.example.org", "xraptor", "", "10.0.0.1"] {
            assert_eq!(leads(outside), Destination::Outside, "{outside}");
        }
        let address = |text: &str| {
            destination(&Host::Address(text.parse().unwrap()), &"lab".parse().unwrap())
        };
        assert_eq!(address("fc12::7"), member("fc12::7"));
        assert_eq!(address("fd12::7"), Destination::Outside);
        assert_eq!(address("127.0.0.1"), Destination::Outside);
    }
}

//! `raptor ssh`

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::agent::api::SshInfo;
use crate::agent::cluster_key::CLUSTER_KEY;
use crate::agent::perform::settings::spawned_key_file;
use crate::cli::connection;
use crate::cli::connection::Connection;
use crate::cli::endpoint::Endpoint;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::cli::quote::quote_for_ssh_option;
use crate::cli::secrets;
use crate::cli::terminal::session;
use crate::config::home::Home;
use crate::model::member::Status;
use crate::ssh::known_hosts::KnownHosts;
use crate::ssh::quote::quote;
use crate::ssh::quote::quote_all;
use crate::ssh::secret_file::SecretFile;

/// How long an address may take to answer before the way through the members is taken.
const DIRECT_TIMEOUT: Duration = Duration::from_millis(700);

/// What every SSH server says first (RFC 4253, section 4.2).
const BANNER: &[u8; 4] = b"SSH-";

/// Open a shell on a member
///
/// Your own ssh is used where an sshd answers, through other members where it cannot be reached
/// directly; elsewhere a terminal through the agent. Words after `--` are joined with blanks and
/// run by the shell there, as ssh does. The exit status is that of the shell or command.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor ssh                      the first member that answers
  raptor ssh web-1
  raptor ssh web-1 -- journalctl -f
  raptor ssh web-1 --info-only    print the command to run, for scp or rsync, too")]
pub struct SshArguments {
    /// Name, id or unique beginning of an id
    pub node: Option<String>,

    /// Print the command that would be run; 1 when there is none
    #[arg(long)]
    pub info_only: bool,

    /// A command to run instead of a shell
    #[arg(last = true, value_name = "CMD")]
    pub argv: Vec<String>,
}

/// Opens a shell.
///
/// # Errors
/// No agent answers, no member is meant, or no shell can be had.
pub async fn run(invocation: &Invocation, arguments: SshArguments) -> Result<ExitStatus, CliError> {
    let connection = connection::open(invocation).await?;
    let node = match arguments.node {
        Some(node) => node,
        None => first_alive(invocation, &connection).await?,
    };
    let info = connection.client.ssh_info(&node).await?;
    let shows = arguments.info_only || invocation.dry_run;
    let Some(port) = info.port else {
        if shows {
            return Err(CliError::user(format!("no sshd answers on {}", info.name)).with_hint(
                format!("`raptor ssh {}` opens a terminal through its agent", info.name),
            ));
        }
        return session::run(&connection.client, &node, shell(&arguments.argv)).await;
    };
    let direct = first_reachable(&info.hosts, port).await;
    if !info.host_keys.is_empty() {
        let path = invocation.known_hosts();
        let known = KnownHosts::new(&path).set(&alias(&info), &info.host_keys);
        known.map_err(|error| CliError::file("write", &path, &error))?;
    }
    let words = command(invocation, &info, port, direct, &arguments.argv)?;
    let key = if shows { None } else { cluster_key(invocation, &connection, &info).await };
    if shows {
        let text = format!("{}\n", quote_all(&words));
        invocation.print_plan(&text, &serde_json::json!({ "command": words }))?;
        return Ok(ExitStatus::DONE);
    }
    // Nothing of ours may linger: from here on this process is ssh.
    drop(connection);
    if let Some(key) = key {
        // The key lives as long as this process does.
        let path = key.path().display().to_string();
        let mut child = std::process::Command::new(&words[0]);
        child.args(["-o", &format!("IdentityFile={path}")]).args(&words[1..]);
        let ended = child.status().map_err(|error| no_ssh(&error))?;
        return Ok(ExitStatus::of_program(ended.code().unwrap_or(255)));
    }
    let error = std::process::Command::new(&words[0]).args(&words[1..]).exec();
    Err(no_ssh(&error))
}

fn no_ssh(error: &std::io::Error) -> CliError {
    CliError::user(format!("cannot run ssh: {error}")).with_hint("is openssh-client installed?")
}

/// The cluster's own key, for a machine that was made, when this home may have it.
async fn cluster_key(
    invocation: &Invocation,
    connection: &Connection,
    info: &SshInfo,
) -> Option<SecretFile> {
    info.intent?;
    let document = connection.client.document().await.ok()?;
    let secrets = secrets::open(invocation, &document, connection.status.cluster_id).ok()?;
    SecretFile::new(&secrets(CLUSTER_KEY).ok()?).ok()
}

async fn first_alive(invocation: &Invocation, connection: &Connection) -> Result<String, CliError> {
    let mut members = connection.client.members().await?;
    members.retain(|member| member.status == Status::Alive);
    let first = members.iter().map(|member| &member.name).min();
    let first = first.ok_or_else(|| CliError::remote("no member is alive"))?;
    invocation.note(&format!("{first}:"));
    Ok(first.to_string())
}

/// What the far agent runs: nothing for a login shell, else the words as `ssh` would run them.
fn shell(argv: &[String]) -> Vec<String> {
    if argv.is_empty() {
        return Vec::new();
    }
    vec!["sh".to_owned(), "-c".to_owned(), argv.join(" ")]
}

/// The `ssh` to run. The host key is looked up by the member's id, so that it holds whichever way
/// the member is reached, and addresses that others use, too, do no harm.
fn command(
    invocation: &Invocation,
    info: &SshInfo,
    port: u16,
    direct: Option<IpAddr>,
    argv: &[String],
) -> Result<Vec<String>, CliError> {
    let known_hosts = invocation.known_hosts().display().to_string();
    let strictness = if info.host_keys.is_empty() { "accept-new" } else { "yes" };
    let mut words = vec![
        "ssh".to_owned(),
        "-p".to_owned(),
        port.to_string(),
        "-o".to_owned(),
        format!("HostKeyAlias={}", alias(info)),
        "-o".to_owned(),
        format!("UserKnownHostsFile={}", quote_option_path(&known_hosts)),
        "-o".to_owned(),
        format!("StrictHostKeyChecking={strictness}"),
    ];
    // Offered besides the user's own keys: it opens what this home's back-ends made.
    let key_file = spawned_key_file(&Home::new(&invocation.home));
    if info.intent.is_some() && key_file.exists() {
        let path = quote_option_path(&key_file.display().to_string());
        words.extend(["-o".to_owned(), format!("IdentityFile={path}")]);
    }
    for path in known_keys(invocation) {
        let path = quote_option_path(&path.display().to_string());
        words.extend(["-o".to_owned(), format!("IdentityFile={path}")]);
    }
    if let Some(user) = &info.user {
        words.extend(["-l".to_owned(), user.clone()]);
    }
    let host = if let Some(address) = direct {
        address.to_string()
    } else {
        words.extend(["-o".to_owned(), proxy_option(invocation, info, port)?]);
        info.name.to_string()
    };
    words.extend(["--".to_owned(), host]);
    words.extend(argv.iter().cloned());
    Ok(words)
}

/// The keys with which machines of known clusters were taken over.
fn known_keys(invocation: &Invocation) -> BTreeSet<PathBuf> {
    // A list that cannot be read was complained of when the agent was looked for.
    let contexts = connection::read_contexts(invocation).unwrap_or_default();
    let ways = contexts.contexts.into_values().flat_map(|context| context.connections);
    ways.filter_map(|endpoint| match endpoint {
        Endpoint::Ssh(way) => way.identity_file,
        _ => None,
    })
    .collect()
}

/// The name under which the machine's host key is known: the one under which it was first seen.
fn alias(info: &SshInfo) -> String {
    info.intent.map_or_else(|| info.node.to_string(), |intent| intent.to_string())
}

fn proxy_option(invocation: &Invocation, info: &SshInfo, port: u16) -> Result<String, CliError> {
    let program = std::env::current_exe()
        .map_err(|error| CliError::bug(format!("cannot find my own program file: {error}")))?;
    let mut words = vec![
        program.display().to_string(),
        "--home".to_owned(),
        invocation.home.display().to_string(),
    ];
    if let Some(cluster) = &invocation.cluster {
        words.extend(["--cluster".to_owned(), cluster.to_string()]);
    }
    if let Some(endpoint) = &invocation.connect {
        words.extend(["--connect".to_owned(), endpoint.to_string()]);
    }
    words.extend(["connect-stream".to_owned(), info.node.to_string(), port.to_string()]);
    let quoted: Vec<String> = words.iter().map(|word| quote_for_ssh_option(word)).collect();
    Ok(format!("ProxyCommand={}", quoted.join(" ")))
}

/// A path in an option of `ssh`: `%` starts a token, and blanks need double quotes.
fn quote_option_path(path: &str) -> String {
    let escaped = path.replace('%', "%%");
    if quote(&escaped) == escaped { escaped } else { format!("\"{escaped}\"") }
}

/// The first address at which an SSH server answers. Addresses that every machine has are left
/// out: another machine would answer there.
async fn first_reachable(hosts: &[IpAddr], port: u16) -> Option<IpAddr> {
    let own = |host: &IpAddr| match host {
        IpAddr::V4(host) => host.is_loopback() || host.is_unspecified() || host.is_link_local(),
        IpAddr::V6(host) => {
            host.is_loopback() || host.is_unspecified() || host.is_unicast_link_local()
        }
    };
    for host in hosts.iter().filter(|host| !own(host)) {
        let greets = tokio::time::timeout(DIRECT_TIMEOUT, greets(SocketAddr::new(*host, port)));
        if greets.await.unwrap_or(false) {
            return Some(*host);
        }
    }
    None
}

async fn greets(address: SocketAddr) -> bool {
    let mut banner = [0; BANNER.len()];
    match TcpStream::connect(address).await {
        Ok(mut stream) => stream.read_exact(&mut banner).await.is_ok() && banner == *BANNER,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::arguments::Arguments;
    use crate::model::identity::testing::key;

    fn invocation() -> Invocation {
        let words = ["raptor", "--home", "/a b/100%", "-c", "two", "ssh"];
        Invocation::new(Arguments::parse_from(words).global).unwrap()
    }

    fn info() -> SshInfo {
        SshInfo {
            node: key(0).node_id(),
            name: "web-1".parse().unwrap(),
            port: Some(2222),
            user: Some("root".to_owned()),
            intent: None,
            host_keys: Vec::new(),
            hosts: Vec::new(),
            labels: std::collections::BTreeMap::default(),
        }
    }

    #[test]
    fn the_way_through_members_is_a_proxy_command() {
        let words = command(&invocation(), &info(), 2222, None, &["ls".to_owned()]).unwrap();
        let proxy = words.iter().find(|word| word.starts_with("ProxyCommand=")).unwrap();
        let tail = format!("--cluster two connect-stream {} 2222", info().node);
        assert!(proxy.contains("--home '/a b/100%%'") && proxy.ends_with(&tail), "{proxy}");
        assert!(words.contains(&"UserKnownHostsFile=\"/a b/100%%/known_hosts\"".to_owned()));
        assert!(words.ends_with(&["--".to_owned(), "web-1".to_owned(), "ls".to_owned()]));
    }

    #[test]
    fn a_reachable_member_is_dialled_directly_under_its_own_host_key() {
        let direct = "10.0.0.7".parse().ok();
        let words = command(&invocation(), &info(), 2222, direct, &[]).unwrap();
        assert!(!words.iter().any(|word| word.starts_with("ProxyCommand=")));
        assert!(words.contains(&format!("HostKeyAlias={}", info().node)));
        assert_eq!(words.last().unwrap(), "10.0.0.7");
    }

    #[tokio::test]
    async fn addresses_of_every_machine_are_not_dialled() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(first_reachable(&["127.0.0.1".parse().unwrap()], port).await, None);
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "the loopback address was dialled");
    }
}

//! How a connection stands, is refused, breaks and ends.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command as Process, Stdio};

use crate::ssh::error::{Cause, HostError};
use crate::ssh::host::{Command, Host};
use crate::ssh::known_hosts::KnownHosts;
use crate::ssh::openssh::OpenSshHost;
use crate::ssh::secret_file::SecretFile;
use crate::ssh::target::SshTarget;
use crate::ssh::testing::{Sshd, eventually, free_port, make_key};

async fn refused(target: SshTarget) -> HostError {
    match OpenSshHost::connect(target).await {
        Ok(_) => panic!("the connection stands"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_first_connection_records_the_host_key() {
    let sshd = Sshd::start();
    let host = OpenSshHost::connect(sshd.target()).await.unwrap();
    assert_eq!(host.name(), "box");
    assert_eq!(host.host_keys().await, [sshd.host_key()]);
}

#[tokio::test]
async fn an_alias_is_the_name_of_the_key() {
    let sshd = Sshd::start();
    let mut target = sshd.target();
    target.host_key_alias = Some("web-1".to_owned());
    let host = OpenSshHost::connect(target).await.unwrap();
    assert_eq!(host.host_keys().await, [sshd.host_key()]);
    assert_eq!(KnownHosts::new(sshd.path("known_hosts")).keys("web-1").unwrap().len(), 1);
}

#[tokio::test]
async fn a_changed_key_is_refused_with_file_and_line() {
    let (sshd, other) = (Sshd::start(), Sshd::start());
    let known = KnownHosts::new(sshd.path("known_hosts"));
    known.set("elsewhere", &[other.host_key()]).unwrap();
    known.set(&sshd.key_name(), &[other.host_key()]).unwrap();
    let error = refused(sshd.target()).await;
    assert_eq!(error.to_string(), "box: connecting failed");
    let path = sshd.path("known_hosts");
    assert_eq!(
        error.cause.to_string(),
        format!("the host key has changed: {} line 2 holds another ED25519 key", path.display())
    );
    assert!(error.hint().contains(&format!("remove line 2 of {}", path.display())));
    assert_eq!(sshd.ssh_processes(), Vec::<String>::new());
}

#[tokio::test]
async fn keys_known_beforehand_are_the_only_ones_accepted() {
    let (sshd, other) = (Sshd::start(), Sshd::start());
    let mut target = sshd.target();
    target.host_keys = vec![sshd.host_key()];
    OpenSshHost::connect(target.clone()).await.unwrap();
    target.host_keys = vec![other.host_key()];
    assert!(matches!(refused(target).await.cause, Cause::HostKeyNotRecorded));
}

#[tokio::test]
async fn a_refused_login_says_what_the_host_accepts() {
    let sshd = Sshd::start();
    make_key(&sshd.path("stranger"));
    let mut target = sshd.target();
    target.identity_file = Some(sshd.path("stranger"));
    let error = refused(target).await;
    assert_eq!(error.cause.to_string(), "the login was refused; the host accepts: publickey");
    assert!(error.hint().contains("authorized_keys"));
}

#[tokio::test]
async fn a_key_in_memory_logs_in_beside_one_that_does_not() {
    let sshd = Sshd::start();
    make_key(&sshd.path("stranger"));
    let mut target = sshd.target();
    target.identity_file = Some(sshd.path("stranger"));
    let text = std::fs::read_to_string(sshd.path("client")).unwrap();
    target.secret_key = Some(std::sync::Arc::new(SecretFile::new(&text).unwrap()));
    let host = OpenSshHost::connect(target).await.unwrap();
    let output = host.run(Command::new(["echo", "in"])).await.unwrap();
    assert_eq!(output.stdout, b"in\n");
}

#[tokio::test]
async fn refused_and_unknown_hosts_are_told_apart() {
    let sshd = Sshd::start();
    let mut target = sshd.target();
    target.destination.port = Some(free_port());
    let error = refused(target.clone()).await;
    assert!(matches!(error.cause, Cause::Refused { .. }), "{:?}", error.cause);
    target.destination.host = "no-such-host.invalid".to_owned();
    let error = refused(target).await;
    assert_eq!(error.cause.to_string(), "the host name no-such-host.invalid is not known");
}

#[tokio::test]
async fn a_wrong_option_is_the_clients_fault() {
    let sshd = Sshd::start();
    let mut target = sshd.target();
    target.options = vec!["Nonsense=1".to_owned()];
    assert!(matches!(refused(target).await.cause, Cause::Client { .. }));
}

#[tokio::test]
async fn hosts_behind_a_jump_host_are_reached_and_told_from_it() {
    let (hop, behind) = (Sshd::start(), Sshd::start());
    let mut target = behind.target();
    std::fs::copy(hop.path("client"), behind.path("hop")).unwrap();
    let (key, known) = (hop.path("client"), behind.path("known_to_hop"));
    let configuration =
        format!("IdentityFile {}\nUserKnownHostsFile {}\n", key.display(), known.display());
    std::fs::write(behind.path("ssh_config"), configuration).unwrap();
    target.via = vec![hop.target().destination];
    let host = OpenSshHost::connect(target.clone()).await.unwrap();
    let output = host.run(Command::new(["echo", "through"])).await.unwrap();
    assert_eq!(output.stdout, b"through\n");
    drop(host);
    eventually("the inner ssh ends", || behind.ssh_processes().is_empty());

    let mut beyond = target.clone();
    beyond.destination.port = Some(free_port());
    let error = refused(beyond).await;
    assert!(matches!(error.cause, Cause::Refused { .. }), "{:?}", error.cause);

    target.via[0].port = Some(free_port());
    let error = refused(target).await;
    let Cause::JumpHost { jump, cause } = &error.cause else { panic!("{:?}", error.cause) };
    assert!(jump.contains("127.0.0.1") && matches!(**cause, Cause::Refused { .. }));
}

#[tokio::test]
async fn dropping_the_host_ends_its_master() {
    let sshd = Sshd::start();
    let host = OpenSshHost::connect(sshd.target()).await.unwrap();
    assert_eq!(sshd.ssh_processes().len(), 1);
    drop(host);
    assert_eq!(sshd.ssh_processes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_lost_connection_is_said_and_not_waited_for() {
    let sshd = Sshd::start();
    let host = OpenSshHost::connect(sshd.target()).await.unwrap();
    let cut = async {
        let marker = sshd.path("running");
        while !marker.exists() {
            tokio::task::yield_now().await;
        }
        sshd.cut_connections();
    };
    let script = format!("touch {}; sleep 600", sshd.path("running").display());
    let (result, ()) = tokio::join!(host.run(Command::new(["sh", "-c", &script])), cut);
    assert!(matches!(result.unwrap_err().cause, Cause::Disconnected { .. }));
    let error = host.run(Command::new(["true"])).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Disconnected { .. }), "{:?}", error.cause);
}

/// Run by the next test in a process of its own, with the server's folder in the environment.
#[tokio::test]
#[ignore = "a part of killed_outright_leaves_no_ssh"]
async fn connect_and_wait() {
    // Alone, with all that is ignored, it has nothing to connect to and nothing to prove.
    let Ok(target) = std::env::var("RAPTOR_TEST_TARGET") else { return };
    let (destination, folder) = serde_json::from_str::<(String, String)>(&target).unwrap();
    let folder = std::path::PathBuf::from(folder);
    let mut target = SshTarget::new(destination.parse().unwrap(), folder.join("known_hosts"));
    target.config_file = Some(folder.join("ssh_config"));
    target.identity_file = Some(folder.join("client"));
    let _host = OpenSshHost::connect(target).await.unwrap();
    println!("connected");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn killed_outright_leaves_no_ssh() {
    let sshd = Sshd::start();
    let target = (sshd.target().destination.to_string(), sshd.path("").display().to_string());
    let mut child = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "ssh::tests::connecting::connect_and_wait", "--ignored", "--nocapture"])
        .env("RAPTOR_TEST_TARGET", serde_json::to_string(&target).unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("connected")));
    assert_eq!(sshd.ssh_processes().len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("no ssh is left", || sshd.ssh_processes().is_empty());
}

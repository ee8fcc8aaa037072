//! The ways to root, with a false `sudo` and `id` first on the path.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::ssh::error::Cause;
use crate::ssh::host::{Command, Host, Source, Upload};
use crate::ssh::local::LocalHost;
use crate::ssh::sudo::SudoPassword;

/// Behaves as sudo does: `-n` fails when a password is needed, `-S` reads one line a letter at a
/// time, and every command line is written down.
const SUDO: &str = r#"#!/bin/bash
echo "$@" >>"$FOLDER/calls"
quiet=; stdin=
while :; do case $1 in -n) quiet=1; shift;; -S) stdin=1; shift;; -k) shift;;
    -p) shift 2;; *) break;; esac; done
test -e "$FOLDER/needs" || exec env AS_ROOT=1 "$@"
test -z "$quiet" || { echo "sudo: a password is required" >&2; exit 1; }
IFS= read -r typed
test "$typed" = "$(cat "$FOLDER/needs")" || { echo "Sorry, try again." >&2; exit 1; }
exec env AS_ROOT=1 "$@"
"#;

fn tool(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).unwrap();
    fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
}

fn host(needs: Option<&str>, given: Option<&str>) -> (TempDir, LocalHost) {
    let folder = tempfile::tempdir().unwrap();
    tool(folder.path(), "id", "#!/bin/sh\necho 1000\n");
    tool(folder.path(), "sudo", SUDO);
    if let Some(password) = needs {
        fs::write(folder.path().join("needs"), password).unwrap();
    }
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let mut host = LocalHost::new("here", folder.path())
        .with_variable("PATH", path)
        .with_variable("FOLDER", folder.path().display().to_string());
    if let Some(password) = given {
        let password = SudoPassword::new(Zeroizing::new(password.to_owned())).unwrap();
        host = host.with_sudo_password(password);
    }
    (folder, host)
}

fn who() -> Command {
    let mut command = Command::new(["sh", "-c", "echo root=$AS_ROOT; cat"]);
    command.stdin = b"input\n".to_vec();
    command.sudo = true;
    command
}

#[tokio::test]
async fn sudo_without_a_password() {
    for given in [None, Some("never asked for")] {
        let (_folder, host) = host(None, given);
        let output = host.run(who()).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "root=1\ninput\n");
        let mut command = who();
        command.sudo = false;
        assert_eq!(host.run(command).await.unwrap().stdout, b"root=\ninput\n");
    }
}

#[tokio::test]
async fn sudo_with_a_password_that_nobody_else_sees() {
    let password = r"it's a \n secret";
    let (folder, host) = host(Some(password), Some(password));
    let output = host.run(who()).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "root=1\ninput\n");
    assert_eq!(output.stderr, b"");
    let calls = fs::read_to_string(folder.path().join("calls")).unwrap();
    assert!(!calls.contains("secret"), "{calls}");
    assert!(!format!("{host:?}").contains("secret"));

    let destination = folder.path().join("deep/file");
    let upload = Upload {
        source: Source::Bytes(b"bytes\n"[..].into()),
        destination: destination.display().to_string(),
        mode: 0o600,
        sha256: None,
        sudo: true,
        observer: None,
        permission: None,
    };
    host.upload(upload).await.unwrap();
    assert_eq!(fs::read(destination).unwrap(), b"bytes\n");
}

#[tokio::test]
async fn every_way_to_fail_has_its_cause() {
    let (_folder, needing) = host(Some("right"), None);
    let error = needing.run(who()).await.unwrap_err();
    assert_eq!(error.cause.to_string(), "sudo needs a password (sudo: a password is required)");
    assert!(error.hint().contains("--ask-sudo-pass"));

    let (folder, refusing) = host(Some("right"), Some("wrong"));
    let error = refusing.run(who()).await.unwrap_err();
    assert!(matches!(error.cause, Cause::SudoRefused), "{:?}", error.cause);
    // One try: a second one would have read the program as the next password.
    let calls = fs::read_to_string(folder.path().join("calls")).unwrap();
    assert_eq!(calls.lines().filter(|line| line.contains("-S")).count(), 1);
}

#[tokio::test]
async fn a_password_of_two_lines_is_refused() {
    assert!(SudoPassword::new(Zeroizing::new("a\nb".to_owned())).is_err());
}

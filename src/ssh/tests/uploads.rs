//! Files onto a host.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::ssh::error::Cause;
use crate::ssh::host::{Host, Source, Upload};
use crate::ssh::local::LocalHost;
use crate::ssh::openssh::OpenSshHost;
use crate::ssh::testing::Sshd;

fn upload(bytes: &[u8], destination: &Path) -> Upload {
    Upload {
        source: Source::Bytes(bytes.into()),
        destination: destination.display().to_string(),
        mode: 0o755,
        sha256: None,
        sudo: false,
        observer: None,
        permission: None,
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn a_file_arrives_whole_once() {
    let sshd = Sshd::start();
    let host = OpenSshHost::connect(sshd.target()).await.unwrap();
    let bytes: Vec<u8> = (0..=250).cycle().take(3_000_000).collect();
    let file = sshd.path("source");
    fs::write(&file, &bytes).unwrap();
    let destination = sshd.path("deep/down/it's here");
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let mut upload = upload(b"", &destination);
    upload.source = Source::File(file);
    upload.observer = Some(Arc::new(move |count| counter.store(count, Ordering::SeqCst)));
    assert!(!host.upload(upload.clone()).await.unwrap().skipped);
    assert_eq!(fs::read(&destination).unwrap(), bytes);
    assert_eq!(fs::metadata(&destination).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(sent.swap(0, Ordering::SeqCst), 3_000_000);

    assert!(host.upload(upload).await.unwrap().skipped);
    assert_eq!(sent.load(Ordering::SeqCst), 0);
    assert_eq!(names_in(destination.parent().unwrap()), ["it's here"]);
}

#[tokio::test]
async fn a_wrong_checksum_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let host = LocalHost::new("here", folder.path());
    let destination = folder.path().join("file");
    fs::write(&destination, "old").unwrap();
    let mut wrong = upload(b"new", &destination);
    wrong.sha256 = Some("0".repeat(64));
    let error = host.upload(wrong).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Damaged { .. }), "{:?}", error.cause);
    assert_eq!(fs::read(&destination).unwrap(), b"old");
    assert_eq!(names_in(folder.path()), ["file"]);
}

#[tokio::test]
async fn a_full_disk_is_said_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let tools = tempfile::tempdir().unwrap();
    // Stands in for the `head` of a host whose disk fills up half-way.
    let head =
        "#!/bin/sh\necho half\necho 'head: write error: No space left on device' >&2\nexit 1\n";
    fs::write(tools.path().join("head"), head).unwrap();
    fs::set_permissions(tools.path().join("head"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", tools.path().display(), std::env::var("PATH").unwrap());
    let host = LocalHost::new("here", folder.path()).with_variable("PATH", path);
    let destination = folder.path().join("file");
    let error = host.upload(upload(&vec![7; 1_000_000], &destination)).await.unwrap_err();
    let shown = destination.display();
    assert_eq!(error.to_string(), format!("here: copying to {shown} failed"));
    assert_eq!(error.cause.to_string(), format!("the disk is full: {shown} cannot be written"));
    assert_eq!(names_in(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let host = LocalHost::new("here", folder.path());
    let error = host.upload(upload(b"x", &folder.path().join("file/below"))).await.unwrap_err();
    assert!(matches!(error.cause, Cause::NotWritable { .. }), "{:?}", error.cause);
    let error = host.upload(upload(b"x", Path::new("relative"))).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Invalid { .. }));
}

#[tokio::test]
async fn nothing_is_changed_before_the_permission() {
    let sshd = Sshd::start();
    let host = OpenSshHost::connect(sshd.target()).await.unwrap();
    let destination = sshd.path("deep/file");
    let permission = Arc::new(Notify::new());
    let mut asked = upload(b"bytes", &destination);
    asked.permission = Some(Arc::clone(&permission));
    let mut copying = host.upload(asked.clone());
    let waited = tokio::time::timeout(Duration::from_millis(500), &mut copying).await;
    assert!(waited.is_err() && !sshd.path("deep").exists());
    drop(copying);
    let mut copying = host.upload(asked);
    let waited = tokio::time::timeout(Duration::from_millis(100), &mut copying).await;
    assert!(waited.is_err());
    permission.notify_one();
    assert!(!copying.await.unwrap().skipped);
    assert_eq!(fs::read(&destination).unwrap(), b"bytes");
    assert_eq!(names_in(&sshd.path("deep")), ["file"]);
}

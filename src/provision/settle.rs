//! A machine that was just made is not ready because it lets us in: cloud-init may still work on it,
//! and what updates packages at the first boot holds the lock of the package manager.

use std::time::Duration;

use crate::ssh::error::HostError;
use crate::ssh::host::Host;
use crate::ssh::host::Script;

/// Waits for cloud-init where it is there; its status 2 means that it is done and complained. Then
/// has every later use of apt wait for the lock, whoever starts it.
pub const SCRIPT: &str = r#"set -eu
if command -v cloud-init >/dev/null 2>&1; then
    status=0
    cloud-init status --wait >/dev/null 2>&1 || status=$?
    case $status in
        0 | 2) ;;
        *)
            cloud-init status --long >&2 || true
            echo "cloud-init failed with status $status" >&2
            exit 1
            ;;
    esac
fi
if [ -d /etc/apt/apt.conf.d ]; then
    printf 'DPkg::Lock::Timeout "300";\n' >/etc/apt/apt.conf.d/90raptor-lock
fi
"#;

/// Waits until a new machine has settled.
///
/// # Errors
/// cloud-init failed, or took longer than `timeout`.
pub async fn settle(host: &dyn Host, needs_sudo: bool, timeout: Duration) -> Result<(), HostError> {
    let mut script = Script::new("waiting for cloud-init", SCRIPT);
    script.sudo = needs_sudo;
    script.timeout = timeout;
    host.script(script).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    /// Runs the script with a cloud-init that ends with `status`.
    fn run(status: u8) -> (bool, String) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("cloud-init");
        fs::write(&program, format!("#!/bin/sh\necho \"$@\" >&2\nexit {status}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let only_ours = SCRIPT.replace("/etc/apt", "/nowhere");
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let output =
            Command::new("/bin/sh").args(["-c", &only_ours]).env("PATH", path).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    #[test]
    fn a_cloud_init_that_complains_is_done_and_one_that_fails_is_told() {
        assert_eq!(run(0), (true, String::new()));
        assert_eq!(run(2), (true, String::new()));
        let (done, said) = run(1);
        assert!(!done && said.contains("status --long"), "{said}");
        assert!(said.contains("cloud-init failed with status 1"), "{said}");
    }
}

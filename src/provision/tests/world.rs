//! A folder that stands in for a machine, a false `raptor`, and a cluster that admits everybody.

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::model::identity::testing::key;
use crate::model::name::Name;
use crate::model::time::Timestamp;
use crate::provision::check::Requirements;
use crate::provision::input::{ModuleInput, StepSpec};
use crate::provision::layout::Layout;
use crate::provision::order::{Admission, InitReply, JoinOrder, Order, Program};
use crate::ssh::local::LocalHost;
use crate::ssh::upload::sha256_of_file;

/// Behaves as raptor's hidden subcommands do, and writes down that they were called.
const RAPTOR: &str = r#"#!/bin/sh
test "$1" = version && exit
home=$2; world=$home/../../..
echo "$4" >>"$world/calls"
case $4 in
  init) cat >"$home/init.json"; printf 'REPLY\n';;
  adopt) cat >"$home/adopt.json";;
  supervise) touch "$home/running";;
  stop) rm -f "$home/running";;
  status) test ! -e "$world/broken" && test -e "$home/running" && echo '{}';;
esac
"#;

pub(super) struct World {
    folder: TempDir,
    tools: TempDir,
    reply: String,
    pub(super) host: LocalHost,
}

impl World {
    pub(super) fn new() -> Self {
        let (folder, tools) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let reply = json!({"node_id": key(0).node_id(), "endpoints": [], "later": 1}).to_string();
        tool(&tools.path().join("id"), "#!/bin/sh\necho 0\n");
        tool(&tools.path().join("raptor"), &RAPTOR.replace("REPLY", &reply));
        let path = format!("{}:{}", tools.path().display(), std::env::var("PATH").unwrap());
        let host = LocalHost::new("here", folder.path()).with_variable("PATH", path);
        Self { folder, tools, reply, host }
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(super) fn init_reply(&self) -> &str {
        &self.reply
    }

    pub(super) fn order(&self) -> Order {
        let path = self.tools.path().join("raptor");
        let program =
            Program { sha256: sha256_of_file(&path).unwrap(), version: "0.1.0".to_owned(), path };
        let init = json!({"name": "web", "server_type": "it's"}).as_object().unwrap().clone();
        Order {
            layout: Layout::below(self.folder.path().to_str().unwrap()),
            requirements: requirements(),
            is_root: true,
            is_new: false,
            modules: vec![ModuleInput { name: "test".to_owned(), ..ModuleInput::default() }],
            join: Some(JoinOrder { program, init, health_timeout: Duration::from_secs(2) }),
        }
    }

    pub(super) fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("calls")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Every file below the places that raptor uses, but its log and the test's own.
    pub(super) fn traces(&self) -> Vec<String> {
        let files = walkdir::WalkDir::new(self.folder.path()).sort_by_file_name().into_iter();
        files
            .flatten()
            .filter(|entry| !entry.file_type().is_dir())
            .map(|entry| entry.path().strip_prefix(self.folder.path()).unwrap().to_owned())
            .map(|path| path.display().to_string())
            .filter(|path| {
                !["calls", "broken", "var/log/raptor/provision.log"].contains(&path.as_str())
            })
            .collect()
    }
}

fn tool(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

pub(super) fn requirements() -> Requirements {
    Requirements {
        architecture: std::env::consts::ARCH.to_owned(),
        free_bytes: 1,
        now: Timestamp::from(SystemTime::now()),
        cluster: None,
        has_sudo_password: false,
        force: false,
    }
}

pub(super) fn step(name: &str, apply: &str) -> StepSpec {
    StepSpec {
        name: name.to_owned(),
        apply: Some(apply.to_owned()),
        timeout: Duration::from_secs(20),
        ..StepSpec::default()
    }
}

/// What a machine that will do answers to the probe.
pub(super) fn fit_answer() -> String {
    let clock = Timestamp::from(SystemTime::now()).as_millis() / 1000;
    format!(
        "Welcome to box!\nraptor_probe=1\nhostname=Box.lan\nkernel=Linux\narchitecture={}\n\
         clock_s={clock}\nuser=root\nprivilege=root\nos_id=ubuntu\nos_like=debian\n\
         package_manager=apt-get\ninit=systemd\nfree_kib=1000000\nend=1\n",
        std::env::consts::ARCH
    )
}

/// Admits everybody, and counts whom it had to let go.
#[derive(Default)]
pub(super) struct Cluster {
    pub(super) withdrawn: Mutex<u32>,
}

impl Admission for Cluster {
    fn admit<'a>(
        &'a self,
        _machine: &'a str,
        _name: &'a Name,
        _reply: &'a InitReply,
    ) -> BoxFuture<'a, Result<Value, Box<dyn Error + Send + Sync>>> {
        Box::pin(async { Ok(json!({"it's": 1})) })
    }

    fn withdraw<'a>(&'a self, _reply: &'a InitReply) -> BoxFuture<'a, ()> {
        Box::pin(async { *self.withdrawn.lock().unwrap() += 1 })
    }
}

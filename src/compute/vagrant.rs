//! Compute type `vagrant`: a machine is whatever Vagrant boots with the provider that is there.
//!
//! Each machine has a folder of its own, named by its wish's id, in which Vagrant itself keeps what
//! it made: it is found, and given back, by that folder. `vagrant up` is never cut off half-way, for
//! then nobody would know what it had made; whoever comes next waits for it.

mod project;
pub mod settings;

use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process_group;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::process::Command;

use crate::compute::Availability;
use crate::compute::Compute;
use crate::compute::Work;
use crate::compute::complaint::last_lines;
use crate::compute::error::Cause;
use crate::compute::error::ComputeError;
use crate::compute::local::lock::Lock;
use crate::compute::local::process::Process;
use crate::compute::vagrant::project::Endpoint;
use crate::compute::vagrant::project::Project;
use crate::compute::vagrant::settings::VagrantSettings;
use crate::model::cluster::ClusterId;
use crate::model::machine::IntentId;
use crate::model::machine::Machine;
use crate::model::machine::MachineSpec;
use crate::model::name::Name;

/// How long Vagrant may take for what makes nothing.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long an sshd may take to greet.
const GREETING_TIMEOUT: Duration = Duration::from_secs(3);
/// How long Vagrant may clear up after Ctrl-C before it is ended for good.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two attempts while another Vagrant works on the same machine.
const BUSY_INTERVAL: Duration = Duration::from_secs(1);
/// Machines that are looked at at once when many are listed.
const LOOKS_AT_ONCE: usize = 16;
/// Vagrant's words for a machine that another Vagrant works on (2.2 to 2.4).
const BUSY: &str = "is already executing an action on the machine";
/// As of the end of a log, in bytes.
const LOG_SIZE_MAX: usize = 64 * 1024;

/// The back-end.
#[derive(Debug)]
pub struct Vagrant {
    compute_type: String,
    root: PathBuf,
    settings: VagrantSettings,
    /// What works on machines: leaders of process groups, some perhaps ended since.
    working: Mutex<Vec<(IntentId, Process)>>,
}

impl Vagrant {
    /// Machines of `compute_type` under the folder `root`, which is made when first needed.
    #[must_use]
    pub fn new(compute_type: &str, settings: VagrantSettings, root: &Path) -> Self {
        let compute_type = compute_type.to_owned();
        Self { compute_type, root: root.to_owned(), settings, working: Mutex::default() }
    }

    fn error(&self, machine: Option<&Name>, step: &'static str, cause: Cause) -> ComputeError {
        ComputeError::new(&self.compute_type, machine, step, cause)
    }

    /// Vagrant, quiet enough for a program to read it, in a group of its own.
    fn command(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.settings.program);
        command
            .args(arguments)
            .current_dir(folder)
            .env("VAGRANT_CHECKPOINT_DISABLE", "1")
            .envs(self.settings.provider.as_ref().map(|name| ("VAGRANT_DEFAULT_PROVIDER", name)))
            .env_remove("VAGRANT_CWD")
            .env_remove("VAGRANT_VAGRANTFILE")
            .env_remove("VAGRANT_DOTFILE_PATH")
            .stdin(Stdio::null())
            .process_group(0);
        command
    }

    fn cannot_run(&self, source: io::Error) -> Cause {
        match source.kind() {
            io::ErrorKind::NotFound => {
                Cause::ClientMissing { program: self.settings.program.clone() }
            }
            _ => Cause::io("run", &self.settings.program, source),
        }
    }

    /// The standard output of a call that makes nothing.
    async fn ask(&self, folder: &Path, arguments: &[&str]) -> Result<String, Cause> {
        let command = format!("vagrant {}", arguments[0]);
        let mut call = self.command(folder, arguments);
        call.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let timed = tokio::time::timeout(TIMEOUT, call.output()).await;
        let Ok(answered) = timed else {
            return Err(Cause::TimedOut { what: format!("`{command}`"), after: TIMEOUT });
        };
        let output = answered.map_err(|source| self.cannot_run(source))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = last_lines(&[output.stdout, output.stderr].concat());
        Err(Cause::Command { command, status: output.status.code(), said })
    }

    /// Runs Vagrant on a machine to its end, whoever waits for it; waits for its turn where another
    /// works on that machine. Gives what it said.
    async fn act(&self, project: &Project, arguments: &[&str]) -> Result<String, Cause> {
        let command = format!("vagrant {}", arguments[0]);
        let after = self.settings.create_timeout();
        let deadline = Instant::now() + after;
        loop {
            let log = project.log_file(arguments[0])?;
            let file = File::create(&log).map_err(|source| Cause::io("write", &log, source))?;
            let copy = file.try_clone().map_err(|source| Cause::io("write", &log, source))?;
            let mut call = self.command(&project.folder, arguments);
            // Into a file, so that it goes on when we are gone.
            let mut child =
                call.stdout(file).stderr(copy).spawn().map_err(|source| self.cannot_run(source))?;
            self.note(project.record.intent, &child);
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(ended) = tokio::time::timeout(left, child.wait()).await else {
                end(&mut child).await;
                return Err(Cause::TimedOut { what: format!("`{command}`"), after });
            };
            let status = ended.map_err(|source| self.cannot_run(source))?;
            let said = end_of(&log);
            let _ = fs::remove_file(&log);
            if status.success() {
                return Ok(said);
            }
            if !said.split_whitespace().collect::<Vec<_>>().join(" ").contains(BUSY) {
                let said = last_lines(said.as_bytes());
                return Err(Cause::Command { command, status: status.code(), said });
            }
            tokio::time::sleep(BUSY_INTERVAL).await;
        }
    }

    /// Remembers what works on a machine, also for when nobody waits for it any more.
    fn note(&self, intent: IntentId, child: &Child) {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(leader) = id.and_then(Process::read) {
            let mut working = self.working.lock().unwrap_or_else(PoisonError::into_inner);
            working.push((intent, leader));
        }
    }

    /// What still works on a machine.
    fn at_work(&self, intent: IntentId) -> Vec<Process> {
        let mut working = self.working.lock().unwrap_or_else(PoisonError::into_inner);
        working.retain(|(_, leader)| {
            let seen = Process::read(leader.pid).filter(|seen| !seen.ended);
            seen.is_some_and(|seen| seen.start_ticks == leader.start_ticks)
        });
        let of_it = working.iter().filter(|(other, _)| *other == intent);
        of_it.map(|(_, leader)| *leader).collect()
    }

    /// Boots the machine in its folder, unless it lets us in already.
    async fn boot(&self, project: &Project) -> Result<Machine, (&'static str, Cause)> {
        if let Some(endpoint) = project.endpoint()
            && greets(&endpoint).await
        {
            return Ok(project.machine(Some(endpoint), true));
        }
        // Provisioned each time: an earlier one may have been killed in between, and the host key is
        // told in it.
        let mut arguments = vec!["up", "--no-tty", "--no-color", "--provision"];
        if let Some(provider) = &self.settings.provider {
            arguments.extend(["--provider", provider]);
        }
        let mut up = self.act(project, &arguments).await;
        // The provider `docker` asks about each container that it has listed, and one may go meanwhile.
        if let Err(Cause::Command { said, .. }) = &up
            && said.contains("No such object")
        {
            up = self.act(project, &arguments).await;
        }
        let up = up.map_err(|cause| ("boot it", cause))?;
        let step = "find out how to log in to it";
        let told = self.ask(&project.folder, &["ssh-config", "--no-tty"]).await;
        let told = told.map_err(|cause| (step, cause))?;
        let endpoint = Endpoint::read(&told, &up).ok_or_else(|| {
            let command = "vagrant ssh-config".to_owned();
            (step, Cause::Command { command, status: Some(0), said: last_lines(told.as_bytes()) })
        })?;
        project.keep(&endpoint).map_err(|cause| (step, cause))?;
        Ok(project.machine(Some(endpoint), true))
    }

    async fn make(&self, spec: &MachineSpec) -> Result<Machine, (&'static str, Cause)> {
        let step = "make its folder";
        let project = {
            let lock = Lock::take(&self.root).await.map_err(|cause| (step, cause))?;
            let made = Project::make(&self.root, spec, &self.settings, &lock);
            made.map_err(|cause| (step, cause))?
        };
        if project.record.cluster != spec.cluster {
            let holder = project.folder.display().to_string();
            return Err((step, Cause::NameTaken { holder }));
        }
        self.boot(&project).await
    }

    async fn remove(&self, machine: &Machine) -> Result<(), Cause> {
        let Some(project) = Project::find(&self.root, machine.intent)? else { return Ok(()) };
        if project.record.cluster != machine.cluster {
            return Ok(());
        }
        // What boots it clears up after itself when it is asked to, and then it is our turn.
        for leader in self.at_work(machine.intent) {
            if let Some(group) = Pid::from_raw(leader.pid) {
                let _ = kill_process_group(group, Signal::INT);
            }
        }
        let destroyed = self.act(&project, &["destroy", "--force", "--no-tty", "--no-color"]).await;
        // Where nothing was ever made, a provider that is missing stands in nobody's way.
        if project.holds_machine() {
            destroyed?;
        }
        let lock = Lock::take(&self.root).await?;
        project.remove(&self.root, &lock)
    }

    async fn look_at(&self, project: Project) -> Machine {
        let endpoint = project.endpoint();
        let running = match &endpoint {
            Some(endpoint) => greets(endpoint).await,
            None => false,
        };
        project.machine(endpoint, running)
    }
}

/// Ends Vagrant: it clears up after Ctrl-C, and what is left then is killed.
async fn end(child: &mut Child) {
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let Some(group) = group else { return };
    let _ = kill_process_group(group, Signal::INT);
    let _ = tokio::time::timeout(PATIENCE, child.wait()).await;
    let _ = kill_process_group(group, Signal::KILL);
    let _ = child.wait().await;
}

/// Whether an sshd answers there. Asking Vagrant costs two seconds of a processor a machine.
async fn greets(endpoint: &Endpoint) -> bool {
    let destination = &endpoint.destination;
    let address = (destination.host.as_str(), destination.port.unwrap_or(22));
    let greeting = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let mut start = [0; 4];
        stream.read_exact(&mut start).await.ok()?;
        Some(start)
    };
    let greeting = tokio::time::timeout(GREETING_TIMEOUT, greeting).await;
    greeting.ok().flatten().as_ref() == Some(b"SSH-")
}

fn end_of(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let start = bytes.len().saturating_sub(LOG_SIZE_MAX);
    String::from_utf8_lossy(&bytes[start..]).into_owned()
}

impl Compute for Vagrant {
    fn name(&self) -> &str {
        &self.compute_type
    }

    fn check(&self) -> Work<'_, Availability> {
        Box::pin(async move {
            let told = self.ask(Path::new("/"), &["--version"]).await;
            let version = told.map_err(|cause| self.error(None, "run Vagrant", cause))?;
            let provider = self.settings.provider.as_deref().unwrap_or("its own choice");
            Ok(Availability { summary: format!("{}, provider {provider}", version.trim()) })
        })
    }

    fn scope(&self) -> Work<'_, String> {
        Box::pin(async {
            let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
            Ok(format!("{host}:{}", self.root.display()))
        })
    }

    fn create<'a>(&'a self, spec: &'a MachineSpec) -> Work<'a, Machine> {
        Box::pin(async move {
            let made = self.make(spec).await;
            made.map_err(|(step, cause)| self.error(Some(&spec.name), step, cause))
        })
    }

    fn find(&self, intent: IntentId) -> Work<'_, Option<Machine>> {
        Box::pin(async move {
            let found = Project::find(&self.root, intent);
            let found = found.map_err(|cause| self.error(None, "look for a machine", cause))?;
            match found {
                Some(project) => Ok(Some(self.look_at(project).await)),
                None => Ok(None),
            }
        })
    }

    fn list(&self, cluster: ClusterId) -> Work<'_, Vec<Machine>> {
        Box::pin(async move {
            let found = Project::all(&self.root);
            let found = found.map_err(|cause| self.error(None, "list the machines", cause))?;
            let ours = found.into_iter().filter(|project| project.record.cluster == cluster);
            let looks = stream::iter(ours).map(|project| self.look_at(project));
            Ok(looks.buffered(LOOKS_AT_ONCE).collect().await)
        })
    }

    fn destroy<'a>(&'a self, machine: &'a Machine) -> Work<'a, ()> {
        Box::pin(async move {
            let done = self.remove(machine).await;
            done.map_err(|cause| self.error(Some(&machine.name), "destroy it", cause))
        })
    }
}

#[cfg(test)]
mod tests;

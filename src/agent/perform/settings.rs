//! What every performed plan needs: the home, the configuration, the way to the cluster.

use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use crate::agent::cluster_key::CLUSTER_KEY;
use crate::agent::error::chain;
use crate::agent::perform::door::Doors;
use crate::agent::perform::job::Failure;
use crate::compute;
use crate::compute::Compute;
use crate::compute::Secrets;
use crate::compute::cloud::DRIVERS as CLOUDS;
use crate::compute::cloud::settings::BOOT_TIMEOUT_DEFAULT;
use crate::config::home::Home;
use crate::config::module::Modules;
use crate::config::schema::Config;
use crate::model::destination::Destination;
use crate::model::identity::NodeId;
use crate::model::machine::IntentId;
use crate::model::name::Name;
use crate::model::progress::Progress;
use crate::ssh::secret_file::SecretFile;
use crate::ssh::sudo::SudoPassword;
use crate::ssh::target::SshTarget;

/// How plans are performed.
#[derive(Clone)]
pub struct PerformSettings {
    /// Machines worked on at the same time.
    pub concurrent: usize,
    /// The secret key file that the user named.
    pub identity_file: Option<PathBuf>,
    /// What `sudo` is told when it asks.
    pub sudo_password: Option<SudoPassword>,
    /// Whether machines of another cluster are taken, too.
    pub force: bool,
    /// The program that is put on machines: a static binary.
    pub binary: PathBuf,
    /// The member that performs; none for a person's command.
    pub member: Option<NodeId>,
}

/// Performs plans. Cheap to clone.
#[derive(Clone)]
pub struct Performer {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    program_sha256: OnceLock<String>,
}

/// What plans are performed with.
pub struct Parts {
    /// The operator's home.
    pub home: Home,
    /// The cluster's name.
    pub cluster: Name,
    /// The merged configuration.
    pub config: Config,
    /// The modules at hand.
    pub modules: Modules,
    /// Opens the cluster's secrets.
    pub secrets: Secrets,
    /// How plans are performed.
    pub settings: PerformSettings,
    /// Opens doors.
    pub doors: Arc<dyn Doors>,
    /// Is told what happens.
    pub progress: Arc<dyn Progress>,
    /// What is not done once this turns true is stopped.
    pub interrupt: watch::Receiver<bool>,
}

impl Performer {
    /// Works with `parts`.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self { inner: Arc::new(Inner { parts, program_sha256: OnceLock::new() }) }
    }

    /// Where the program's checksum is kept once it is known.
    pub(super) fn program_sha256(&self) -> &OnceLock<String> {
        &self.inner.program_sha256
    }

    /// The operator's home.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.inner.parts.home
    }

    /// The cluster's name.
    #[must_use]
    pub fn cluster(&self) -> &Name {
        &self.inner.parts.cluster
    }

    /// The merged configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.parts.config
    }

    /// The modules at hand.
    #[must_use]
    pub fn modules(&self) -> &Modules {
        &self.inner.parts.modules
    }

    /// How plans are performed.
    #[must_use]
    pub fn settings(&self) -> &PerformSettings {
        &self.inner.parts.settings
    }

    /// Opens doors.
    #[must_use]
    pub fn doors(&self) -> &dyn Doors {
        self.inner.parts.doors.as_ref()
    }

    /// Is told what happens.
    #[must_use]
    pub fn progress(&self) -> &Arc<dyn Progress> {
        &self.inner.parts.progress
    }

    /// Returns once the user asked to stop.
    pub async fn interrupted(&self) {
        let mut interrupt = self.inner.parts.interrupt.clone();
        if interrupt.wait_for(|asked| *asked).await.is_err() {
            // Nobody is left who could ask.
            std::future::pending::<()>().await;
        }
    }

    /// Whether the user asked to stop.
    pub(super) fn is_interrupted(&self) -> &watch::Receiver<bool> {
        &self.inner.parts.interrupt
    }

    /// The back-end of a compute type.
    ///
    /// # Errors
    /// When there is none of that name, or its settings are wrong.
    pub fn compute(&self, name: &str) -> Result<Arc<dyn Compute>, Failure> {
        let settings = back_end_settings(&self.inner.parts.config, name)?;
        let (folder, secrets) = (self.home().machines_folder(), &self.inner.parts.secrets);
        let opened = compute::open_with(name, &settings, &folder, Arc::clone(secrets));
        opened
            .map(Arc::from)
            .map_err(|error| Failure::at(OPEN_STEP, chain(&error)).with_hint(error.hint()))
    }

    /// The UDP address that machines of a compute type listen on, when it is configured.
    #[must_use]
    pub fn listen(&self, compute_type: &str) -> Option<SocketAddr> {
        let settings = self.inner.parts.config.compute_types.get(compute_type)?;
        settings.parameters.get("listen")?.as_str()?.parse().ok()
    }

    /// How long a machine that was just made may take until it lets us in; nothing where it does
    /// from the start.
    #[must_use]
    pub fn boot_patience(&self, compute_type: &str) -> Duration {
        let settings = self.inner.parts.config.compute_types.get(compute_type);
        let boots = |driver: &str| CLOUDS.contains(&driver) || BOOTING_DRIVERS.contains(&driver);
        let Some(settings) = settings.filter(|it| boots(&it.driver)) else {
            return Duration::ZERO;
        };
        let given = settings.parameters.get("boot_timeout_ms").and_then(Value::as_u64);
        given.map_or(BOOT_TIMEOUT_DEFAULT, Duration::from_millis)
    }

    /// Whether a machine of this compute type is rented: what it is told at its first boot goes through
    /// others' hands.
    #[must_use]
    pub fn is_rented(&self, compute_type: &str) -> bool {
        let settings = self.inner.parts.config.compute_types.get(compute_type);
        settings.is_some_and(|settings| CLOUDS.contains(&settings.driver.as_str()))
    }

    /// A machine that a back-end made: its address may have been another machine's before, so its
    /// key is known by its wish.
    #[must_use]
    pub fn spawned_login(
        &self,
        title: String,
        intent: IntentId,
        destination: Destination,
        identity_file: Option<PathBuf>,
        host_keys: Vec<String>,
    ) -> SshTarget {
        let mut target = self.target(destination);
        target.name = title;
        target.identity_file = identity_file.or_else(|| Some(self.own_key_file()));
        target.secret_key = self.cluster_key();
        target.host_key_alias = Some(intent.to_string());
        target.host_keys = host_keys;
        target
    }

    /// The cluster's own key, when this home may have it: it opens what others made.
    fn cluster_key(&self) -> Option<Arc<SecretFile>> {
        let text = (self.inner.parts.secrets)(CLUSTER_KEY).ok()?;
        let file = SecretFile::new(&text);
        let file = file.inspect_err(|error| tracing::warn!(%error, "no room for the SSH key"));
        file.ok().map(Arc::new)
    }

    /// A machine that was there already. Keys that the cluster recorded when it was taken over are
    /// known by its wish, and no others are accepted.
    #[must_use]
    pub fn adopted_login(
        &self,
        title: String,
        intent: IntentId,
        destination: &Destination,
        via: Option<&Destination>,
        host_keys: &[String],
    ) -> SshTarget {
        let mut target = self.target(destination.clone());
        target.name = title;
        target.via = via.cloned().into_iter().collect();
        target.host_keys = host_keys.to_vec();
        if !target.host_keys.is_empty() {
            target.host_key_alias = Some(intent.to_string());
        }
        target
    }

    /// A login with what the configuration and the user say.
    #[must_use]
    pub fn target(&self, destination: Destination) -> SshTarget {
        let ssh = &self.inner.parts.config.ssh;
        let mut target = SshTarget::new(destination, self.home().known_hosts_file());
        target.identity_file =
            self.settings().identity_file.clone().or_else(|| ssh.identity_file.clone());
        target.config_file.clone_from(&ssh.config_file);
        target.options =
            ssh.options.iter().map(|(option, value)| format!("{option}={value}")).collect();
        target.connect_timeout = Duration::from_millis(ssh.connect_timeout_ms);
        target.sudo_password.clone_from(&self.settings().sudo_password);
        target
    }

    /// The secret key with which raptor logs in to machines it made.
    #[must_use]
    pub fn own_key_file(&self) -> PathBuf {
        spawned_key_file(self.home())
    }

    /// The public key with which raptor logs in to machines of a compute type, made on first use;
    /// none where nobody logs in.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) async fn own_key(&self, compute_type: &str) -> Result<Option<String>, Failure> {
        let settings = self.inner.parts.config.compute_types.get(compute_type);
        if settings.is_some_and(|settings| settings.driver == LOCAL_DRIVER) {
            return Ok(None);
        }
        Ok(Some(own_public_key(self.home()).await?))
    }
}

/// Drivers besides the clouds whose machines may be there before they let us in.
const BOOTING_DRIVERS: [&str; 2] = ["plugin", "vagrant"];

/// The driver whose machines are processes of this computer.
const LOCAL_DRIVER: &str = "local";

/// raptor's own public key in `home`, as a line of `authorized_keys`; made on first use.
///
/// # Errors
/// When it cannot be made.
pub async fn own_public_key(home: &Home) -> Result<String, Failure> {
    let file = spawned_key_file(home);
    let public = file.with_extension("pub");
    if !public.exists() {
        make_key(&file).await?;
    }
    let text = std::fs::read_to_string(&public)
        .map_err(|error| Failure::at("read raptor's SSH key", chain(&error)))?;
    Ok(text.trim().to_owned())
}

/// Makes a key pair. Two that make it at once end up with one. Waits for the lock in a thread of
/// its own: whoever holds it may need this one to get on.
async fn make_key(file: &Path) -> Result<(), Failure> {
    let file = file.to_owned();
    tokio::task::spawn_blocking(move || make_key_blocking(&file))
        .await
        .unwrap_or_else(|error| Err(Failure::at(KEY_STEP, chain(&error))))
}

const KEY_STEP: &str = "make raptor's SSH key";

fn make_key_blocking(file: &Path) -> Result<(), Failure> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    crate::config::files::create_folder(folder)
        .map_err(|error| Failure::at(KEY_STEP, chain(&error)))?;
    let lock = crate::agent::lock::wait(&folder.join("lock"));
    let _lock = lock.map_err(|error| Failure::at(KEY_STEP, chain(&error)))?;
    if file.with_extension("pub").exists() {
        return Ok(());
    }
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "raptor", "-f"])
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            Failure::at(KEY_STEP, format!("ssh-keygen: {error}"))
                .with_hint("install the OpenSSH client")
        })?;
    if made.status.success() {
        return Ok(());
    }
    Err(Failure::at(KEY_STEP, String::from_utf8_lossy(&made.stderr).trim().to_owned()))
}

const OPEN_STEP: &str = "open the back-end";

/// What the back-end of a compute type is told: its driver and the driver's parameters.
///
/// # Errors
/// When there is no such compute type.
pub fn back_end_settings(config: &Config, name: &str) -> Result<Value, Failure> {
    let types = &config.compute_types;
    let entry = types.get(name).ok_or_else(|| {
        let known: Vec<&str> = types.keys().map(String::as_str).collect();
        Failure::at(OPEN_STEP, format!("there is no compute type {name:?}"))
            .with_hint(format!("known are {}", known.join(", ")))
    })?;
    let mut settings = entry.parameters.clone();
    settings.insert("driver".to_owned(), Value::from(entry.driver.as_str()));
    Ok(Value::Object(settings))
}

/// The secret key with which raptor logs in to machines it made from `home`.
#[must_use]
pub fn spawned_key_file(home: &Home) -> PathBuf {
    home.root().join("ssh").join("id_ed25519")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_that_make_the_key_at_once_end_up_with_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ssh/id_ed25519");
        let makers = (0..5).map(|_| make_key(&file));
        for made in futures_util::future::join_all(makers).await {
            assert!(made.is_ok());
        }
        assert!(file.exists() && file.with_extension("pub").exists());
    }
}

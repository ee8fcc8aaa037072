//! Compute type `docker`: a machine is a container with an sshd, reached at its own address.
//!
//! Docker is driven through its command-line client (`docs/decisions/0002-docker-through-its-cli.md`).
//! A container is called `raptor-<intent>`: the engine itself lets only one be made for a wish.

mod client;
mod container;
mod image;
pub mod settings;

use std::time::Duration;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::TryStreamExt;
use futures_util::stream;

use crate::compute::Availability;
use crate::compute::Compute;
use crate::compute::Work;
use crate::compute::docker::client::Call;
use crate::compute::docker::client::Client;
use crate::compute::docker::container::Container;
use crate::compute::docker::image::Image;
use crate::compute::docker::settings::DockerSettings;
use crate::compute::error::Cause;
use crate::compute::error::ComputeError;
use crate::compute::host_keys;
use crate::model::cluster::ClusterId;
use crate::model::machine::IntentId;
use crate::model::machine::Machine;
use crate::model::machine::MachineSpec;
use crate::model::name::Name;

/// What a container's first process runs.
const BOOT_SCRIPT: &str = include_str!("../../compute_types/docker/boot.sh");

/// Waits until sshd answers, at most `$1` times 20 ms, and prints the host keys.
const HOST_KEYS_SCRIPT: &str = "\
tries=0
until [ -s /run/sshd.pid ]; do
    tries=$((tries + 1))
    [ $tries -lt \"$1\" ] || exit 75
    sleep 0.02
done
cat /etc/ssh/ssh_host_*_key.pub";

/// What [`BOOT_SCRIPT`] says after the host keys, once sshd answers.
const ANSWERS: &str = "raptor: sshd answers";

/// 30 s for a machine that was just made: its sshd answers in under one on an idle computer.
const BOOT_TRIES: &str = "1500";
const SAID_TIMEOUT: Duration = Duration::from_secs(30);
/// A machine that is merely looked at has booted long ago, or says nothing yet.
const LOOK_TRIES: &str = "50";

/// How long another's half-made container of the same wish may take to become visible.
const ADOPT_TIMEOUT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Containers that are asked for their host keys at once when many are listed.
const LOOKS_AT_ONCE: usize = 8;

/// All keys together; a line of `authorized_keys` is some hundred bytes.
const AUTHORIZED_KEYS_SIZE_MAX: usize = 64 * 1024;

/// The back-end.
#[derive(Debug)]
pub struct Docker {
    compute_type: String,
    client: Client,
    image: Image,
    settings: DockerSettings,
}

impl Docker {
    /// Machines of `compute_type`, made as `settings` say.
    #[must_use]
    pub fn new(compute_type: &str, settings: DockerSettings) -> Self {
        let client = Client::new(&settings.program);
        let image = Image::new(&settings);
        Self { compute_type: compute_type.to_owned(), client, image, settings }
    }

    fn error(&self, machine: Option<&Name>, step: &'static str, cause: Cause) -> ComputeError {
        ComputeError::new(&self.compute_type, machine, step, cause)
    }

    /// The image is looked for only when the engine does not have it: one call less a machine.
    async fn start(&self, spec: &MachineSpec) -> Result<Started, (&'static str, Cause)> {
        let keys = joined_keys(&spec.authorized_keys).map_err(|cause| ("start it", cause))?;
        let name = self.image.name().await.map_err(|cause| ("read its Dockerfile", cause))?;
        let mut made = self.run(spec, &name, &keys).await;
        if matches!(made, Err(Cause::ImageUnavailable { .. })) {
            self.image.ensure(&self.client).await.map_err(|cause| ("get its image", cause))?;
            made = self.run(spec, &name, &keys).await;
        }
        match made {
            Ok(id) => Ok(Started::New(id)),
            Err(Cause::NameTaken { .. }) => Ok(Started::Before),
            Err(cause) => {
                // Made and not started: without force, so that nothing that runs is ever removed.
                let name = container_name(spec.intent);
                let _ = self.client.run(Call::new(&["rm", "--volumes", &name])).await;
                Err(("start its container", cause))
            }
        }
    }

    /// `docker run`: the container's id.
    async fn run(&self, spec: &MachineSpec, image: &str, keys: &str) -> Result<String, Cause> {
        let name = container_name(spec.intent);
        let labels = container::labels_for(spec);
        let mut arguments = vec!["run", "--detach", "--init", "--pull=never"];
        arguments.extend(["--restart=unless-stopped", "--name", &name]);
        arguments.extend(["--hostname", spec.name.as_str()]);
        arguments.extend(labels.iter().flat_map(|label| ["--label", label.as_str()]));
        // Without a value the client takes it from its own environment: not on a command line.
        arguments.extend(["--env", AUTHORIZED_KEYS_VARIABLE]);
        if let Some(network) = &self.settings.network {
            arguments.extend(["--network", network]);
        }
        arguments.extend(self.settings.run_arguments.iter().map(String::as_str));
        arguments.extend(["--entrypoint", "/bin/sh", image, "-c", BOOT_SCRIPT]);
        let call = Call::new(&arguments).environment(AUTHORIZED_KEYS_VARIABLE, keys);
        let answer = self.client.run(call).await.map_err(|cause| match cause {
            Cause::NameTaken { .. } => Cause::NameTaken { holder: format!("container {name}") },
            other => other,
        })?;
        let text = String::from_utf8_lossy(&answer);
        Ok(text.lines().last().unwrap_or_default().trim().to_owned())
    }

    /// The container that was just started, once its sshd answers. The log of one that `is_new` says
    /// when, which costs the engine a third of a look inside.
    async fn booted(
        &self,
        spec: &MachineSpec,
        id: &str,
        is_new: bool,
    ) -> Result<Machine, (&'static str, Cause)> {
        let subject = [id];
        let keys = async {
            let said = if is_new { self.said_host_keys(id).await } else { None };
            match said {
                Some(keys) => Ok(keys),
                None => self.host_keys(id, BOOT_TRIES).await,
            }
        };
        let (looked, keys) = tokio::join!(self.inspect(&subject), keys);
        let keys = match keys {
            Ok(keys) => keys,
            Err(cause) => return Err(("boot it", self.give_up(id, cause).await)),
        };
        let container = looked.map_err(|cause| ("look at its container", cause))?.pop();
        let machine = container.and_then(|container| container.machine(keys));
        machine.ok_or_else(|| {
            let holder = format!("container {}", container_name(spec.intent));
            ("look at its container", Cause::NameTaken { holder })
        })
    }

    /// Removes a container that does not boot. Gives its last words, or else what was seen.
    async fn give_up(&self, id: &str, seen: Cause) -> Cause {
        let ended = self.has_ended(id).await;
        let said = self.client.run_merged(Call::new(&["logs", "--tail", "12", id])).await;
        let _ = self.client.run(Call::new(&["rm", "--force", "--volumes", id])).await;
        match said {
            Ok(said) if ended => Cause::DidNotBoot { said },
            _ => seen,
        }
    }

    /// Whether it ended at least once: the engine may have started it anew meanwhile.
    async fn has_ended(&self, id: &str) -> bool {
        let found = self.inspect(&[id]).await.unwrap_or_default();
        found.iter().any(|found| found.state.status != "running" || found.restart_count > 0)
    }

    /// The container that an earlier call, or another process, made for the same wish.
    async fn adopt(&self, spec: &MachineSpec) -> Result<Machine, (&'static str, Cause)> {
        let step = "adopt the container that was made for it before";
        let holder = || format!("container {}", container_name(spec.intent));
        let deadline = Instant::now() + ADOPT_TIMEOUT;
        loop {
            let found = self.containers(container::INTENT_LABEL, &spec.intent.to_string()).await;
            if let Some(container) = found.map_err(|cause| (step, cause))?.pop() {
                if container.cluster() != Some(spec.cluster) {
                    return Err((step, Cause::NameTaken { holder: holder() }));
                }
                if !container.state.running {
                    let start = self.client.run(Call::new(&["start", &container.id])).await;
                    start.map_err(|cause| (step, cause))?;
                }
                return self.booted(spec, &container.id, false).await;
            }
            if Instant::now() >= deadline {
                return Err((step, Cause::NameTaken { holder: holder() }));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// The host keys by the container's log; none where the engine's logs cannot be read, or when
    /// it ended before.
    async fn said_host_keys(&self, id: &str) -> Option<Vec<String>> {
        let arguments = ["logs", "--follow", id];
        let call = Call::new(&arguments).timeout(SAID_TIMEOUT);
        let said = self.client.lines_until(call, ANSWERS).await.ok()??;
        Some(host_keys::parse(&said)).filter(|keys| !keys.is_empty())
    }

    async fn host_keys(&self, id: &str, tries: &str) -> Result<Vec<String>, Cause> {
        let arguments = ["exec", id, "/bin/sh", "-c", HOST_KEYS_SCRIPT, "sh", tries];
        let answer = self.client.run(Call::new(&arguments)).await?;
        Ok(host_keys::parse(&String::from_utf8_lossy(&answer)))
    }

    /// Our containers, in whatever state, whose label `key` is `value`.
    async fn containers(&self, key: &str, value: &str) -> Result<Vec<Container>, Cause> {
        let filter = format!("label={key}={value}");
        let arguments = ["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter];
        let answer = self.client.run(Call::new(&arguments)).await?;
        let text = String::from_utf8_lossy(&answer);
        let ids: Vec<&str> = text.split_ascii_whitespace().collect();
        self.inspect(&ids).await
    }

    /// What the engine knows about these containers; one that is gone meanwhile is left out.
    async fn inspect(&self, ids: &[&str]) -> Result<Vec<Container>, Cause> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut arguments = vec!["inspect", "--type", "container"];
        arguments.extend(ids);
        self.client.json_of_those_there(Call::new(&arguments)).await
    }

    /// The machine in a container; how to get onto it is left open while it does not say.
    async fn look_at(&self, container: Container) -> Option<Machine> {
        let keys = if container.state.running {
            self.host_keys(&container.id, LOOK_TRIES).await.ok()
        } else {
            None
        };
        let known = keys.is_some();
        let machine = container.machine(keys.unwrap_or_default())?;
        Some(Machine { access: machine.access.filter(|_| known), ..machine })
    }

    async fn machines(&self, key: &str, value: &str) -> Result<Vec<Machine>, Cause> {
        let containers = self.containers(key, value).await?;
        let looks = stream::iter(containers).map(|container| self.look_at(container));
        let looked: Vec<Option<Machine>> = looks.buffer_unordered(LOOKS_AT_ONCE).collect().await;
        let mut machines: Vec<Machine> = looked.into_iter().flatten().collect();
        machines.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(machines)
    }

    /// Removes what carries both the intent and the cluster of `machine`, whatever its id.
    async fn remove(&self, machine: &Machine) -> Result<(), Cause> {
        let found = self.containers(container::INTENT_LABEL, &machine.intent.to_string()).await?;
        let ours = found.into_iter().filter(|found| found.cluster() == Some(machine.cluster));
        stream::iter(ours.map(Ok))
            .try_for_each(|container| async move { self.remove_container(&container.id).await })
            .await
    }

    async fn remove_container(&self, id: &str) -> Result<(), Cause> {
        let deadline = Instant::now() + ADOPT_TIMEOUT;
        loop {
            let removed = self.client.run(Call::new(&["rm", "--force", "--volumes", id])).await;
            let Err(cause) = removed else { return Ok(()) };
            if self.inspect(&[id]).await?.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(cause);
            }
            // Another's removal of it is under way.
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// The environment variable in which [`BOOT_SCRIPT`] finds the keys that may log in.
const AUTHORIZED_KEYS_VARIABLE: &str = "RAPTOR_AUTHORIZED_KEYS";

enum Started {
    /// The id of a container that was just made.
    New(String),
    /// There was one before.
    Before,
}

/// A machine's disk may be large.
const PACKAGE_TIMEOUT: Duration = Duration::from_secs(900);

impl Compute for Docker {
    fn name(&self) -> &str {
        &self.compute_type
    }

    fn check(&self) -> Work<'_, Availability> {
        Box::pin(async move {
            let fail = |cause| self.error(None, "speak to the Docker engine", cause);
            let (engine, image) =
                tokio::join!(self.client.engine_version(), self.image.describe(&self.client));
            let (engine, image) = (engine.map_err(fail)?, image.map_err(fail)?);
            Ok(Availability { summary: format!("Docker {engine}, {image}") })
        })
    }

    fn scope(&self) -> Work<'_, String> {
        Box::pin(async move {
            let id = self.client.engine_id().await;
            id.map_err(|cause| self.error(None, "ask the Docker engine who it is", cause))
        })
    }

    fn create<'a>(&'a self, spec: &'a MachineSpec) -> Work<'a, Machine> {
        Box::pin(async move {
            let made = match self.start(spec).await {
                Ok(Started::New(id)) => self.booted(spec, &id, true).await,
                Ok(Started::Before) => self.adopt(spec).await,
                Err(failure) => Err(failure),
            };
            made.map_err(|(step, cause)| self.error(Some(&spec.name), step, cause))
        })
    }

    /// What marked the container as a machine of ours is blank in the image.
    fn package<'a>(&'a self, machine: &'a Machine, image: &'a str) -> Work<'a, bool> {
        Box::pin(async move {
            let labels = [container::INTENT_LABEL, container::CLUSTER_LABEL, container::NAME_LABEL];
            let mut changes: Vec<String> =
                labels.iter().map(|label| format!("LABEL {label}=")).collect();
            changes.push(format!("ENV {AUTHORIZED_KEYS_VARIABLE}="));
            // It cannot be taken away; this one runs whatever is asked for.
            changes.push("ENTRYPOINT [\"/usr/bin/env\"]".to_owned());
            changes.push("CMD [\"/bin/sh\"]".to_owned());
            let mut arguments = vec!["commit", "--message", "packaged by raptor"];
            arguments.extend(changes.iter().flat_map(|change| ["--change", change.as_str()]));
            arguments.extend([machine.id.as_str(), image]);
            let call = Call::new(&arguments).timeout(PACKAGE_TIMEOUT);
            let made = self.client.run(call).await;
            made.map(|_| true)
                .map_err(|cause| self.error(Some(&machine.name), "make an image of it", cause))
        })
    }

    fn find(&self, intent: IntentId) -> Work<'_, Option<Machine>> {
        Box::pin(async move {
            let found = self.machines(container::INTENT_LABEL, &intent.to_string()).await;
            let found = found.map_err(|cause| self.error(None, "look for a container", cause))?;
            Ok(found.into_iter().next())
        })
    }

    fn list(&self, cluster: ClusterId) -> Work<'_, Vec<Machine>> {
        Box::pin(async move {
            let found = self.machines(container::CLUSTER_LABEL, &cluster.to_string()).await;
            found.map_err(|cause| self.error(None, "list the containers", cause))
        })
    }

    fn destroy<'a>(&'a self, machine: &'a Machine) -> Work<'a, ()> {
        Box::pin(async move {
            let done = self.remove(machine).await;
            done.map_err(|cause| self.error(Some(&machine.name), "remove its container", cause))
        })
    }
}

fn container_name(intent: IntentId) -> String {
    format!("raptor-{intent}")
}

/// The text of `authorized_keys`; each key one line.
fn joined_keys(keys: &[String]) -> Result<String, Cause> {
    let what = "the list of authorized keys";
    if keys.iter().any(|key| key.chars().any(char::is_control)) {
        return Err(Cause::Request { what, why: "holds a key that is not one line" });
    }
    let text = keys.join("\n");
    if text.len() > AUTHORIZED_KEYS_SIZE_MAX {
        return Err(Cause::Request { what, why: "is longer than 64 KiB" });
    }
    Ok(text)
}

#[cfg(test)]
mod tests;

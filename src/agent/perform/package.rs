//! An image of a machine that was provisioned, without what makes it itself: the next spawn from it
//! finds everything done.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::agent::clock;
use crate::agent::clock::wall_clock;
use crate::agent::error::chain;
use crate::agent::perform::job::Failure;
use crate::agent::perform::login::Patience;
use crate::agent::perform::login::log_in;
use crate::agent::perform::passing::Passing;
use crate::agent::perform::settings::Performer;
use crate::compute::Compute;
use crate::model::cluster::ClusterId;
use crate::model::label::Labels;
use crate::model::machine::Access;
use crate::model::machine::IntentId;
use crate::model::machine::Machine;
use crate::model::machine::MachineSpec;
use crate::model::name::Name;
use crate::provision::check::Requirements;
use crate::provision::install::release_name;
use crate::provision::layout::Layout;
use crate::provision::order::Admission;
use crate::provision::order::InitReply;
use crate::provision::order::Order;
use crate::provision::slave::slave;
use crate::ssh::host::Host;
use crate::ssh::host::Script;
use crate::ssh::host::Source;
use crate::ssh::host::Upload;

/// Takes everything off a machine that makes it this one. Its keys and who may log in are made anew
/// at the next first boot.
const BLANK: &str = "set -eu
rm -rf /etc/ssh/ssh_host_* /root/.ssh/authorized_keys /var/lib/raptor-machine /var/lib/raptor/agent \\
    /var/lib/raptor/provision.lock /var/log/raptor /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
if [ -e /etc/machine-id ]; then : >/etc/machine-id; fi
";

const STEP: &str = "package";

/// Nobody is admitted: a packaged machine is no member.
struct NoCluster;

impl Admission for NoCluster {
    fn admit<'a>(
        &'a self,
        _machine: &'a str,
        _name: &'a Name,
        _reply: &'a InitReply,
    ) -> BoxFuture<'a, Result<Value, Box<dyn Error + Send + Sync>>> {
        Box::pin(async { Err("a packaged machine joins nothing".into()) })
    }

    fn withdraw<'a>(&'a self, _reply: &'a InitReply) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

impl Performer {
    /// Makes a machine of `compute_type`, provisions it as `server_type`, makes an image of it
    /// called `image`, and destroys it, whatever became of it. First it gives back what an earlier one that
    /// was killed left.
    ///
    /// # Errors
    /// At which step, and why; also when the machine could not be destroyed.
    pub async fn package(
        &self,
        compute_type: &str,
        server_type: &str,
        image: &str,
    ) -> Result<(), Failure> {
        let drawn = |error| Failure::at(STEP, chain(&error));
        let nonce = u64::from_le_bytes(clock::random().map_err(drawn)?);
        let spec = MachineSpec {
            intent: IntentId::from_bytes(clock::random().map_err(drawn)?),
            cluster: ClusterId::derive(nonce, self.cluster()),
            name: Name::from_hostname("package"),
            labels: Labels::default(),
            authorized_keys: self.own_key(compute_type).await?.into_iter().collect(),
        };
        let compute = self.compute(compute_type)?;
        self.give_back_left().await?;
        let passing = Passing::note(self.home(), compute_type, spec.intent)?;
        let made = tokio::select! {
            biased;
            () = self.interrupted() => Err(Failure::at(STEP, "you asked to stop")),
            made = Box::pin(self.make_package(compute.as_ref(), &spec, server_type, image)) => made,
        };
        let gone = self.end_passing(compute_type, spec.intent).await;
        if gone.is_ok() {
            passing.forget();
        }
        made.and(gone.map(drop))
    }

    async fn make_package(
        &self,
        compute: &dyn Compute,
        spec: &MachineSpec,
        server_type: &str,
        image: &str,
    ) -> Result<(), Failure> {
        let (progress, name) = (self.progress(), spec.name.as_str());
        let modules = self.module_inputs(server_type)?;
        progress.stage(name, &format!("making it on {}", compute.name()));
        let machine = compute.create(spec).await.map_err(|error| {
            Failure::at("make the machine", chain(&error)).with_hint(error.hint())
        })?;
        let host = self.package_host(&machine).await?;
        let order = Order {
            layout: Layout::default(),
            requirements: Requirements {
                architecture: std::env::consts::ARCH.to_owned(),
                free_bytes: 0,
                now: wall_clock(),
                cluster: None,
                has_sudo_password: false,
                force: false,
            },
            is_root: false,
            is_new: false,
            modules,
            join: None,
        };
        slave(host.as_ref(), &order, &NoCluster, progress).await.map_err(|error| {
            let mut failure =
                Failure::at(error.step.clone(), chain(&error.cause)).with_hint(error.hint());
            failure.last_lines.clone_from(&error.last_lines);
            failure
        })?;
        progress.stage(name, "copying raptor");
        self.copy_program(host.as_ref()).await?;
        progress.stage(name, "taking off what makes it itself");
        let failed = |error| Failure::at("blank it", chain(&error));
        let output = host.script(Script::new("blank", BLANK)).await.map_err(failed)?;
        if output.status != 0 {
            let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Failure::at("blank it", told));
        }
        progress.stage(name, "making an image of it");
        let packaged = compute.package(&machine, image).await.map_err(|error| {
            Failure::at("make an image of it", chain(&error)).with_hint(error.hint())
        })?;
        if packaged {
            progress.done(name, "packaged");
            return Ok(());
        }
        let what = format!("the compute type {} has no images of its own", compute.name());
        Err(Failure::at(STEP, what).with_hint("name one of Docker with --compute-type"))
    }

    async fn package_host(&self, machine: &Machine) -> Result<Arc<dyn Host>, Failure> {
        let Some(Access::Ssh { destination, identity_file, host_keys, .. }) = &machine.access
        else {
            let what = "machines of this compute type are not reached through SSH";
            return Err(Failure::at(STEP, what)
                .with_hint("name a compute type of Docker with --compute-type"));
        };
        let target = self.spawned_login(
            machine.name.to_string(),
            machine.intent,
            destination.clone(),
            identity_file.clone(),
            host_keys.clone(),
        );
        Ok(Arc::new(log_in(target, Patience::with_new(Duration::ZERO)).await?))
    }

    /// Puts raptor's program where a machine that joins looks for it first.
    async fn copy_program(&self, host: &dyn Host) -> Result<(), Failure> {
        let program = self.program()?;
        let release = release_name(&program.version, &program.sha256);
        let upload = Upload {
            source: Source::File(program.path),
            destination: Layout::default().release(&release),
            mode: 0o755,
            sha256: Some(program.sha256),
            sudo: false,
            observer: None,
            permission: None,
        };
        let copied = host.upload(upload).await;
        copied.map(drop).map_err(|error| Failure::at("copying raptor", chain(&error)))
    }
}

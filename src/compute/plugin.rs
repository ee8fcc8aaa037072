//! Compute types that other programs make: `raptor-provider-NAME`, one process a question.
//!
//! What is said between the two is in `docs/providers.md`. A plug-in is not believed blindly: what it
//! gives must carry the marks that were asked for, and only what carries them is given back.

pub mod error;
pub mod find;
mod process;
pub mod settings;
pub mod wire;

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::compute::Availability;
use crate::compute::Compute;
use crate::compute::Secrets;
use crate::compute::Work;
use crate::compute::catalog::Catalog;
use crate::compute::error::Cause;
use crate::compute::error::ComputeError;
use crate::compute::no_secrets;
use crate::compute::plugin::error::PluginCause;
use crate::compute::plugin::process::Call;
use crate::compute::plugin::settings::PluginSettings;
use crate::compute::plugin::wire::Description;
use crate::compute::plugin::wire::Question;
use crate::compute::plugin::wire::Told;
use crate::compute::plugin::wire::VERSION;
use crate::compute::plugin::wire::Verb;
use crate::model::cluster::ClusterId;
use crate::model::machine::IntentId;
use crate::model::machine::Machine;
use crate::model::machine::MachineSpec;
use crate::model::name::Name;

/// How often the same is asked when the plug-in says that it may work later.
const ATTEMPTS: u32 = 4;

/// Where the program is.
#[derive(Debug)]
enum Place {
    /// The one that is found under this name in these folders.
    Named(String, Vec<PathBuf>),
    /// This one.
    At(PathBuf),
}

/// The back-end.
pub struct Plugin {
    compute_type: String,
    place: Place,
    settings: PluginSettings,
    secrets: Secrets,
    description: OnceCell<Description>,
}

impl Plugin {
    /// Machines of `compute_type`, made by the plug-in that `settings` name, or that is called as
    /// the compute type. `own` is the home's folder of plug-ins; `secrets` are opened when they are
    /// needed.
    #[must_use]
    pub fn new(compute_type: &str, settings: PluginSettings, own: &Path, secrets: Secrets) -> Self {
        let name = settings.provider.clone().unwrap_or_else(|| compute_type.to_owned());
        let folders = find::folders(settings.folder.as_deref(), own);
        Self { secrets, ..Self::of(compute_type, settings, Place::Named(name, folders)) }
    }

    /// Machines made by the plug-in at `path`, which is absolute.
    #[must_use]
    pub fn at(compute_type: &str, settings: PluginSettings, path: &Path) -> Self {
        Self::of(compute_type, settings, Place::At(path.to_owned()))
    }

    fn of(compute_type: &str, settings: PluginSettings, place: Place) -> Self {
        let compute_type = compute_type.to_owned();
        Self { compute_type, place, settings, secrets: no_secrets(), description: OnceCell::new() }
    }

    fn error(&self, machine: Option<&Name>, step: &'static str, cause: Cause) -> ComputeError {
        ComputeError::new(&self.compute_type, machine, step, cause)
    }

    /// The program.
    ///
    /// # Errors
    /// There is none.
    pub fn program(&self) -> Result<PathBuf, PluginCause> {
        match &self.place {
            Place::Named(name, folders) => find::find(name, folders),
            Place::At(path) => Ok(path.clone()),
        }
    }

    /// Who it says it is.
    ///
    /// # Errors
    /// It does not say, or does not speak our version.
    pub async fn describe(&self) -> Result<&Description, Cause> {
        self.description
            .get_or_try_init(|| async {
                let description: Description =
                    self.ask(Verb::Describe, json!({}), self.settings.timeout()).await?;
                if description.protocols.contains(&VERSION) {
                    return Ok(description);
                }
                let why = format!(
                    "it speaks the versions {:?} and this raptor {VERSION}",
                    description.protocols
                );
                Err(self.babble(Verb::Describe, why))
            })
            .await
    }

    /// Asks once, and again while the plug-in says that it may work later.
    async fn ask<T: DeserializeOwned>(
        &self,
        verb: Verb,
        parameters: Value,
        timeout: Duration,
    ) -> Result<T, Cause> {
        let deadline = Instant::now() + timeout;
        let mut attempt = 1;
        let answer = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.ask_once(verb, &parameters, left).await {
                Err(Cause::Plugin(PluginCause::Refused { retry: Some(wait), .. }))
                    if attempt < ATTEMPTS && Instant::now() + wait < deadline =>
                {
                    tokio::time::sleep(wait).await;
                    attempt += 1;
                }
                answered => break answered?,
            }
        };
        serde_json::from_value(answer).map_err(|why| self.babble(verb, why.to_string()))
    }

    async fn ask_once(
        &self,
        verb: Verb,
        parameters: &Value,
        timeout: Duration,
    ) -> Result<Value, Cause> {
        let program = self.program()?;
        find::examine(&program, self.settings.sha256.as_deref())?;
        let secrets = self.settings.read_secrets(&self.secrets)?;
        let question = Question {
            parameters,
            settings: &self.settings.settings,
            secrets: secrets.reveal(),
            deadline: timeout,
        };
        let line = wire::request(verb, question)
            .map_err(|source| Cause::Answer { command: verb.name().to_owned(), source })?;
        let environment = &self.settings.environment;
        Call { program: &program, verb, line, secrets: &secrets, environment, timeout }.run().await
    }

    fn babble(&self, verb: Verb, why: String) -> Cause {
        let name = match &self.place {
            Place::Named(name, _) => format!("{}{name}", find::PREFIX),
            Place::At(path) => path.display().to_string(),
        };
        PluginCause::Babble { call: format!("{name} {}", verb.name()), why }.into()
    }

    fn machine(&self, verb: Verb, told: Told) -> Result<Machine, Cause> {
        told.machine().map_err(|why| self.babble(verb, why))
    }

    async fn available(&self) -> Result<Availability, Cause> {
        let description = self.describe().await?;
        let mut summary = format!("{} {}", description.name, description.version);
        if description.knows(Verb::Validate) {
            let told: Value = self.ask(Verb::Validate, json!({}), self.settings.timeout()).await?;
            if let Some(told) = told.get("summary").and_then(Value::as_str) {
                summary = format!("{summary}, {told}");
            }
        }
        Ok(Availability { summary })
    }

    /// Has the provider know the keys, where it must; gives what it calls them.
    async fn ensure_keys(&self, spec: &MachineSpec) -> Result<Vec<Value>, Cause> {
        if !self.describe().await?.knows(Verb::EnsureKey) {
            return Ok(Vec::new());
        }
        let mut ids = Vec::new();
        for key in &spec.authorized_keys {
            let name = format!("raptor-{}", spec.cluster);
            let parameters = json!({"name": name, "public_key": key});
            let told: Value =
                self.ask(Verb::EnsureKey, parameters, self.settings.timeout()).await?;
            ids.push(told.get("id").cloned().unwrap_or(Value::Null));
        }
        Ok(ids)
    }

    async fn make(&self, spec: &MachineSpec) -> Result<Machine, Cause> {
        let key_ids = self.ensure_keys(spec).await?;
        let parameters = json!({
            "intent": spec.intent,
            "cluster": spec.cluster.to_string(),
            "name": spec.name,
            "labels": spec.labels,
            "authorized_keys": spec.authorized_keys,
            "key_ids": key_ids,
        });
        let told = self.ask(Verb::Create, parameters, self.settings.create_timeout()).await?;
        let machine = self.machine(Verb::Create, told)?;
        let is_asked_for = machine.intent == spec.intent
            && machine.cluster == spec.cluster
            && machine.name == spec.name;
        if is_asked_for {
            return Ok(machine);
        }
        Err(self.babble(Verb::Create, "it gave a machine that was not asked for".to_owned()))
    }

    async fn look(&self, intent: IntentId) -> Result<Option<Machine>, Cause> {
        let told: Option<Told> =
            self.ask(Verb::Get, json!({"intent": intent}), self.settings.timeout()).await?;
        let machine = told.map(|told| self.machine(Verb::Get, told)).transpose()?;
        match machine {
            Some(machine) if machine.intent != intent => {
                Err(self.babble(Verb::Get, "it gave another wish's machine".to_owned()))
            }
            machine => Ok(machine),
        }
    }

    async fn look_for_all(&self, cluster: ClusterId) -> Result<Vec<Machine>, Cause> {
        let parameters = json!({"cluster": cluster.to_string()});
        let told: Vec<Told> = self.ask(Verb::List, parameters, self.settings.timeout()).await?;
        let machines = told.into_iter().map(|told| self.machine(Verb::List, told));
        let mut machines: Vec<Machine> = machines.collect::<Result<_, _>>()?;
        if machines.iter().any(|machine| machine.cluster != cluster) {
            return Err(self.babble(Verb::List, "it lists another cluster's machine".to_owned()));
        }
        machines.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(machines)
    }

    /// Gives back the machine that carries both marks: by the id that it has there at this moment,
    /// and not by the one in a record.
    async fn remove(&self, machine: &Machine) -> Result<(), Cause> {
        let Some(found) = self.look(machine.intent).await? else { return Ok(()) };
        if found.cluster != machine.cluster {
            return Ok(());
        }
        let parameters = json!({
            "id": found.id,
            "intent": found.intent,
            "cluster": found.cluster.to_string(),
        });
        let _: Value = self.ask(Verb::Delete, parameters, self.settings.create_timeout()).await?;
        Ok(())
    }
}

impl Compute for Plugin {
    fn name(&self) -> &str {
        &self.compute_type
    }

    fn check(&self) -> Work<'_, Availability> {
        Box::pin(async move {
            let available = self.available().await;
            available.map_err(|cause| self.error(None, "speak to its plug-in", cause))
        })
    }

    fn create<'a>(&'a self, spec: &'a MachineSpec) -> Work<'a, Machine> {
        Box::pin(async move {
            let made = self.make(spec).await;
            made.map_err(|cause| self.error(Some(&spec.name), "have it made", cause))
        })
    }

    fn find(&self, intent: IntentId) -> Work<'_, Option<Machine>> {
        Box::pin(async move {
            let found = self.look(intent).await;
            found.map_err(|cause| self.error(None, "look for a machine", cause))
        })
    }

    fn list(&self, cluster: ClusterId) -> Work<'_, Vec<Machine>> {
        Box::pin(async move {
            let found = self.look_for_all(cluster).await;
            found.map_err(|cause| self.error(None, "list the machines", cause))
        })
    }

    fn destroy<'a>(&'a self, machine: &'a Machine) -> Work<'a, ()> {
        Box::pin(async move {
            let done = self.remove(machine).await;
            done.map_err(|cause| self.error(Some(&machine.name), "destroy it", cause))
        })
    }

    fn scope(&self) -> Work<'_, String> {
        Box::pin(async move {
            let described = self.describe().await;
            let described =
                described.map_err(|cause| self.error(None, "speak to its plug-in", cause))?;
            Ok(described.scope.clone().unwrap_or_else(|| self.compute_type.clone()))
        })
    }

    fn catalog(&self) -> Work<'_, Option<Catalog>> {
        Box::pin(async move {
            let fail = |cause| self.error(None, "ask what there is", cause);
            if !self.describe().await.map_err(fail)?.knows(Verb::Catalog) {
                return Ok(None);
            }
            let timeout = self.settings.timeout();
            let catalog: Catalog =
                self.ask(Verb::Catalog, json!({}), timeout).await.map_err(fail)?;
            Ok(Some(catalog.sorted()))
        })
    }
}

#[cfg(test)]
mod tests;

//! raptor's program for machines of another architecture: from the cluster's artefacts.

use std::path::PathBuf;

use crate::agent::BUILD;
use crate::agent::error::chain;
use crate::agent::perform::build::Site;
use crate::agent::perform::job::Failure;
use crate::config::artefacts::Artefacts;
use crate::config::schema::artefact::Artefact;
use crate::provision::order::Program;

const STEP: &str = "find raptor's program for it";

impl Site {
    /// The program for machines that call themselves `architecture`; none where there is none.
    pub(super) async fn program_for(&self, architecture: &str) -> Result<Option<Program>, Failure> {
        let artefacts = &self.performer.config().artefacts;
        let fits = |artefact: &&Artefact| artefact.target.as_deref() == Some(architecture);
        let Some(artefact) = artefacts.values().find(fits) else { return Ok(None) };
        let path = self.artefact(&artefact.sha256).await?;
        let sha256 = artefact.sha256.clone();
        Ok(Some(Program { path, sha256, version: BUILD.to_owned() }))
    }

    /// The file of an artefact: this home's own, or a member's.
    async fn artefact(&self, digest: &str) -> Result<PathBuf, Failure> {
        let store = Artefacts::new(self.performer.home());
        let missing = || Failure::at(STEP, format!("the artefact {digest} is not here"));
        if let Some(path) = store.find(digest) {
            return Ok(path);
        }
        let door = self.entrance.door().ok_or_else(missing)?;
        let failed = |error: &dyn std::error::Error| Failure::at(STEP, chain(error));
        let bytes = door.artefact(digest.to_owned()).await.map_err(|error| failed(&error))?;
        let (keeper, named) = (store.clone(), digest.to_owned());
        let kept = tokio::task::spawn_blocking(move || {
            let mut incoming = keeper.begin(&named)?;
            incoming.write(&bytes)?;
            incoming.finish()
        });
        kept.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        store.find(digest).ok_or_else(missing)
    }
}

//! The image that machines are made from: pulled when one is named, else built.

use std::path::PathBuf;
use std::time::Duration;

use data_encoding::HEXLOWER;
use serde_json::Value;
use sha2::Digest;
use sha2::Sha256;
use tokio::sync::Mutex;

use crate::compute::docker::client::Call;
use crate::compute::docker::client::Client;
use crate::compute::docker::settings::DockerSettings;
use crate::compute::error::Cause;

const DOCKERFILE: &str = include_str!("../../../compute_types/docker/Dockerfile");

/// A slow line needs minutes for 120 MB.
const GET_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Where machines come from.
#[derive(Debug)]
pub(super) struct Image {
    source: Source,
    /// Many machines are made at once; one of them gets the image, the others wait for it.
    one_gets_it: Mutex<()>,
}

#[derive(Debug)]
enum Source {
    Ready { image: String },
    Built { dockerfile: Option<PathBuf>, base_image: String },
}

impl Image {
    pub(super) fn new(settings: &DockerSettings) -> Self {
        let source = match &settings.image {
            Some(image) => Source::Ready { image: image.clone() },
            None => Source::Built {
                dockerfile: settings.dockerfile.clone(),
                base_image: settings.base_image.clone(),
            },
        };
        Self { source, one_gets_it: Mutex::new(()) }
    }

    /// Its name. That of an image built here holds a hash of all that it is built from, so an image
    /// of that name is the right one.
    pub(super) async fn name(&self) -> Result<String, Cause> {
        match &self.source {
            Source::Ready { image } => Ok(image.clone()),
            Source::Built { dockerfile, base_image } => {
                Ok(name_of_built(&read_dockerfile(dockerfile.as_ref()).await?, base_image))
            }
        }
    }

    /// Gets the image unless the engine has it.
    pub(super) async fn ensure(&self, client: &Client) -> Result<(), Cause> {
        let _one = self.one_gets_it.lock().await;
        let name = self.name().await?;
        if is_here(client, &name).await? {
            return Ok(());
        }
        let got = match &self.source {
            Source::Ready { image } => {
                let arguments = ["pull", "--quiet", image];
                client.run(Call::new(&arguments).timeout(GET_TIMEOUT)).await
            }
            Source::Built { dockerfile, base_image } => {
                let text = read_dockerfile(dockerfile.as_ref()).await?;
                let base = format!("BASE={base_image}");
                let arguments = ["build", "--quiet", "--tag", &name, "--build-arg", &base, "-"];
                let call = Call::new(&arguments).input(text.as_bytes()).timeout(GET_TIMEOUT);
                client.run(call).await
            }
        };
        got.map(drop).map_err(|cause| match cause {
            Cause::Command { said, .. } | Cause::ImageUnavailable { said, .. } => {
                Cause::ImageUnavailable { image: name, said }
            }
            other => other,
        })
    }

    /// For people: its name and whether it is here.
    pub(super) async fn describe(&self, client: &Client) -> Result<String, Cause> {
        let name = self.name().await?;
        let state = match (&self.source, is_here(client, &name).await?) {
            (_, true) => "is here",
            (Source::Ready { .. }, false) => "will be pulled",
            (Source::Built { .. }, false) => "will be built",
        };
        Ok(format!("image {name} {state}"))
    }
}

async fn is_here(client: &Client, name: &str) -> Result<bool, Cause> {
    let arguments = ["image", "inspect", name];
    let found: Vec<Value> = client.json_of_those_there(Call::new(&arguments)).await?;
    Ok(!found.is_empty())
}

async fn read_dockerfile(path: Option<&PathBuf>) -> Result<String, Cause> {
    match path {
        None => Ok(DOCKERFILE.to_owned()),
        Some(path) => {
            tokio::fs::read_to_string(path).await.map_err(|source| Cause::io("read", path, source))
        }
    }
}

fn name_of_built(dockerfile: &str, base_image: &str) -> String {
    let digest = Sha256::new().chain_update(base_image).chain_update([0]).chain_update(dockerfile);
    let digest = HEXLOWER.encode(&digest.finalize());
    format!("raptor-machine:{}", &digest[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_base_or_dockerfile_is_another_image() {
        let name = name_of_built("FROM x", "debian:trixie");
        assert_eq!(name, name_of_built("FROM x", "debian:trixie"));
        assert_ne!(name, name_of_built("FROM x", "debian:sid"));
        assert_ne!(name, name_of_built("FROM y", "debian:trixie"));
    }
}

//! The parameters of compute type `docker`.

use std::path::PathBuf;

use serde::Deserialize;

use crate::compute::error::Cause;

/// As the configuration gives them; every one may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DockerSettings {
    /// The client program: `docker`, `podman`, or a path.
    pub program: String,
    /// A ready image with `/bin/sh`, `sshd` and `ssh-keygen`. It is pulled when it is not here.
    /// Without it an image is built from the Dockerfile.
    pub image: Option<String>,
    /// A Dockerfile in the place of the embedded one. It is built without a context.
    pub dockerfile: Option<PathBuf>,
    /// What the Dockerfile starts from: its `BASE` argument.
    pub base_image: String,
    /// The network that machines are put on; the engine's own default when absent.
    pub network: Option<String>,
    /// Further arguments of `docker run`, such as `--memory=1g` or `--cap-add=NET_ADMIN`.
    pub run_arguments: Vec<String>,
}

impl Default for DockerSettings {
    fn default() -> Self {
        Self {
            program: "docker".to_owned(),
            image: None,
            dockerfile: None,
            base_image: "debian:trixie".to_owned(),
            network: None,
            run_arguments: Vec::new(),
        }
    }
}

impl DockerSettings {
    /// Refuses names that the client would take for options.
    pub(crate) fn check(&self) -> Result<(), Cause> {
        let refuse = |path: &str, value: &str, what: &str| {
            let message = format!("{value:?} is no {what}");
            Err(Cause::Settings { path: path.to_owned(), message })
        };
        let unsafe_word = |word: &str| {
            word.is_empty()
                || word.starts_with('-')
                || word.chars().any(|letter| letter.is_whitespace() || letter.is_control())
        };
        if self.program.is_empty() {
            return refuse("program", &self.program, "program");
        }
        for (path, image) in
            [("image", self.image.as_ref()), ("base_image", Some(&self.base_image))]
        {
            if let Some(image) = image.filter(|image| unsafe_word(image)) {
                return refuse(path, image, "image name");
            }
        }
        if let Some(network) = self.network.as_ref().filter(|network| unsafe_word(network)) {
            return refuse("network", network, "network name");
        }
        Ok(())
    }
}

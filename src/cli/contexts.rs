//! `contexts.json`: which clusters this user knows, and how each may be reached.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::cli::endpoint::Endpoint;
use crate::model::cluster::Genesis;
use crate::model::name::Name;

/// Version of the file.
const VERSION: u32 = 1;

/// Connections kept for one cluster: enough to outlive many machines, few enough to try in turn.
const CONNECTIONS_MAX: usize = 16;

/// The file. Unknown fields of a later build survive a write by this one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contexts {
    version: u32,
    /// The cluster that is meant when none is named.
    #[serde(default)]
    pub current: Option<Name>,
    /// The clusters.
    #[serde(default)]
    pub contexts: BTreeMap<Name, Context>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// One cluster.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Context {
    /// Proves that the agent that answers is of this very cluster.
    #[serde(default)]
    pub genesis: Option<Genesis>,
    /// Tried in turn; the one that answered last is first.
    #[serde(default)]
    pub connections: Vec<Endpoint>,
    /// Ways to members that this home did not make: tried when none of those answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ways: Vec<Endpoint>,
    /// How many updates the document held when those were learnt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ways_as_of: Option<u64>,
    /// What a later build says besides.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextsError {
    /// Reading or writing failed.
    #[error("cannot {what} {}", path.display())]
    File {
        /// `read` or `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Not what it should be.
    #[error("{} is damaged", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// Written by a later build.
    #[error("{} has version {version}; this build reads version {VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

impl Default for Contexts {
    fn default() -> Self {
        Self { version: VERSION, current: None, contexts: BTreeMap::new(), rest: Map::new() }
    }
}

impl Contexts {
    /// The file in `home`.
    #[must_use]
    pub fn path(home: &Path) -> PathBuf {
        home.join("contexts.json")
    }

    /// Reads the file in `home`; an absent one knows no cluster.
    ///
    /// # Errors
    /// As [`ContextsError`] says.
    pub fn load(home: &Path) -> Result<Self, ContextsError> {
        let path = Self::path(home);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(ContextsError::File { what: "read", path, source }),
        };
        match serde_json::from_slice::<Self>(&bytes) {
            Err(source) => Err(ContextsError::Malformed { path, source }),
            Ok(contexts) if contexts.version != VERSION => {
                Err(ContextsError::Version { path, version: contexts.version })
            }
            Ok(contexts) => Ok(contexts),
        }
    }

    /// Writes the file, whole or not at all, readable by its owner alone.
    ///
    /// # Errors
    /// [`ContextsError::File`].
    pub fn save(&self, home: &Path) -> Result<(), ContextsError> {
        let path = Self::path(home);
        let write = || {
            std::fs::create_dir_all(home)?;
            let draft = home.join(format!(".contexts.json.{}", std::process::id()));
            let mut file = create_private(&draft)?;
            let mut text = serde_json::to_vec_pretty(self)?;
            text.push(b'\n');
            file.write_all(&text).and_then(|()| file.sync_all())?;
            std::fs::rename(&draft, &path)
        };
        write().map_err(|source| ContextsError::File { what: "write", path: path.clone(), source })
    }

    /// Remembers that `cluster` is reached at `endpoint`: it becomes the first to be tried.
    /// The first cluster that is remembered becomes the current one.
    ///
    /// Returns whether anything changed.
    pub fn remember(
        &mut self,
        cluster: &Name,
        genesis: Option<&Genesis>,
        endpoint: &Endpoint,
    ) -> bool {
        let before = (self.current.clone(), self.contexts.get(cluster).cloned());
        self.current.get_or_insert_with(|| cluster.clone());
        let context = self.contexts.entry(cluster.clone()).or_default();
        if let Some(genesis) = genesis {
            context.genesis = Some(genesis.clone());
        }
        context.connections.retain(|known| known != endpoint);
        context.connections.insert(0, endpoint.clone());
        context.connections.truncate(CONNECTIONS_MAX);
        before != (self.current.clone(), self.contexts.get(cluster).cloned())
    }

    /// Forgets a way to `cluster`, as when the machine behind it is destroyed.
    pub fn forget(&mut self, cluster: &Name, endpoint: &Endpoint) {
        if let Some(context) = self.contexts.get_mut(cluster) {
            context.connections.retain(|known| known != endpoint);
            context.ways.retain(|known| known != endpoint);
        }
    }

    /// Forgets sockets on this machine whose home is gone: the machine was undone or destroyed. One
    /// whose agent only does not run keeps its home. Returns whether there were any.
    pub fn forget_gone(&mut self) -> bool {
        let is_there = |endpoint: &Endpoint| match endpoint {
            Endpoint::Unix(socket) => socket.parent().is_none_or(Path::exists),
            _ => true,
        };
        let mut has_changed = false;
        for context in self.contexts.values_mut() {
            for list in [&mut context.connections, &mut context.ways] {
                let before = list.len();
                list.retain(is_there);
                has_changed |= list.len() != before;
            }
        }
        has_changed
    }

    /// Forgets a cluster. Returns whether it was known.
    pub fn remove(&mut self, cluster: &Name) -> bool {
        let known = self.contexts.remove(cluster).is_some();
        if self.current.as_ref() == Some(cluster) {
            self.current = self.contexts.keys().next().cloned();
        }
        known
    }
}

fn create_private(path: &Path) -> io::Result<File> {
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn endpoint(text: &str) -> Endpoint {
        text.parse().unwrap()
    }

    #[test]
    fn unknown_fields_survive_and_the_file_is_private() {
        let home = tempfile::tempdir().unwrap();
        let text = r#"{"version":1,"current":"default","later":{"a":1},"contexts":{"default":
            {"genesis":null,"connections":["unix:/a/agent.sock","me@box:2222"],"colour":"red"}}}"#;
        std::fs::write(Contexts::path(home.path()), text).unwrap();

        let mut contexts = Contexts::load(home.path()).unwrap();
        assert!(contexts.remember(&name("default"), None, &endpoint("me@box:2222")));
        contexts.save(home.path()).unwrap();

        let path = Contexts::path(home.path());
        let value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(value["later"]["a"], 1);
        assert_eq!(value["contexts"]["default"]["colour"], "red");
        let connections = &value["contexts"]["default"]["connections"];
        assert_eq!(*connections, serde_json::json!(["me@box:2222", "unix:/a/agent.sock"]));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1, "no draft is left");
        assert_eq!(Contexts::load(home.path()).unwrap(), contexts);
    }

    #[test]
    fn an_absent_file_knows_nothing_and_a_damaged_or_later_one_is_named() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(Contexts::load(home.path()).unwrap(), Contexts::default());
        for (text, words) in [("{", "is damaged"), (r#"{"version":2}"#, "has version 2")] {
            std::fs::write(Contexts::path(home.path()), text).unwrap();
            let error = Contexts::load(home.path()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn the_first_cluster_is_current_and_another_follows_when_it_goes() {
        let mut contexts = Contexts::default();
        contexts.remember(&name("one"), None, &endpoint("unix:/one"));
        contexts.remember(&name("two"), None, &endpoint("unix:/two"));
        assert!(!contexts.remember(&name("two"), None, &endpoint("unix:/two")));
        assert_eq!(contexts.current, Some(name("one")));
        assert!(contexts.remove(&name("one")));
        assert_eq!(contexts.current, Some(name("two")));
    }

    #[test]
    fn sockets_of_homes_that_are_gone_are_forgotten() {
        let home = tempfile::tempdir().unwrap();
        let here = endpoint(&format!("unix:{}/agent.sock", home.path().display()));
        let mut contexts = Contexts::default();
        for way in [&endpoint("unix:/gone/agent/agent.sock"), &here, &endpoint("me@box")] {
            contexts.remember(&name("one"), None, way);
        }
        assert!(contexts.forget_gone());
        assert_eq!(contexts.contexts[&name("one")].connections, [endpoint("me@box"), here]);
        assert!(!contexts.forget_gone());
    }

    #[test]
    fn the_list_of_connections_is_bounded() {
        let mut contexts = Contexts::default();
        for number in 0..100 {
            contexts.remember(&name("one"), None, &endpoint(&format!("unix:/{number}")));
        }
        let connections = &contexts.contexts[&name("one")].connections;
        assert_eq!(connections.len(), CONNECTIONS_MAX);
        assert_eq!(connections[0], endpoint("unix:/99"));
    }
}

//! Steps of provisioning modules, as a manifest has them.

use std::collections::BTreeMap;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Package managers that raptor speaks.
pub const PACKAGE_MANAGERS: [&str; 6] = ["apk", "apt-get", "dnf", "pacman", "yum", "zypper"];

/// One step: packages, then files, then a script. Done where its check fails, so that doing it
/// again does nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleStep {
    /// A few words for the progress line.
    pub name: String,
    /// Exits with 0 where there is nothing to do. Without one, packages and files tell; a step that
    /// has none of those is done once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Script>,
    /// Packages that must be there, by package manager.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub packages: BTreeMap<String, Vec<String>>,
    /// Files that must be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PlacedFile>,
    /// Does what is left, after packages and files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apply: Option<Script>,
    /// Takes it back, when the run that applied it fails later. Files are taken back without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Script>,
    /// Seconds until it is given up; the configuration's `provision.step_timeout_ms` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u64>,
    /// On which machines it is done: any `ID` or `ID_LIKE` of an `/etc/os-release`, an init system,
    /// a package manager or an architecture. On all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<String>,
}

/// A file of the module that goes to a place on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlacedFile {
    /// The file in the module's folder.
    pub source: String,
    /// Its absolute path on the machine.
    pub path: String,
    /// Its permissions, in octal.
    #[serde(default = "readable")]
    pub mode: String,
    /// `USER` or `USER:GROUP`; root's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Whether `${name}` in it stands for a variable's value.
    #[serde(default)]
    pub template: bool,
}

fn readable() -> String {
    "0644".to_owned()
}

impl PlacedFile {
    /// Its permissions as a number; none when they are no octal number below 07777.
    #[must_use]
    pub fn mode_bits(&self) -> Option<u32> {
        u32::from_str_radix(&self.mode, 8).ok().filter(|mode| *mode <= 0o7777)
    }

    /// What is wrong with it: the key, and why.
    #[must_use]
    pub fn fault(&self) -> Option<(&'static str, String)> {
        let plain = self.path.starts_with('/')
            && !self.path.contains(['\0', '\n'])
            && self.path[1..].split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !plain {
            return Some(("path", format!("{:?} is no plain absolute path", self.path)));
        }
        if self.mode_bits().is_none() {
            return Some(("mode", format!("{:?} is no octal mode such as 0644", self.mode)));
        }
        let word = |text: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        let owner = self.owner.as_ref().filter(|owner| {
            let (user, group) = owner.split_once(':').unwrap_or((owner, "x"));
            !(word(user) && word(group))
        });
        owner.map(|owner| ("owner", format!("{owner:?} is no USER or USER:GROUP")))
    }
}

/// Whether a package manager takes this for a package's name, and for no option.
#[must_use]
pub fn is_package_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.len() <= 200
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+:@".contains(&byte))
}

/// A shell script: the name of a file of the module, or `{ inline = "..." }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Script {
    /// The text itself.
    Inline(String),
    /// A file of the module.
    #[serde(untagged)]
    File(String),
}

impl<'de> Deserialize<'de> for Script {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScriptVisitor)
    }
}

struct ScriptVisitor;

impl<'de> Visitor<'de> for ScriptVisitor {
    type Value = Script;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the name of a file, or { inline = \"...\" }")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Script, E> {
        Ok(Script::File(name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Script, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            inline: String,
        }
        let table = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(Script::Inline(table.inline))
    }
}

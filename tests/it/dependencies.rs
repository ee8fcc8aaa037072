//! What raptor is made of: licences and duplicate versions, by the rules of `deny.toml`.
//!
//! cargo-deny reads the same file and is asked too where it is installed; these tests need only
//! cargo itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use crate::source;

/// The rules, as `deny.toml` writes them.
struct Rules {
    licences: BTreeSet<String>,
    duplicates: Vec<(String, semver::VersionReq)>,
}

impl Rules {
    fn read() -> Self {
        let text = fs::read_to_string(source::root().join("deny.toml")).unwrap();
        let table: toml::Table = text.parse().unwrap();
        let licences = table["licenses"]["allow"].as_array().unwrap();
        let duplicates = table["bans"]["skip"].as_array().unwrap();
        Self {
            licences: licences.iter().map(|name| name.as_str().unwrap().to_owned()).collect(),
            duplicates: duplicates
                .iter()
                .map(|entry| {
                    assert!(!entry["reason"].as_str().unwrap().is_empty(), "{entry}: no reason");
                    let spec = entry["crate"].as_str().unwrap();
                    let (name, requirement) = spec.split_once('@').unwrap();
                    (name.to_owned(), requirement.parse().unwrap())
                })
                .collect(),
        }
    }
}

/// A package of the dependency graph.
struct Package {
    name: String,
    version: semver::Version,
    licence: Option<String>,
    source: Option<String>,
    /// Whether the shipped program needs it, to run or to build.
    shipped: bool,
}

fn cargo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO")).args(arguments).current_dir(source::root()).output().unwrap()
}

/// The target that this computer builds for.
fn host() -> String {
    let output = cargo(&["-vV"]);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

/// Every package that this computer's build uses. Offline: what was built was fetched.
fn packages() -> Vec<Package> {
    let host = host();
    let output = cargo(&[
        "metadata",
        "--format-version=1",
        "--locked",
        "--offline",
        "--filter-platform",
        &host,
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let shipped = shipped_ids(&metadata["resolve"]);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let packages: Vec<Package> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| Package {
            name: text(&package["name"]).unwrap(),
            version: package["version"].as_str().unwrap().parse().unwrap(),
            licence: text(&package["license"]),
            source: text(&package["source"]),
            shipped: shipped.contains(package["id"].as_str().unwrap()),
        })
        .collect();
    assert!(packages.len() > 50, "only {} packages: the reader is broken", packages.len());
    packages
}

/// Ids reachable from the root without its development dependencies.
fn shipped_ids(resolve: &Value) -> BTreeSet<&str> {
    let nodes: BTreeMap<&str, &Value> = resolve["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (node["id"].as_str().unwrap(), node))
        .collect();
    let mut reached = BTreeSet::new();
    let mut open = vec![resolve["root"].as_str().unwrap()];
    while let Some(id) = open.pop() {
        if !reached.insert(id) {
            continue;
        }
        for dependency in nodes[id]["deps"].as_array().unwrap() {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            if kinds.iter().any(|kind| kind["kind"] != "dev") {
                open.push(dependency["pkg"].as_str().unwrap());
            }
        }
    }
    reached
}

/// Whether `expression` (SPDX 2.1, or the older `A/B`) can be met with the `allowed` licences.
fn is_licensed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let met = any_of(&mut rest, allowed);
    met && rest.is_empty()
}

fn any_of(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut met = all_of(words, allowed);
    while words.first() == Some(&"OR") {
        *words = &words[1..];
        met |= all_of(words, allowed);
    }
    met
}

fn all_of(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut met = one_of(words, allowed);
    while words.first() == Some(&"AND") {
        *words = &words[1..];
        met &= one_of(words, allowed);
    }
    met
}

fn one_of(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let Some((first, rest)) = words.split_first() else { return false };
    *words = rest;
    if *first == "(" {
        let met = any_of(words, allowed);
        let closed = words.first() == Some(&")");
        *words = words.get(1..).unwrap_or_default();
        return met && closed;
    }
    let plain = first.strip_suffix('+').unwrap_or(first);
    if let ["WITH", exception, after @ ..] = *words {
        *words = after;
        return allowed.contains(&format!("{plain} WITH {exception}"));
    }
    allowed.contains(plain)
}

/// Names of which more than one version is left when the reasoned ones are taken away.
fn unreasoned_duplicates(packages: &[Package], rules: &Rules) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&semver::Version>> = BTreeMap::new();
    for package in packages.iter().filter(|package| package.shipped) {
        let reasoned = rules.duplicates.iter().any(|(name, requirement)| {
            *name == package.name && requirement.matches(&package.version)
        });
        if !reasoned {
            versions.entry(&package.name).or_default().insert(&package.version);
        }
    }
    versions
        .into_iter()
        .filter(|(_, versions)| versions.len() > 1)
        .map(|(name, versions)| {
            let versions: Vec<String> = versions.iter().map(ToString::to_string).collect();
            format!("{name}: {}", versions.join(", "))
        })
        .collect()
}

#[test]
fn every_licence_is_allowed() {
    let rules = Rules::read();
    let refused: Vec<String> = packages()
        .iter()
        .filter(|package| {
            !package.licence.as_ref().is_some_and(|text| is_licensed(text, &rules.licences))
        })
        .map(|package| format!("{} {}: {:?}", package.name, package.version, package.licence))
        .collect();
    assert!(refused.is_empty(), "licences that deny.toml does not allow:\n{}", refused.join("\n"));
}

#[test]
fn every_package_comes_from_the_registry() {
    let foreign: Vec<String> = packages()
        .iter()
        .filter(|package| {
            package.source.as_ref().is_some_and(|source| !source.starts_with("registry+"))
        })
        .map(|package| format!("{} {}: {:?}", package.name, package.version, package.source))
        .collect();
    assert!(foreign.is_empty(), "{}", foreign.join("\n"));
}

#[test]
fn every_duplicate_has_its_reason() {
    let duplicates = unreasoned_duplicates(&packages(), &Rules::read());
    assert!(
        duplicates.is_empty(),
        "duplicate versions; update, or give the older one a reason in deny.toml:\n{}",
        duplicates.join("\n")
    );
}

#[test]
fn every_reason_has_its_duplicate() {
    let text = fs::read_to_string(source::root().join("Cargo.lock")).unwrap();
    let lock: toml::Table = text.parse().unwrap();
    let mut versions: BTreeMap<String, Vec<semver::Version>> = BTreeMap::new();
    for package in lock["package"].as_array().unwrap() {
        let version = package["version"].as_str().unwrap().parse().unwrap();
        versions.entry(package["name"].as_str().unwrap().to_owned()).or_default().push(version);
    }
    for (name, requirement) in Rules::read().duplicates {
        let found = versions.get(&name).map_or(&[][..], Vec::as_slice);
        let matching = found.iter().filter(|version| requirement.matches(version)).count();
        assert!(
            matching > 0 && found.len() > matching,
            "deny.toml skips {name}@{requirement}, and Cargo.lock holds {found:?}"
        );
    }
}

/// What nobody names is compiled for nothing, and its faults are ours all the same.
#[test]
fn every_dependency_is_used() {
    let text = fs::read_to_string(source::root().join("Cargo.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    for (section, folders) in
        [("dependencies", ["src"].as_slice()), ("dev-dependencies", &["src", "tests", "benches"])]
    {
        let code: String = folders
            .iter()
            .flat_map(|folder| source::rust_files(folder))
            .map(|(_, text)| source::Source::parse(&text).code)
            .collect();
        let unused: Vec<&String> = table[section]
            .as_table()
            .unwrap()
            .keys()
            .filter(|name| source::find_words(&code, &name.replace('-', "_")).is_empty())
            .collect();
        assert!(unused.is_empty(), "nobody uses these {section}: {unused:?}");
    }
}

#[test]
fn cargo_deny_agrees_where_it_is_installed() {
    if !cargo(&["deny", "--version"]).status.success() {
        eprintln!("cargo-deny is not installed: the other tests of this file checked its rules");
        return;
    }
    let output = cargo(&["deny", "--offline", "--locked", "check", "bans", "licenses", "sources"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The advisory database is fetched by `./runtests.sh`, never by a test: tests stay on this
/// computer.
#[test]
fn no_advisory_where_the_database_is_at_hand() {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let database = home.map(|home| home.join("advisory-dbs")).filter(|folder| folder.is_dir());
    if database.is_none() || !cargo(&["deny", "--version"]).status.success() {
        eprintln!("advisories left out: no cargo-deny with its database on this computer");
        return;
    }
    let output =
        cargo(&["deny", "--offline", "--locked", "check", "--disable-fetch", "advisories"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn licence_expressions_are_understood() {
    let allowed: BTreeSet<String> =
        ["MIT", "ISC", "MPL-2.0", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
    for met in [
        "MIT",
        "GPL-3.0 OR MIT",
        "GPL-3.0/MIT",
        "MIT AND ISC",
        "(GPL-2.0 OR MIT) AND ISC",
        "MPL-2.0+",
        "Apache-2.0 WITH LLVM-exception",
        "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
    ] {
        assert!(is_licensed(met, &allowed), "{met}");
    }
    for refused in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "GPL-3.0 OR MIT AND LGPL-2.1",
        "(MIT OR ISC) AND GPL-3.0",
        "(MIT",
        "MIT ISC",
        "Apache-2.0",
        "MIT WITH GPL-exception",
    ] {
        assert!(!is_licensed(refused, &allowed), "{refused}");
    }
}

#[test]
fn a_duplicate_without_reason_is_found() {
    let package = |name: &str, version: &str, shipped| Package {
        name: name.to_owned(),
        version: version.parse().unwrap(),
        licence: None,
        source: None,
        shipped,
    };
    let packages = [
        package("a", "1.0.0", true),
        package("a", "2.0.0", true),
        package("b", "1.0.0", true),
        package("b", "2.0.0", false),
    ];
    let mut rules = Rules { licences: BTreeSet::new(), duplicates: Vec::new() };
    assert_eq!(unreasoned_duplicates(&packages, &rules), ["a: 1.0.0, 2.0.0"]);
    rules.duplicates.push(("a".to_owned(), "^1".parse().unwrap()));
    assert_eq!(unreasoned_duplicates(&packages, &rules), Vec::<String>::new());
}

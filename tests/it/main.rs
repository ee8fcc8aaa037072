//! The one integration-test binary: it links once, and its files share one harness.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test reports by panicking, its helpers included"
)]

mod arrows;
mod cloud;
mod dependencies;
mod e2e;
mod sim;
mod source;
mod support;
mod tidy;

use std::fs;
use std::path::Path;

/// A file that no `mod` line names is compiled by nobody, and its tests pass by absence.
#[test]
fn every_test_file_is_compiled() {
    let forgotten = forgotten_files(&source::root().join("tests/it"), "main.rs");
    assert!(forgotten.is_empty(), "no `mod` line names:\n{}", forgotten.join("\n"));
}

/// The files below `folder` that `folder/root_file` does not reach by `mod` lines.
fn forgotten_files(folder: &Path, root_file: &str) -> Vec<String> {
    let parent = fs::read_to_string(folder.join(root_file)).unwrap_or_default();
    let code = source::Source::parse(&parent).code;
    let mut forgotten = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let is_rust = path.extension().is_some_and(|extension| extension == "rs");
        if path.file_name().unwrap() == root_file || !(path.is_dir() || is_rust) {
            continue;
        }
        if path.is_dir() {
            let beside = folder.join(format!("{stem}.rs"));
            if beside.exists() {
                continue;
            }
            forgotten.extend(forgotten_files(&path, "mod.rs"));
        }
        if !code.contains(&format!("mod {stem};")) {
            forgotten.push(path.display().to_string());
        }
    }
    forgotten
}

#[test]
fn a_forgotten_file_is_found() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("inner")).unwrap();
    fs::write(folder.path().join("main.rs"), "mod known;\nmod inner;\n// mod lost;\n").unwrap();
    fs::write(folder.path().join("inner/mod.rs"), "").unwrap();
    for name in ["known.rs", "lost.rs", "inner/deep.rs"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let mut found = forgotten_files(folder.path(), "main.rs");
    found.sort();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].ends_with("inner/deep.rs") && found[1].ends_with("lost.rs"), "{found:?}");
}

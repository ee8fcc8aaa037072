//! The habits of the house, counted.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::source::{self, Source};

/// Lines of code in one function, from its `fn` to its closing brace; comments and blanks are free.
const FUNCTION_LINES_MAX: usize = 70;
/// Lines in one Rust file.
const FILE_LINES_MAX: usize = 450;
/// Characters in one line of Rust.
const LINE_COLUMNS_MAX: usize = 110;

/// All that may stand at the top level.
const TOP_LEVEL: [&str; 25] = [
    ".cargo",
    ".ci",
    ".config",
    ".editorconfig",
    ".gitattributes",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "clippy.toml",
    "compute_types",
    "deny.toml",
    "docs",
    "justfile",
    "mutable_config.example.json",
    "provisioning",
    "runtests.sh",
    "rustfmt.toml",
    "src",
];

/// `tests` is there as well: named apart, since this very file proves it.
const OWN_FOLDER: &str = "tests";

/// The one file that may sleep: everything else waits for something to become true.
const SLEEPER: &str = "tests/it/support/wait.rs";

/// Texts that tell of a passing state; written in two parts so that this file holds none of them.
const PASSING: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("no", " longer")];

/// What a whole-tree check found, one line each.
fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// The project's text files with their text.
fn text_files() -> Vec<(PathBuf, String)> {
    source::project_files()
        .into_iter()
        .filter_map(|path| {
            let text = fs::read_to_string(source::root().join(&path)).ok()?;
            Some((path, text))
        })
        .collect()
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

fn is_shell(path: &Path, text: &str) -> bool {
    path.extension().is_some_and(|extension| extension == "sh")
        || text.lines().next().is_some_and(|first| {
            first.starts_with("#!") && (first.ends_with("sh") || first.contains("sh "))
        })
}

/// Whether a line is long because of a text in it, such as a message that a test expects to the
/// letter: the formatter does not break texts either.
fn is_one_text(line: &str) -> bool {
    const CODE_COLUMNS_MAX: usize = 60;
    line.find('"').is_some_and(|column| column <= CODE_COLUMNS_MAX)
}

/// Faults of one Rust text.
fn rust_faults(text: &str) -> Vec<(usize, String)> {
    let mut faults = Vec::new();
    let line_count = text.lines().count();
    if line_count > FILE_LINES_MAX {
        faults.push((line_count, format!("{line_count} lines (at most {FILE_LINES_MAX})")));
    }
    for (index, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > LINE_COLUMNS_MAX && !is_one_text(line) {
            faults.push((index + 1, format!("{columns} columns (at most {LINE_COLUMNS_MAX})")));
        }
    }
    let source = Source::parse(text);
    for (line, name, length) in functions(&source.code) {
        if length > FUNCTION_LINES_MAX {
            faults
                .push((line, format!("fn {name}: {length} lines (at most {FUNCTION_LINES_MAX})")));
        }
    }
    for passing in PASSING {
        for place in source::find_words(&source.comments, passing) {
            let line = source::line_of(text, place);
            faults.push((line, format!("{passing:?} in a comment: say what is, or open an issue")));
        }
    }
    for place in source::find_words(&source.code, "dbg!") {
        faults.push((source::line_of(text, place), "dbg!".into()));
    }
    faults
}

/// Every function with a body: its line, its name, its lines of code.
fn functions(code: &str) -> Vec<(usize, String, usize)> {
    let mut found = Vec::new();
    for place in source::find_words(code, "fn") {
        let rest = &code[place..];
        let name: String = rest[2..]
            .trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let mut depth = 0_usize;
        let end_of_head = rest.char_indices().find(|(_, letter)| {
            match letter {
                '(' | '[' => depth += 1,
                ')' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && matches!(letter, '{' | ';' | ',' | '=' | '}')
        });
        let Some((open, '{')) = end_of_head.filter(|_| !name.is_empty()) else { continue };
        let end = source::block_end(code, place + open);
        let length = code[place..end].lines().filter(|line| !line.trim().is_empty()).count();
        found.push((source::line_of(code, place), name, length));
    }
    found
}

/// Faults of any text: blanks at line ends, tabs, the last line break.
fn text_faults(text: &str) -> Vec<(usize, String)> {
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.ends_with([' ', '\t', '\r']) {
            faults.push((index + 1, "blanks at the end of the line".into()));
        }
        if line.contains('\t') {
            faults.push((index + 1, "a tab".into()));
        }
    }
    if !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")) {
        faults.push((text.lines().count(), "a file ends with one line break".into()));
    }
    faults
}

/// Faults of a shell script, but for its syntax.
fn shell_faults(text: &str) -> Vec<(usize, String)> {
    let first = text.lines().find(|line| !line.starts_with('#') && !line.trim().is_empty());
    let strict = first.is_some_and(|line| line.starts_with("set -eu"));
    let mut faults = Vec::new();
    if !strict {
        faults.push((1, "a script's first command is `set -eu`".into()));
    }
    for (index, line) in text.lines().enumerate() {
        if PASSING.iter().any(|passing| line.contains(passing)) {
            faults.push((index + 1, "a text that tells of a passing state".into()));
        }
    }
    faults
}

fn placed(path: &Path, faults: Vec<(usize, String)>) -> Vec<String> {
    faults.into_iter().map(|(line, what)| format!("{}:{line}: {what}", path.display())).collect()
}

#[test]
fn rust_is_short_and_says_what_is() {
    let mut found = Vec::new();
    for (path, text) in text_files().iter().filter(|(path, _)| is_rust(path)) {
        found.extend(placed(path, rust_faults(text)));
    }
    assert_none(&found);
}

#[test]
fn texts_end_clean() {
    let mut found = Vec::new();
    for (path, text) in text_files() {
        found.extend(placed(&path, text_faults(&text)));
    }
    assert_none(&found);
}

#[test]
fn scripts_are_strict_and_parse() {
    let mut found = Vec::new();
    let mut count = 0;
    for (path, text) in text_files().iter().filter(|(path, text)| is_shell(path, text)) {
        count += 1;
        // Below `src` stand parts of larger scripts, which handle every failure themselves.
        if !path.starts_with("src") {
            found.extend(placed(path, shell_faults(text)));
        }
        let shell = if text.lines().next().unwrap_or("").contains("bash") { "bash" } else { "sh" };
        let output = Command::new(shell).arg("-n").arg(source::root().join(path)).output().unwrap();
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            found.push(format!("{}: {shell} -n: {why}", path.display()));
        }
    }
    assert!(count >= 2, "only {count} scripts found: the listing is broken");
    assert_none(&found);
}

#[test]
fn nothing_stray_at_the_top() {
    let top: BTreeSet<String> = source::project_files()
        .iter()
        .map(|path| path.iter().next().unwrap().to_string_lossy().into_owned())
        .collect();
    let stray: Vec<String> = top
        .iter()
        .filter(|name| !TOP_LEVEL.contains(&name.as_str()) && *name != OWN_FOLDER)
        .map(|name| format!("{name}: not in TOP_LEVEL"))
        .collect();
    assert_none(&stray);
    let optional = [".gitattributes"];
    let missing: Vec<String> = TOP_LEVEL
        .iter()
        .filter(|name| !optional.contains(name) && !top.contains(**name))
        .map(|name| format!("{name}: missing"))
        .collect();
    assert_none(&missing);
}

#[test]
fn only_one_file_sleeps() {
    let mut found = Vec::new();
    for (path, text) in text_files().iter().filter(|(path, _)| is_rust(path)) {
        let is_test = path.starts_with("tests") || source::is_test_file(path);
        if !is_test || path == Path::new(SLEEPER) {
            continue;
        }
        let code = Source::parse(text).code;
        for place in source::find_words(&code, "thread::sleep") {
            let line = source::line_of(text, place);
            found.push(format!("{}:{line}: wait for something, not for a time", path.display()));
        }
    }
    assert_none(&found);
}

#[test]
fn no_file_names_this_machine() {
    let root = source::root();
    let mut names = vec![root.to_string_lossy().into_owned()];
    // A parent such as `/home` or `/root` is nothing special; a deeper one is somebody's own.
    if let Some(parent) = root.parent().filter(|parent| parent.iter().count() > 2) {
        names.push(parent.to_string_lossy().into_owned());
    }
    let mut found = Vec::new();
    for (path, text) in text_files() {
        for name in &names {
            if text.contains(name.as_str()) {
                found.push(format!("{}: names {name}", path.display()));
            }
        }
    }
    assert_none(&found);
}

#[test]
fn the_pages_agree_with_the_build() {
    let read = |name: &str| {
        fs::read_to_string(source::root().join(name)).unwrap_or_else(|why| panic!("{name}: {why}"))
    };
    assert!(read("README.md").contains("./runtests.sh"), "README.md does not say how to test");
    let version = env!("CARGO_PKG_VERSION");
    let heading = format!("## [{version}]");
    assert!(read("CHANGELOG.md").contains(&heading), "CHANGELOG.md has no {heading:?}");
    assert!(read(".ci/run").contains("./runtests.sh"), ".ci/run does not call ./runtests.sh");
}

#[test]
fn faults_are_found() {
    let long = format!("fn short() {{}}\nfn long() {{\n{}}}\n", "a();\n// b\n\n".repeat(71));
    let faults = rust_faults(&long);
    assert_eq!(faults, [(2, "fn long: 73 lines (at most 70)".to_owned())]);
    assert_eq!(rust_faults(&"a();\n".repeat(451)).len(), 1);
    assert_eq!(rust_faults(&format!("// {}\n", "ä".repeat(107))), []);
    assert_eq!(rust_faults(&format!("// {}\n", "ä".repeat(108))).len(), 1);
    for passing in PASSING {
        assert_eq!(
            rust_faults(&format!("// {passing} a\nfn a() {{ b(\"{passing}\") }}\n")).len(),
            1
        );
    }
    for bad in ["a \n", "a\t\nb", "a", "a\n\n", "\ta\n"] {
        assert_ne!(text_faults(bad), [], "{bad:?}");
    }
    assert_eq!(text_faults("a\n\nb\n"), []);
    assert_eq!(shell_faults("#!/bin/sh\n# a\n\nset -eu\na\n"), []);
    assert_eq!(shell_faults("#!/bin/bash\nset -euo pipefail\n"), []);
    assert_eq!(shell_faults("#!/bin/sh\na\nset -eu\n").len(), 1);
}

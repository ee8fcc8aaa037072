//! The walls of the house: which room may import which, and what pure rooms may not know.
//! `ARCHITECTURE.md` says why; the rules stand here once, as data.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::source;

/// Every room and its floor. A room imports lower floors only.
const FLOORS: [(&str, u8); 13] = [
    ("cli", 5),
    ("http", 4),
    ("agent", 3),
    ("provision", 2),
    ("backup", 2),
    ("config", 1),
    ("gossip", 1),
    ("mesh", 1),
    ("reconcile", 1),
    ("compute", 1),
    ("ssh", 1),
    ("seal", 1),
    ("model", 0),
];

/// Rooms that decide and do not act.
const PURE_ROOMS: [&str; 5] = ["model", "gossip", "reconcile", "mesh", "seal"];

/// The thin shells inside a pure room.
const SHELLS: [&str; 6] = [
    "src/mesh/socket.rs",
    "src/mesh/socket",
    "src/mesh/interfaces.rs",
    "src/mesh/interfaces/",
    "src/mesh/stream",
    "src/mesh/tun",
];

/// What a pure room may not name, and why.
const IMPURE: [(&str, &str); 27] = [
    ("tokio", "an executor"),
    ("std::fs", "the file system"),
    ("std::process", "processes"),
    ("std::thread", "threads"),
    ("std::env", "the environment"),
    ("std::io::stdin", "the terminal"),
    ("std::io::stdout", "the terminal"),
    ("std::io::stderr", "the terminal"),
    ("UdpSocket", "a socket"),
    ("TcpStream", "a socket"),
    ("TcpListener", "a socket"),
    ("UnixStream", "a socket"),
    ("UnixListener", "a socket"),
    ("UnixDatagram", "a socket"),
    ("SystemTime::now", "a clock"),
    ("Instant", "a clock"),
    ("getrandom", "randomness of its own"),
    ("thread_rng", "randomness of its own"),
    ("rand::rng", "randomness of its own"),
    ("rand::random", "randomness of its own"),
    ("rand::make_rng", "randomness of its own"),
    ("OsRng", "randomness of its own"),
    ("SysRng", "randomness of its own"),
    ("from_os_rng", "randomness of its own"),
    ("RandomState", "randomness of its own"),
    ("HashMap", "an order that changes from run to run"),
    ("HashSet", "an order that changes from run to run"),
];

/// Ways to reach a screen: the command line's alone.
const SCREEN: [&str; 5] = ["println!", "eprintln!", "print!", "eprint!", "indicatif"];

/// The files that may hold `unsafe`.
const UNSAFE_FILES: [&str; 2] = ["src/ssh/parent_death.rs", "src/mesh/tun/kernel.rs"];

/// A broken rule.
#[derive(Debug, PartialEq)]
struct Violation {
    path: PathBuf,
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.path.display(), self.line, self.what)
    }
}

/// One file of `src`, taken apart.
struct File {
    path: PathBuf,
    /// Code without comments and literals.
    code: String,
    /// The same without its test modules; empty in a file of tests.
    shipped: String,
    tests: Vec<Range<usize>>,
    inline: Vec<Range<usize>>,
}

impl File {
    fn parse(path: &Path, text: &str, is_test: bool) -> Self {
        let code = source::Source::parse(text).code;
        let (mut tests, _) = source::test_modules(&code);
        if is_test {
            tests.push(0..code.len());
        }
        let shipped = source::blank(&code, &tests);
        let inline = source::inline_modules(&code);
        Self { path: path.to_owned(), code, shipped, tests, inline }
    }

    /// The first folder (or file) below `src`.
    fn room(&self) -> String {
        let mut parts = self.path.iter().skip(1);
        let first = parts.next().unwrap().to_string_lossy();
        first.strip_suffix(".rs").unwrap_or(&first).to_owned()
    }

    /// How many `super::` lead from this file's top level to the crate's root.
    fn depth(&self) -> usize {
        let parts = self.path.iter().count() - 1;
        if self.path.ends_with("mod.rs") { parts - 1 } else { parts }
    }

    fn is_pure(&self) -> bool {
        PURE_ROOMS.contains(&self.room().as_str())
            && !SHELLS.iter().any(|shell| self.path.starts_with(shell))
    }

    fn at(&self, place: usize, what: String) -> Violation {
        Violation { path: self.path.clone(), line: source::line_of(&self.code, place), what }
    }
}

fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// All rules on all `files` (path below the checkout, text).
fn check(files: &[(PathBuf, String)]) -> Vec<Violation> {
    let test_files = declared_test_files(files);
    let mut found = Vec::new();
    for (path, text) in files {
        let is_test = source::is_test_file(path)
            || test_files
                .iter()
                .any(|test| path == test || path.starts_with(test.with_extension("")));
        let file = File::parse(path, text, is_test);
        found.extend(check_imports(&file));
        found.extend(check_import_form(&file));
        found.extend(check_climbing(&file));
        found.extend(check_purity(&file));
        found.extend(check_screen(&file));
        found.extend(check_unsafe(&file));
    }
    found
}

/// Files that a parent declares with `#[cfg(test)] mod name;`.
fn declared_test_files(files: &[(PathBuf, String)]) -> BTreeSet<PathBuf> {
    let mut declared = BTreeSet::new();
    for (path, text) in files {
        let code = source::Source::parse(text).code;
        let folder = match path.file_name().and_then(|name| name.to_str()) {
            Some("mod.rs" | "lib.rs" | "main.rs") => path.parent().unwrap().to_owned(),
            _ => path.with_extension(""),
        };
        for name in source::test_modules(&code).1 {
            declared.insert(folder.join(format!("{name}.rs")));
        }
    }
    declared
}

/// `crate::ROOM` anywhere in code, not only after `use`.
fn check_imports(file: &File) -> Vec<Violation> {
    let room = file.room();
    let mut found = Vec::new();
    for place in source::find_words(&file.code, "crate::") {
        let target: String = file.code[place + 7..]
            .chars()
            .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
            .collect();
        let Some(target_floor) = floor(&target) else {
            if room != "lib" && target != room && !target.is_empty() {
                found.push(file.at(place, format!("crate::{target} is no room of FLOORS")));
            }
            continue;
        };
        let allowed = target == room || floor(&room).is_some_and(|own| target_floor < own);
        if !allowed {
            let own = floor(&room).map_or("no floor".to_owned(), |own| format!("floor {own}"));
            found.push(
                file.at(place, format!("{room} ({own}) imports {target} (floor {target_floor})")),
            );
        }
    }
    found
}

/// No braces before the room and no globs: an arrow must be visible to be checked.
fn check_import_form(file: &File) -> Vec<Violation> {
    let mut found = Vec::new();
    for place in source::find_words(&file.code, "use") {
        let end = file.code[place..].find(';').map_or(file.code.len(), |end| place + end);
        let statement: String = file.code[place..end].split_whitespace().collect();
        let in_tests = file.tests.iter().any(|range| range.contains(&place));
        if statement.starts_with("usecrate::{") {
            found.push(file.at(place, "braces after `use crate::` hide the rooms".into()));
        }
        let is_glob = ["::*", "{*", ",*"].iter().any(|glob| statement.contains(glob));
        // A test names what it tests, and a property test speaks a language of its own.
        let is_test_glob = ["usesuper::*", "useproptest::prelude::*"].contains(&statement.as_str());
        if is_glob && !(is_test_glob && in_tests) {
            found.push(file.at(place, "a glob import hides what is imported".into()));
        }
    }
    found
}

/// `super::` that climbs out of the room would be an arrow that `crate::` rules cannot see.
fn check_climbing(file: &File) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut end_of_last = 0;
    for place in source::find_words(&file.code, "super::") {
        if place < end_of_last {
            continue;
        }
        let climbs = file.code[place..].split("super::").take_while(|part| part.is_empty()).count();
        let climbs = climbs.max(1);
        end_of_last = place + climbs * "super::".len();
        let inline = file.inline.iter().filter(|range| range.contains(&place)).count();
        if climbs >= file.depth() + inline {
            found.push(file.at(place, "`super::` leaves the room: write `crate::`".into()));
        }
    }
    found
}

fn check_purity(file: &File) -> Vec<Violation> {
    if !file.is_pure() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (word, what) in IMPURE {
        for place in source::find_words(&file.shipped, word) {
            found.push(file.at(place, format!("`{word}` ({what}) in a pure room")));
        }
    }
    found
}

fn check_screen(file: &File) -> Vec<Violation> {
    if ["cli", "main"].contains(&file.room().as_str()) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for word in SCREEN {
        for place in source::find_words(&file.shipped, word) {
            found.push(file.at(place, format!("`{word}`: only cli prints")));
        }
    }
    found
}

fn check_unsafe(file: &File) -> Vec<Violation> {
    if UNSAFE_FILES.iter().any(|path| file.path == Path::new(path)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for word in ["unsafe", "unsafe_code"] {
        for place in source::find_words(&file.code, word) {
            found.push(file.at(place, format!("`{word}` outside {UNSAFE_FILES:?}")));
        }
    }
    found
}

#[test]
fn the_walls_stand() {
    let files = source::rust_files("src");
    assert!(files.len() > 20, "only {} files: the scanner is broken", files.len());
    let violations: Vec<String> = check(&files).iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn every_room_has_a_floor() {
    let lib = source::rust_files("src").into_iter().find(|(path, _)| path.ends_with("lib.rs"));
    let code = source::Source::parse(&lib.unwrap().1).code;
    let rooms: BTreeSet<&str> = code
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    let floors: BTreeSet<&str> = FLOORS.iter().map(|(room, _)| *room).collect();
    assert_eq!(rooms, floors, "src/lib.rs and FLOORS name different rooms");
}

/// What the rules say of one planted file: the texts, without the place.
fn planted(path: &str, text: &str) -> Vec<String> {
    check(&[(PathBuf::from(path), text.to_owned())]).into_iter().map(|found| found.what).collect()
}

fn assert_caught(path: &str, text: &str, part: &str) {
    let found = planted(path, text);
    assert!(
        found.iter().any(|what| what.contains(part)),
        "{path} with {text:?}: wanted {part:?}, found {found:?}"
    );
}

fn assert_sound(path: &str, text: &str) {
    let found = planted(path, text);
    assert!(found.is_empty(), "{path} with {text:?}: {found:?}");
}

#[test]
fn an_arrow_upwards_or_sideways_is_caught() {
    assert_caught("src/model/name.rs", "use crate::cli::args::Args;", "imports cli");
    assert_caught("src/mesh/core.rs", "use crate::gossip::wire::Packet;", "imports gossip");
    assert_caught("src/gossip/mod.rs", "fn a() { crate::mesh::core::b(); }", "imports mesh");
    assert_caught("src/agent/mod.rs", "fn a(b: &crate::http::Api) {}", "imports http");
    assert_caught("src/config/mod.rs", "pub(in crate::config) use crate::ssh::A;", "imports ssh");
    assert_caught("src/config/mod.rs", "#[cfg(test)] mod tests { use crate::ssh::A; }", "imports");
    assert_sound("src/agent/mod.rs", "use crate::mesh::core::Mesh;\nuse crate::agent::state::A;");
    assert_sound("src/gossip/mod.rs", "// crate::cli\nfn a() -> &str { \"crate::cli\" }");
}

#[test]
fn an_import_that_hides_its_arrow_is_caught() {
    assert_caught("src/agent/mod.rs", "use crate::{config::a, mesh::b};", "braces");
    assert_caught("src/model/a.rs", "use crate::cli::{A, B};", "imports cli");
    assert_caught("src/agent/mod.rs", "use crate::model::time::*;", "glob");
    assert_caught("src/agent/mod.rs", "use super::*;", "glob");
    assert_caught("src/agent/mod.rs", "use std::collections::{BTreeMap, btree_map::*};", "glob");
    assert_caught("src/agent/mod.rs", "use super::mesh::core::Mesh;", "leaves the room");
    assert_caught("src/agent/a.rs", "fn a() { super::super::mesh::b(); }", "leaves the room");
    assert_sound("src/agent/a.rs", "use super::b::C;");
    assert_sound("src/agent/mod.rs", "#[cfg(test)]\nmod tests {\n use super::*;\n}");
    assert_caught("src/agent/mod.rs", "use proptest::prelude::*;", "glob");
    assert_sound("src/agent/tests.rs", "use proptest::prelude::*;");
    assert_sound("src/agent/mod.rs", "use std::collections::{BTreeMap, BTreeSet};");
}

#[test]
fn the_world_inside_a_pure_room_is_caught() {
    for (word, _) in IMPURE {
        assert_caught("src/gossip/mod.rs", &format!("fn a() {{ {word}::b(); }}"), "pure room");
    }
    assert_caught("src/mesh/core.rs", "use tokio::time;", "pure room");
    assert_caught("src/model/a.rs", "use std::time::Instant;", "pure room");
    assert_sound("src/mesh/socket.rs", "use tokio::net::UdpSocket;");
    assert_sound("src/mesh/stream/lane.rs", "use tokio::sync::mpsc;");
    assert_sound("src/mesh/core.rs", "use std::net::SocketAddr;\nuse rand::rngs::SmallRng;");
    assert_sound("src/gossip/a.rs", "#[cfg(test)]\nmod tests {\n fn a() { std::fs::b(); }\n}");
    let files = [
        (PathBuf::from("src/gossip/mod.rs"), "#[cfg(test)]\nmod sim;".to_owned()),
        (PathBuf::from("src/gossip/sim.rs"), "use std::collections::HashMap;".to_owned()),
    ];
    assert_eq!(check(&files), []);
}

#[test]
fn printing_outside_the_command_line_is_caught() {
    for word in SCREEN {
        assert_caught("src/agent/mod.rs", &format!("fn a() {{ {word}(b); }}"), "only cli prints");
        assert_sound("src/cli/mod.rs", &format!("fn a() {{ {word}(b); }}"));
    }
}

#[test]
fn unsafe_code_is_caught() {
    assert_caught("src/ssh/mod.rs", "fn a() { unsafe { b() } }", "outside");
    assert_caught("src/mesh/mod.rs", "#![allow(unsafe_code)]", "outside");
    for path in UNSAFE_FILES {
        assert_sound(path, "#![allow(unsafe_code)]\nfn a() { unsafe { b() } }");
    }
}

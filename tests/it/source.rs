//! Reading the project's own files as text: what is code, what is comment, what is test.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The checkout's top folder.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The project's files, relative to [`root`]: what git tracks or would track; in an unpacked
/// archive without git, all that is not built.
pub fn project_files() -> Vec<PathBuf> {
    let listing = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    let mut files: Vec<PathBuf> = match listing {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .split_terminator('\0')
            .map(PathBuf::from)
            .filter(|path| root().join(path).is_file())
            .collect(),
        _ => walkdir::WalkDir::new(root())
            .into_iter()
            .filter_entry(|entry| {
                entry.depth() != 1
                    || ![".git", "target", "dist"].iter().any(|name| entry.file_name() == *name)
            })
            .map(Result::unwrap)
            .filter(|entry| entry.file_type().is_file())
            .map(|entry| entry.path().strip_prefix(root()).unwrap().to_owned())
            .collect(),
    };
    files.sort();
    files.dedup();
    assert!(files.len() > 20, "only {} files: the listing is broken", files.len());
    files
}

/// The project's Rust files below `folder`, with their text.
pub fn rust_files(folder: &str) -> Vec<(PathBuf, String)> {
    project_files()
        .into_iter()
        .filter(|path| path.starts_with(folder))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let text = fs::read_to_string(root().join(&path)).unwrap();
            (path, text)
        })
        .collect()
}

/// A Rust text taken apart. Both halves keep every byte's place and every line break.
pub struct Source {
    /// The text with comments, strings and characters blanked.
    pub code: String,
    /// The text with all but comments blanked.
    pub comments: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

impl Source {
    /// Takes `text` apart.
    pub fn parse(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut kinds = vec![Kind::Code; bytes.len()];
        let mut at = 0;
        while at < bytes.len() {
            let (kind, length) = token(&bytes[at..], at.checked_sub(1).map(|last| bytes[last]));
            let end = (at + length).min(bytes.len());
            kinds[at..end].fill(kind);
            at = end;
        }
        let keep = |wanted: Kind| {
            let kept = bytes
                .iter()
                .zip(&kinds)
                .map(|(byte, kind)| if *kind == wanted || *byte == b'\n' { *byte } else { b' ' })
                .collect();
            String::from_utf8(kept).unwrap()
        };
        Self { code: keep(Kind::Code), comments: keep(Kind::Comment) }
    }
}

/// What starts here and how many bytes it takes.
fn token(rest: &[u8], before: Option<u8>) -> (Kind, usize) {
    let line_end = || rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    match rest {
        [b'/', b'/', ..] => (Kind::Comment, line_end()),
        [b'/', b'*', ..] => (Kind::Comment, block_comment(rest)),
        [b'"', ..] => (Kind::Literal, quoted(rest, b'"')),
        [b'r', b'"' | b'#', ..] if !before.is_some_and(|byte| is_word(byte) && byte != b'b') => {
            raw_string(rest).map_or((Kind::Code, 1), |length| (Kind::Literal, length))
        }
        [b'\'', b'\\', ..] => (Kind::Literal, quoted(rest, b'\'')),
        [b'\'', ..] => {
            let text = String::from_utf8_lossy(&rest[1..rest.len().min(9)]).into_owned();
            let first = text.chars().next().map_or(1, char::len_utf8);
            if rest.get(1 + first) == Some(&b'\'') {
                (Kind::Literal, 2 + first)
            } else {
                (Kind::Code, 1)
            }
        }
        _ => (Kind::Code, 1),
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at + 1 < rest.len() {
        match &rest[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let end: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let start = 2 + hashes;
    let length = rest[start..].windows(end.len()).position(|window| window == end);
    Some(length.map_or(rest.len(), |length| start + length + end.len()))
}

/// Whether `byte` can be part of a Rust word.
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Places where `needle` stands in `code` and is no part of a longer word.
pub fn find_words(code: &str, needle: &str) -> Vec<usize> {
    let bytes = code.as_bytes();
    code.match_indices(needle)
        .map(|(start, _)| start)
        .filter(|start| {
            let end = start + needle.len();
            let open = needle.as_bytes().first().copied().is_some_and(is_word);
            let close = needle.as_bytes().last().copied().is_some_and(is_word);
            let word_before = open && *start > 0 && is_word(bytes[start - 1]);
            let word_after = close && bytes.get(end).copied().is_some_and(is_word);
            !word_before && !word_after
        })
        .collect()
}

/// The line of a place, counted from 1.
pub fn line_of(text: &str, place: usize) -> usize {
    1 + text[..place].matches('\n').count()
}

/// The place after the `}` that closes the `{` at `open`.
pub fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, byte) in code.as_bytes()[open..].iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + offset + 1;
        }
    }
    code.len()
}

/// Inline modules (`mod name { .. }`) of `code`: their places.
pub fn inline_modules(code: &str) -> Vec<Range<usize>> {
    find_words(code, "mod")
        .into_iter()
        .filter_map(|start| {
            let rest = &code[start..];
            let open = rest.find(['{', ';', '=']).filter(|at| rest.as_bytes()[*at] == b'{')?;
            Some(start..block_end(code, start + open))
        })
        .collect()
}

/// Modules marked `#[cfg(test)]`: places of the inline ones, names of those in other files.
pub fn test_modules(code: &str) -> (Vec<Range<usize>>, BTreeSet<String>) {
    let mut files = BTreeSet::new();
    let mut inline = Vec::new();
    for (start, mark) in code.match_indices("#[cfg(test)]") {
        let rest = &code[start + mark.len()..];
        let Some(after) = rest.find("mod ").filter(|at| only_attributes(&rest[..*at])) else {
            continue;
        };
        let end = rest[after..].find(['{', ';']).map_or(rest.len(), |at| after + at);
        if rest.as_bytes().get(end) == Some(&b'{') {
            let open = start + mark.len() + end;
            inline.push(start..block_end(code, open));
        } else {
            files.insert(rest[after + 4..end].trim().to_owned());
        }
    }
    (inline, files)
}

/// Whether only further attributes or a visibility stand between the mark and its `mod`.
fn only_attributes(between: &str) -> bool {
    between.lines().map(str::trim).all(|line| {
        line.is_empty() || line.starts_with("#[") || line == "pub" || line.starts_with("pub(")
    })
}

/// Blanks `ranges` of `text`, keeping line breaks.
pub fn blank(text: &str, ranges: &[Range<usize>]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for range in ranges {
        for byte in &mut bytes[range.clone()] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Whether `path` is a file of tests, by its place: `tests.rs`, `NAME_tests.rs`, or below a folder
/// `tests`.
pub fn is_test_file(path: &Path) -> bool {
    path.iter().any(|part| part == "tests" || part == "tests.rs")
        || path.to_string_lossy().ends_with("_tests.rs")
}

#[test]
fn comments_strings_and_characters_are_no_code() {
    let text = concat!(
        "a // b \"\n/* c /* d */ e */ f(\"g\\\"h\", 'i', '\\'', b\"j\", ",
        "r#\"k\" l\"#, 'ä');\nfn m<'n>() {}"
    );
    let source = Source::parse(text);
    let words: String = source.code.split_whitespace().collect();
    assert_eq!(words, "af(,,,b,,);fnm<'n>(){}");
    let comments: String = source.comments.split_whitespace().collect();
    assert_eq!(comments, "//b\"/*c/*d*/e*/");
    assert_eq!(source.code.len(), text.len());
}

#[test]
fn test_modules_are_found() {
    let code =
        "fn a() {}\n#[cfg(test)]\nmod sim;\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\nfn c() {}";
    let (inline, files) = test_modules(code);
    assert_eq!(files.into_iter().collect::<Vec<_>>(), ["sim"]);
    let kept = blank(code, &inline);
    assert!(kept.contains("fn a") && !kept.contains("fn b") && kept.contains("fn c"), "{kept}");
}

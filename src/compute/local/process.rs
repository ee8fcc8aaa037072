//! Processes and their groups, as `/proc` shows them. Elsewhere than on Linux nothing is seen.

use std::fs;
use std::path::Path;

/// What is needed of `/proc/PID/stat` (proc(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its process group (field 5).
    pub group: i32,
    /// When it started, in clock ticks since the machine did (field 22): with the id it names one
    /// process only, even after the id was given to another.
    pub start_ticks: u64,
    /// Whether it has ended and only waits for its parent to look.
    pub ended: bool,
}

impl Process {
    /// The process with this id.
    #[must_use]
    pub fn read(pid: i32) -> Option<Self> {
        parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Whether `argument` is one of the words it was started with.
    #[must_use]
    pub fn has_argument(&self, argument: &Path) -> bool {
        let words = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        words.split(|byte| *byte == 0).any(|word| word == argument.as_os_str().as_encoded_bytes())
    }
}

/// All processes of a group that have not ended.
#[must_use]
pub fn group_members(group: i32) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Process::read)
        .filter(|process| process.group == group && !process.ended)
        .collect()
}

/// The second field, the program's name, may hold blanks and brackets: its end is the last bracket.
fn parse_stat(text: &str) -> Option<Process> {
    let pid = text.split_once(' ')?.0.parse().ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    Some(Process {
        pid,
        ended: matches!(*fields.first()?, "Z" | "X" | "x"),
        group: fields.get(2)?.parse().ok()?,
        start_ticks: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_brackets_does_not_shift_the_fields() {
        let text = "42 (a) R 1 (b) S 1 40 40 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 1";
        let expected = Process { pid: 42, group: 40, start_ticks: 987_654, ended: false };
        assert_eq!(parse_stat(text), Some(expected));
        for text in ["", "42", "42 (a", "42 (a) S", "42 (a) S 1 x 0 0"] {
            assert_eq!(parse_stat(text), None, "{text}");
        }
    }

    #[test]
    fn this_process_is_seen_in_its_group() {
        let me = Process::read(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(!me.ended && me.start_ticks > 0);
        assert!(group_members(me.group).contains(&me));
    }
}

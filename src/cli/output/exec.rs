//! How `exec` prints: whole lines behind the member's name, as `consul exec` does, or one JSON
//! object a member.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde_json::json;

use crate::agent::api::ExecEvent;
use crate::agent::api::ExecStream;
use crate::cli::exit_status::ExitStatus;
use crate::model::name::Name;

/// A line longer than this is printed in pieces, in bytes.
const LINE_LENGTH_MAX: usize = 64 * 1024;

/// Output kept of one stream of one member for its JSON object, in bytes; the rest is dropped and
/// the object says so.
const KEPT_LENGTH_MAX: usize = 16 * 1024 * 1024;

/// What is to be written after an event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Printed {
    /// For standard output.
    pub stdout: Vec<u8>,
    /// For standard error.
    pub stderr: Vec<u8>,
}

impl Printed {
    fn stream(&mut self, stream: ExecStream) -> &mut Vec<u8> {
        match stream {
            ExecStream::Stdout => &mut self.stdout,
            ExecStream::Stderr => &mut self.stderr,
        }
    }
}

#[derive(Debug, Default)]
struct Target {
    /// A line without its end; for JSON all that came.
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    truncated: bool,
    acknowledged: bool,
    /// Whether the program ran to its end.
    completed: bool,
    /// Whether it succeeded, once it has ended.
    success: Option<bool>,
}

impl Target {
    fn stream(&mut self, stream: ExecStream) -> &mut Vec<u8> {
        match stream {
            ExecStream::Stdout => &mut self.stdout,
            ExecStream::Stderr => &mut self.stderr,
        }
    }
}

/// Turns the events of one run into text. Pure.
#[derive(Debug)]
pub struct ExecPrinter {
    as_json: bool,
    targets: BTreeMap<Name, Target>,
}

impl ExecPrinter {
    /// A printer of lines, or of JSON objects.
    #[must_use]
    pub fn new(as_json: bool) -> Self {
        Self { as_json, targets: BTreeMap::new() }
    }

    /// Whether no member was meant.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// 0 when all succeeded, 3 otherwise.
    #[must_use]
    pub fn exit_status(&self) -> ExitStatus {
        if self.targets.values().all(|target| target.success == Some(true)) {
            ExitStatus::DONE
        } else {
            ExitStatus::PARTIAL
        }
    }

    /// What `event` gives to print.
    pub fn handle(&mut self, event: ExecEvent) -> Printed {
        let mut printed = Printed::default();
        match event {
            ExecEvent::Targets { nodes } => {
                for node in nodes {
                    self.targets.entry(node).or_default();
                }
            }
            ExecEvent::Acknowledged { node } => {
                self.targets.entry(node).or_default().acknowledged = true;
            }
            ExecEvent::Output { node, stream, data } => {
                // Damage on the way would have broken the encryption: this is a faulty build.
                let data = BASE64.decode(data.as_bytes()).unwrap_or_default();
                self.output(&node, stream, &data, &mut printed);
            }
            ExecEvent::Finished { node, exit_status, error } => {
                self.finish(&node, exit_status, error, &mut printed);
            }
        }
        printed
    }

    /// What is left to print when no more events come: members that never ended, and the count.
    pub fn end(&mut self) -> Printed {
        let mut printed = Printed::default();
        let unfinished: Vec<Name> = self
            .targets
            .iter()
            .filter(|(_, target)| target.success.is_none())
            .map(|(name, _)| name.clone())
            .collect();
        for node in unfinished {
            self.finish(&node, None, Some("it did not say how it ended".to_owned()), &mut printed);
        }
        if !self.as_json {
            let completed = self.targets.values().filter(|target| target.completed).count();
            let acknowledged = self.targets.values().filter(|target| target.acknowledged).count();
            let count = format!("{completed} / {acknowledged} node(s) completed / acknowledged\n");
            printed.stdout.extend_from_slice(count.as_bytes());
        }
        printed
    }

    fn output(&mut self, node: &Name, stream: ExecStream, data: &[u8], printed: &mut Printed) {
        let target = self.targets.entry(node.clone()).or_default();
        target.acknowledged = true;
        if self.as_json {
            let kept = target.stream(stream);
            let room = KEPT_LENGTH_MAX.saturating_sub(kept.len()).min(data.len());
            kept.extend_from_slice(&data[..room]);
            target.truncated |= room < data.len();
            return;
        }
        let partial = target.stream(stream);
        partial.extend_from_slice(data);
        let whole = partial.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        for line in partial[..whole].split_inclusive(|byte| *byte == b'\n') {
            push_line(printed.stream(stream), node, &line[..line.len() - 1]);
        }
        partial.drain(..whole);
        while partial.len() > LINE_LENGTH_MAX {
            push_line(printed.stream(stream), node, &partial[..LINE_LENGTH_MAX]);
            partial.drain(..LINE_LENGTH_MAX);
        }
    }

    fn finish(
        &mut self,
        node: &Name,
        exit_status: Option<i32>,
        error: Option<String>,
        printed: &mut Printed,
    ) {
        let target = self.targets.entry(node.clone()).or_default();
        target.completed = exit_status.is_some();
        target.success = Some(exit_status == Some(0) && error.is_none());
        let (stdout, stderr) =
            (std::mem::take(&mut target.stdout), std::mem::take(&mut target.stderr));
        if self.as_json {
            let mut object = json!({
                "node": node,
                "stdout": String::from_utf8_lossy(&stdout),
                "stderr": String::from_utf8_lossy(&stderr),
                "exit_status": exit_status,
                "error": error,
            });
            if target.truncated {
                object["truncated"] = true.into();
            }
            printed.stdout.extend_from_slice(format!("{object}\n").as_bytes());
            return;
        }
        if !stdout.is_empty() {
            push_line(&mut printed.stdout, node, &stdout);
        }
        if !stderr.is_empty() {
            push_line(&mut printed.stderr, node, &stderr);
        }
        let why = match (exit_status, error) {
            (_, Some(error)) => format!("error: {error}"),
            (Some(0), None) => return,
            (Some(status), None) => format!("exit status {status}"),
            (None, None) => "error: no exit status".to_owned(),
        };
        push_line(&mut printed.stderr, node, why.as_bytes());
    }
}

fn push_line(output: &mut Vec<u8>, node: &Name, line: &[u8]) {
    output.extend_from_slice(format!("    {node}: ").as_bytes());
    output.extend_from_slice(line);
    output.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn output(node: &str, stream: ExecStream, data: &str) -> ExecEvent {
        ExecEvent::Output { node: name(node), stream, data: BASE64.encode(data.as_bytes()) }
    }

    fn finished(node: &str, exit_status: Option<i32>, error: Option<&str>) -> ExecEvent {
        ExecEvent::Finished { node: name(node), exit_status, error: error.map(str::to_owned) }
    }

    fn run(as_json: bool, events: Vec<ExecEvent>) -> (String, String, ExitStatus) {
        let mut printer = ExecPrinter::new(as_json);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut keep = |printed: Printed| {
            stdout.extend(printed.stdout);
            stderr.extend(printed.stderr);
        };
        for event in events {
            keep(printer.handle(event));
        }
        keep(printer.end());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(stdout), text(stderr), printer.exit_status())
    }

    fn both() -> Vec<ExecEvent> {
        vec![
            ExecEvent::Targets { nodes: vec![name("a"), name("b")] },
            ExecEvent::Acknowledged { node: name("a") },
            ExecEvent::Acknowledged { node: name("b") },
        ]
    }

    #[test]
    fn whole_lines_interleave_and_a_last_line_needs_no_newline() {
        let mut events = both();
        events.extend([
            output("a", ExecStream::Stdout, "one\ntw"),
            output("b", ExecStream::Stdout, "ONE\n"),
            output("a", ExecStream::Stderr, "oops\n"),
            output("a", ExecStream::Stdout, "o\n\nend"),
            finished("a", Some(0), None),
            finished("b", Some(0), None),
        ]);
        let (stdout, stderr, status) = run(false, events);
        assert_eq!(
            stdout,
            "    a: one\n    b: ONE\n    a: two\n    a: \n    a: end\n\
             2 / 2 node(s) completed / acknowledged\n"
        );
        assert_eq!(stderr, "    a: oops\n");
        assert_eq!(status, ExitStatus::DONE);
    }

    #[test]
    fn failures_are_named_and_make_the_run_partial() {
        let mut events = both();
        events.extend([finished("a", Some(7), None)]);
        let (stdout, stderr, status) = run(false, events);
        assert_eq!(stdout, "1 / 2 node(s) completed / acknowledged\n");
        assert_eq!(stderr, "    a: exit status 7\n    b: error: it did not say how it ended\n");
        assert_eq!(status, ExitStatus::PARTIAL);
    }

    #[test]
    fn a_member_that_was_not_reached_has_completed_nothing() {
        let targets = ExecEvent::Targets { nodes: vec![name("a"), name("b")] };
        let events = vec![
            targets,
            ExecEvent::Acknowledged { node: name("a") },
            finished("a", Some(0), None),
            finished("b", None, Some("no answer")),
        ];
        let (stdout, _, status) = run(false, events);
        assert_eq!(stdout, "1 / 1 node(s) completed / acknowledged\n");
        assert_eq!(status, ExitStatus::PARTIAL);
    }

    #[test]
    fn json_is_one_object_a_member() {
        let mut events = both();
        events.extend([
            output("a", ExecStream::Stdout, "hi\n"),
            finished("b", None, Some("no such program")),
            finished("a", Some(0), None),
        ]);
        let (stdout, stderr, status) = run(true, events);
        assert_eq!(
            stdout,
            "{\"error\":\"no such program\",\"exit_status\":null,\"node\":\"b\",\
             \"stderr\":\"\",\"stdout\":\"\"}\n\
             {\"error\":null,\"exit_status\":0,\"node\":\"a\",\"stderr\":\"\",\"stdout\":\"hi\\n\"}\n"
        );
        assert_eq!((stderr.as_str(), status), ("", ExitStatus::PARTIAL));
    }

    #[test]
    fn a_line_without_an_end_is_printed_in_pieces() {
        let mut printer = ExecPrinter::new(false);
        let mut pieces = 0;
        for _ in 0..10 {
            let text = printer.handle(output("a", ExecStream::Stdout, &"x".repeat(50_000)));
            pieces += String::from_utf8(text.stdout).unwrap().lines().count();
            assert!(printer.targets[&name("a")].stdout.len() <= LINE_LENGTH_MAX);
        }
        assert_eq!(pieces, 7);
    }
}

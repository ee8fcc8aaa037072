//! Progress of long work: one line a machine, on standard error.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::cli::invocation::Invocation;
use crate::cli::output::table::printable;
use crate::model::progress::Progress;
use crate::model::progress::Silent;

/// How often a line that waits shows that it lives.
const TICK: Duration = Duration::from_millis(120);

/// The progress that fits: lines that move on a terminal, plain lines elsewhere, nothing with `-q`.
#[must_use]
pub fn progress(invocation: &Invocation) -> Arc<dyn Progress> {
    if invocation.quiet {
        Arc::new(Silent)
    } else if std::io::stderr().is_terminal() {
        Arc::new(MovingLines::default())
    } else {
        Arc::new(PlainLines::new(std::io::stderr()))
    }
}

/// One line a machine that is drawn anew.
#[derive(Debug, Default)]
struct MovingLines {
    screen: MultiProgress,
    lines: Mutex<BTreeMap<String, ProgressBar>>,
}

impl MovingLines {
    fn line(&self, machine: &str) -> ProgressBar {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.entry(machine.to_owned()).or_insert_with(|| {
            let line = self.screen.add(ProgressBar::new_spinner());
            line.set_style(style("{spinner} {prefix}  {wide_msg} {elapsed}"));
            line.set_prefix(printable(machine));
            line.enable_steady_tick(TICK);
            line
        });
        line.clone()
    }

    fn end(&self, machine: &str, mark: &str, summary: &str) {
        let line = self.line(machine);
        line.set_style(style(&format!("{mark} {{prefix}}  {{wide_msg}} {{elapsed}}")));
        line.finish_with_message(printable(summary));
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl Progress for MovingLines {
    fn stage(&self, machine: &str, stage: &str) {
        self.line(machine).set_message(printable(stage));
    }

    fn done(&self, machine: &str, summary: &str) {
        self.end(machine, "✓", summary);
    }

    fn failed(&self, machine: &str, summary: &str) {
        self.end(machine, "✗", summary);
    }
}

/// One line a stage, for logs.
#[derive(Debug)]
struct PlainLines<W> {
    output: Mutex<W>,
}

impl<W: Write> PlainLines<W> {
    fn new(output: W) -> Self {
        Self { output: Mutex::new(output) }
    }

    fn write(&self, machine: &str, text: &str) {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        // Progress that nobody reads is no reason to stop the work.
        let _ = writeln!(output, "{}: {}", printable(machine), printable(text));
    }
}

impl<W: Write + Send> Progress for PlainLines<W> {
    fn stage(&self, machine: &str, stage: &str) {
        self.write(machine, stage);
    }

    fn done(&self, machine: &str, summary: &str) {
        self.write(machine, &format!("done: {summary}"));
    }

    fn failed(&self, machine: &str, summary: &str) {
        self.write(machine, &format!("failed: {summary}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_name_the_machine() {
        let lines = PlainLines::new(Vec::new());
        lines.stage("web-1", "copying raptor");
        lines.failed("web-1", "no\nspace");
        let text = String::from_utf8(lines.output.into_inner().unwrap()).unwrap();
        assert_eq!(text, "web-1: copying raptor\nweb-1: failed: no\u{fffd}space\n");
    }

    #[test]
    fn the_templates_of_moving_lines_are_sound() {
        for template in
            ["{spinner} {prefix}  {wide_msg} {elapsed}", "✓ {prefix}  {wide_msg} {elapsed}"]
        {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}

//! What an agent counts and measures, in the text form that Prometheus reads
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>). Pure.
//!
//! What there is of each is bounded: a line a neighbour, never one a pair of members.

use std::fmt::Write as _;

use serde::Deserialize;
use serde::Serialize;

/// Media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How a number behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Only grows, until what is counted begins anew.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Names and values that tell it from the others of its family.
    pub labels: Vec<(String, String)>,
    /// The number.
    pub value: f64,
}

/// Numbers of one name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Family {
    /// Begins with `raptor_` or `process_`; ends in its unit, and in `total` for a counter.
    pub name: String,
    /// What it is, in a sentence.
    pub help: String,
    /// How the numbers behave.
    pub kind: Kind,
    /// The numbers.
    pub samples: Vec<Sample>,
}

impl Family {
    /// A family without numbers yet.
    #[must_use]
    pub fn new(name: &str, kind: Kind, help: &str) -> Self {
        Self { name: name.to_owned(), help: help.to_owned(), kind, samples: Vec::new() }
    }

    /// Adds a number.
    #[must_use]
    pub fn with(mut self, labels: &[(&str, &str)], value: f64) -> Self {
        let labels =
            labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.samples.push(Sample { labels, value });
        self
    }
}

/// A count as Prometheus keeps numbers: exact up to 2^53.
#[must_use]
#[allow(clippy::cast_precision_loss)] // The format's numbers are floating-point.
pub fn count(value: u64) -> f64 {
    value as f64
}

/// The text form. A family without numbers is left out.
#[must_use]
pub fn render(families: &[Family]) -> String {
    let mut text = String::new();
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        let name = &family.name;
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for sample in &family.samples {
            let _ = writeln!(text, "{name}{} {}", labels(&sample.labels), sample.value);
        }
    }
    text
}

fn labels(labels: &[(String, String)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let escape =
        |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<String> =
        labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escape(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let families = [
            Family::new("raptor_links", Kind::Gauge, "Links that work.").with(&[], 2.0),
            Family::new("raptor_empty", Kind::Gauge, "Nothing."),
            Family::new("raptor_sent_bytes_total", Kind::Counter, "Bytes\nsent \\ all.")
                .with(&[("peer", "a"), ("way", "x\"y\\z\n")], count(1 << 40))
                .with(&[("peer", "b")], 0.25),
        ];
        assert_eq!(
            render(&families),
            "# HELP raptor_links Links that work.\n\
             # TYPE raptor_links gauge\n\
             raptor_links 2\n\
             # HELP raptor_sent_bytes_total Bytes\\nsent \\\\ all.\n\
             # TYPE raptor_sent_bytes_total counter\n\
             raptor_sent_bytes_total{peer=\"a\",way=\"x\\\"y\\\\z\\n\"} 1099511627776\n\
             raptor_sent_bytes_total{peer=\"b\"} 0.25\n"
        );
    }
}

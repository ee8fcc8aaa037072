//! `--inventory FILE`: machines to take over, as JSON or TOML.

use std::path::Path;

use serde::Deserialize;

use crate::cli::error::CliError;
use crate::cli::perform::SlaveTarget;
use crate::model::destination::Destination;
use crate::model::label::Label;
use crate::model::label::Labels;
use crate::model::name::Name;

/// One machine of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// `[USER@]HOST[:PORT]`.
    dst: Destination,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    via: Option<Destination>,
    #[serde(default)]
    server_type: Option<String>,
    #[serde(default)]
    name: Option<Name>,
    #[serde(default)]
    labels: Labels,
}

/// TOML knows no bare list, so the list may also stand below `hosts`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    hosts: Vec<Entry>,
}

/// Reads an inventory.
///
/// # Errors
/// Names the file and the first thing that is wrong in it.
pub fn read(path: &Path) -> Result<Vec<SlaveTarget>, CliError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| CliError::file("read", path, &error))?;
    let is_toml = path.extension().is_some_and(|extension| extension == "toml");
    parse(&text, is_toml).map_err(|why| {
        CliError::config(format!("{}: {why}", path.display())).with_hint(
            "a list of {dst, port?, via?, server_type?, name?, labels?}, in TOML below [[hosts]]",
        )
    })
}

fn parse(text: &str, is_toml: bool) -> Result<Vec<SlaveTarget>, String> {
    let entries = if is_toml {
        toml::from_str::<Wrapped>(text).map_err(|error| error.to_string())?.hosts
    } else if text.trim_start().starts_with('{') {
        serde_json::from_str::<Wrapped>(text).map_err(|error| error.to_string())?.hosts
    } else {
        serde_json::from_str(text).map_err(|error| error.to_string())?
    };
    if entries.is_empty() {
        return Err("it names no machine".to_owned());
    }
    entries.into_iter().map(target).collect()
}

fn target(entry: Entry) -> Result<SlaveTarget, String> {
    let mut destination = entry.dst;
    match (destination.port, entry.port) {
        (Some(one), Some(other)) if one != other => {
            return Err(format!("{destination} has a second port, {other}"));
        }
        (_, Some(0)) => return Err(format!("{destination} has port 0")),
        (known, port) => destination.port = port.or(known),
    }
    for (key, value) in &entry.labels {
        format!("{key}={value}").parse::<Label>().map_err(|error| error.to_string())?;
    }
    Ok(SlaveTarget {
        destination,
        via: entry.via,
        server_type: entry.server_type,
        name: entry.name,
        labels: entry.labels,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_toml_say_the_same() {
        let json = r#"[
            {"dst":"root@a","port":2222,"via":"jump","labels":{"zone":"home"}},
            {"dst":"b","name":"web-1"}
        ]"#;
        let wrapped = format!("{{\"hosts\":{json}}}");
        let toml = "[[hosts]]\ndst='root@a:2222'\nvia='jump'\nlabels={zone='home'}\n\
                    [[hosts]]\ndst='b'\nname='web-1'\n";
        let targets = parse(json, false).unwrap();
        assert_eq!(targets[0].destination.to_string(), "root@a:2222");
        assert_eq!(targets, parse(&wrapped, false).unwrap());
        assert_eq!(targets, parse(toml, true).unwrap());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, words) in [
            ("[]", "names no machine"),
            (r#"[{"dst":"a","host":"b"}]"#, "unknown field `host`"),
            (r#"[{"dst":"a:1","port":2}]"#, "second port"),
            (r#"[{"dst":"-oX"}]"#, "starts with '-'"),
            (r#"[{"dst":"a","labels":{"b":"c d"}}]"#, "may hold only"),
        ] {
            let why = parse(text, false).unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
    }
}

use serde_json::{Value, json};

use super::*;
use crate::config::files::write_atomic;
use crate::config::schema::schema;

fn load_text(text: &str) -> Result<Loaded, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path());
    write_atomic(&home.config_file(), text.as_bytes()).unwrap();
    load(&home, None, None)
}

/// The message, from the file's name on.
fn message(text: &str) -> String {
    let message = load_text(text).unwrap_err().to_string();
    let lines = message.lines().map(|line| line.rsplit('/').next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn nothing_at_all_is_a_sound_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = load(&Home::new(folder.path()), None, None).unwrap();
    assert_eq!(loaded.config.cluster.name.as_str(), "default");
    assert_eq!(loaded.config.default_compute_type, "local");
    assert_eq!(loaded.config.compute_types["local"].driver, "local");
    assert_eq!(loaded.config.server_types["headless"].modules, ["headless"]);
}

#[test]
fn later_layers_win_and_null_deletes() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path());
    let text =
        r#"{"mesh": {"rings": 4}, "user": {"a": 1, "b": 2}, "ssh": {"concurrent_handshakes": 8}}"#;
    write_atomic(&home.config_file(), text.as_bytes()).unwrap();
    let document = json!({"mesh": {"rings": 5}, "user": {"a": null}, "ssh": null});
    let loaded = load(&home, None, Some(&document)).unwrap();
    assert_eq!(loaded.config.mesh.rings, 5);
    assert_eq!(Value::Object(loaded.config.user.clone()), json!({"b": 2}));
    assert_eq!(loaded.config.ssh.concurrent_handshakes, 32);
    let origin = loaded.layers.origin(&"mesh.rings".parse().unwrap()).unwrap();
    assert_eq!(origin.name, LayerName::Document);
    assert_eq!(loaded.layers.value_raw(LayerName::Document), document);
}

#[test]
fn wrong_files_are_told_with_line_path_and_what_was_meant() {
    for (text, expected) in [
        (
            "{\n  \"mesh\": {\n    \"lissten\": \"[::]:1\"\n  }\n}",
            "mutable_config.json:3:5: mesh.lissten: unknown key; did you mean \"listen\"? \
             (known: listen, rings, ",
        ),
        (
            "{\n  \"mesh\": {\"rings\": \"three\"}}",
            "mutable_config.json:2:12: mesh.rings: expected a whole number from 0 to 255, found \
             the text \"three\"",
        ),
        ("{\"mesh\": 3}", "mutable_config.json:1:2: mesh: expected an object, found the number 3"),
        (
            "{\"mesh\": {\"listen\": \"nowhere\"}}",
            "mutable_config.json:1:11: mesh.listen: invalid socket address syntax",
        ),
        (
            "{\n \"mesh\": {\"rings\": 99},\n \"default_server_type\": \"headless\"}",
            "mutable_config.json:2:11: mesh.rings: expected 1 to 8, found 99",
        ),
        (
            "{\n\n \"default_server_type\": \"headles\"}",
            "mutable_config.json:3:2: default_server_type: there is no server type \"headles\"; \
             did you mean \"headless\"? (known: ",
        ),
        (
            "{\"compute_types\": {\"docker\": {\n\"imgae\": 1}}}",
            "mutable_config.json:2:1: compute_types.docker.imgae: unknown key; did you mean \
             \"image\"? (known: program, image, dockerfile, base_image, network, run_arguments)",
        ),
        (
            "{\"compute_types\": {\"mine\": {\"driver\": \"dokcer\"}}}",
            "mutable_config.json:1:29: compute_types.mine.driver: there is no driver \"dokcer\"; \
             did you mean \"docker\"? (known: digitalocean, docker, ec2, ",
        ),
        ("{\n  \"mesh\": {,}\n}", "mutable_config.json:2:12: not JSON: key must be a string"),
        ("[]", "mutable_config.json:1:1: expected an object"),
        ("{\"version\": 2}", "mutable_config.json:1:2: version: this build reads version 1"),
    ] {
        let message = message(text);
        // Of a long list its beginning is enough.
        let is_begun = expected.ends_with(", ") || expected.ends_with("(known: ");
        let is_told = message == expected || is_begun && message.starts_with(expected);
        assert!(is_told, "{message}");
    }
}

#[test]
fn all_problems_of_a_file_are_told_at_once() {
    let text = "{\"mehs\": {}, \"ssh\": {\"options\": []}, \"mesh\": {\"rings\": -1}}";
    assert_eq!(message(text).lines().count(), 3);
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path());
    let error = load(&home, Some(&folder.path().join("none.json")), None).unwrap_err();
    assert!(matches!(error, ConfigError::File(_)));
}

#[test]
fn what_is_wrong_in_the_document_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let load_document = |document: Value| load(&Home::new(folder.path()), None, Some(&document));
    load_document(json!({"user": {"anything": {"at": ["all"]}}})).unwrap();
    for (document, expected) in [
        (json!({"mesh": {"rings": 0}}), "document: mesh.rings: expected 1 to 8, found 0"),
        (
            json!({"default_compute_type": "locl"}),
            "document: default_compute_type: there is no compute type \"locl\"; did you mean",
        ),
    ] {
        let error = load_document(document).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let misspelt = load_document(json!({"mehs": {}})).unwrap().warnings[0].to_string();
    let expected = "document: mehs: unknown key; did you mean \"mesh\"? (known: ";
    assert!(misspelt.starts_with(expected), "{misspelt}");
}

#[test]
fn what_a_later_build_wrote_into_the_document_is_left_out_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let document = json!({"mesh": {"rings": 4, "colour": "red"}, "hyperdrive": {}});
    let loaded = load(&Home::new(folder.path()), None, Some(&document)).unwrap();
    assert_eq!(loaded.config.mesh.rings, 4);
    assert_eq!(loaded.warnings.len(), 2);
}

#[test]
fn the_example_is_complete_sound_and_survives_a_round_trip() {
    let path = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("mutable_config.example.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let loaded = check_file(&Home::new(folder.path()), &path).unwrap();
    let raw: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(loaded.layers.value_raw(LayerName::File), raw);
    // Typed, written and read again it says the same.
    let written = serde_json::to_value(&loaded.config).unwrap();
    let again: Config = serde_json::from_value(strip(&written)).unwrap();
    assert_eq!(again, loaded.config);
    // Every key that the schema knows is shown.
    let defaults = serde_json::to_value(Config::default()).unwrap();
    for (section, value) in defaults.as_object().unwrap() {
        assert!(raw.get(section).is_some(), "{section} is missing");
        for key in value.as_object().into_iter().flat_map(Map::keys) {
            assert!(raw[section].get(key).is_some(), "{section}.{key} is missing");
        }
    }
    assert!(raw.get("_comment").is_some());
}

/// The blocks of one language that a page shows.
fn blocks<'a>(page: &'a str, language: &'a str) -> impl Iterator<Item = &'a str> {
    let fence = format!("```{language}\n");
    let starts: Vec<usize> = page.match_indices(&fence).map(|(at, _)| at + fence.len()).collect();
    starts.into_iter().filter_map(|start| page[start..].split("```").next())
}

#[test]
fn the_examples_of_the_pages_about_compute_types_hold() {
    let page = include_str!("../../docs/compute-types.md");
    let mut count = 0;
    for text in blocks(page, "json") {
        load_text(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        count += 1;
    }
    assert_eq!(count, 3);
    let plugin = blocks(include_str!("../../docs/providers.md"), "json").next().unwrap();
    assert_eq!(load_text(plugin).unwrap().config.compute_types["lab"].driver, "plugin");

    // A folder is written from the page alone, and says what its line says.
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path());
    let manifest = home.modules_folder().join("compute_types/helsinki/module.toml");
    std::fs::create_dir_all(manifest.parent().unwrap()).unwrap();
    std::fs::write(&manifest, blocks(page, "toml").next().unwrap()).unwrap();
    let installed = load(&home, None, None).unwrap().config;
    let line = load_text(blocks(page, "json").next().unwrap()).unwrap().config;
    let parameters = |config: &Config| config.compute_types["helsinki"].parameters.clone();
    assert_eq!(parameters(&installed), parameters(&line));
}

#[test]
fn the_schema_describes_every_key() {
    let schema = schema();
    let text = schema.to_string();
    assert!(text.contains("Milliseconds between two probes of a link"));
    assert_eq!(schema["additionalProperties"], false);
    for section in schema["$defs"].as_object().unwrap().values() {
        for (key, property) in section["properties"].as_object().into_iter().flatten() {
            assert!(property.get("description").is_some(), "{key} has no description");
        }
    }
}

#[test]
fn no_text_panics() {
    bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(mut value) = parse(&text, &Source::Document) {
            let root = Path::root();
            let place = Place { source: &Source::Document, text: Some(&text), path: &root };
            let _ = read::<Config>(&mut value, place);
        }
    });
}

#[test]
fn values_of_modules_variables_must_fit() {
    for (text, expected) in [
        (
            "{\"provision\": {\"variables\": {\"firewall\": {\n\"rollback_s\": \"soon\"}}}}",
            "mutable_config.json:2:1: provision.variables.firewall.rollback_s: expected a whole \
             number, found \"soon\"",
        ),
        (
            "{\"server_types\": {\"headless\": {\"variables\": {\"monitoring\": {\n\"prot\": 1}}}}}",
            "mutable_config.json:2:1: server_types.headless.variables.monitoring.prot: there is no \
             variable \"prot\"; did you mean \"port\"? (known: listen, port)",
        ),
        (
            "{\"provision\": {\"variables\": {\n\"firewal\": {}}}}",
            "mutable_config.json:2:1: provision.variables.firewal: there is no provisioning module \
             \"firewal\"; did you mean \"firewall\"? (known: ",
        ),
    ] {
        let told = message(text);
        assert!(told.starts_with(expected), "{told}");
    }
    let fits = "{\"provision\": {\"variables\": {\"firewall\": {\"tcp_ports\": [\"80\"]}}}}";
    assert!(load_text(fits).is_ok());
}

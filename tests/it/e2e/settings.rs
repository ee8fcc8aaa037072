//! `raptor config` on a cluster: what one member is told all know, and what is wrong is refused.

use std::fs;

use serde_json::{Value, json};

use super::text;
use crate::support::sandbox::Sandbox;

const MEMBERS: [&str; 3] = ["local-1", "local-2", "local-3"];

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn what_one_member_is_told_all_know() {
    let sandbox = Sandbox::new();
    sandbox.spawn(3);
    let path = "server_types.test.modules";
    let everywhere = |value: &Value| {
        for member in MEMBERS {
            sandbox.wait_for_value(member, path, value);
        }
    };
    for (writer, value) in MEMBERS.iter().zip([json!(["headless"]), json!([]), json!(["headless"])])
    {
        let set = ["config", "set", path, &value.to_string(), "--note", &format!("by {writer}")];
        sandbox.raptor_at(writer, set).success();
        everywhere(&value);
    }
    // A second time changes nothing, and says so.
    let again = sandbox.raptor(["config", "set", path, "[\"headless\"]"]).success();
    assert_eq!(again.stderr, "nothing changes\n");

    sandbox.raptor_at("local-2", ["config", "unset", path]).success();
    everywhere(&Value::Null);
    let again = sandbox.raptor(["config", "unset", path]).success();
    assert_eq!(again.stderr, "nothing changes\n");

    let log = sandbox.raptor_at("local-3", ["config", "log", "-o", "json", "--limit", "4"]);
    let log = log.success().stdout_json();
    let told: Vec<(String, String)> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (text(&line["name"]), text(&line["note"])))
        .collect();
    let expected = [
        ("local-2", "unset server_types.test.modules"),
        ("local-3", "by local-3"),
        ("local-2", "by local-2"),
        ("local-1", "by local-1"),
    ];
    assert_eq!(told, expected.map(|(name, note)| (name.to_owned(), note.to_owned())));
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_deleted_key_stays_deleted_when_a_member_that_slept_comes_back() {
    let sandbox = Sandbox::new();
    sandbox.spawn(3);
    let path = "server_types.gone.modules";
    sandbox.raptor(["config", "set", path, "[]"]).success();
    for member in MEMBERS {
        sandbox.wait_for_value(member, path, &json!([]));
    }
    sandbox.agent("local-3", "supervise").unwrap().kill();
    sandbox.agent("local-3", "run").unwrap().kill();
    sandbox.raptor(["config", "unset", path]).success();

    let home = sandbox.machine("local-3").display().to_string();
    let _back = sandbox.raptor(["--home", &home, "agent", "run"]).start();
    sandbox.wait_for_status("local-1", "local-3", "alive");
    for member in MEMBERS {
        sandbox.wait_for_value(member, path, &Value::Null);
    }
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_file_is_checked_applied_edited_and_exported() {
    let sandbox = Sandbox::new();
    // Before there is a cluster, the user's own file is written.
    sandbox.raptor(["config", "set", "mesh.rings", "4"]).success();
    assert_eq!(
        sandbox.raptor(["config", "export"]).success().stdout_json(),
        json!({"mesh": {"rings": 4}})
    );
    sandbox.spawn(2);
    assert_eq!(sandbox.raptor(["config", "get", "mesh.rings"]).success().stdout, "4\n");
    let file = sandbox.path().join("site.json");
    let site = file.to_str().unwrap();
    fs::write(&file, "{\"mesh\": {\"rings\": 5}, \"membership\": {\"probe_period_ms\": 900}}")
        .unwrap();
    sandbox.raptor(["config", "check", site]).success();
    let dry = sandbox.raptor(["config", "apply", site, "--dry-run"]).success();
    dry.stdout_is("set membership.probe_period_ms to 900\nset mesh.rings to 5\n");
    assert_eq!(sandbox.raptor(["config", "get", "mesh.rings"]).success().stdout, "4\n");
    sandbox.raptor(["config", "apply", site]).success();
    let again = sandbox.raptor(["config", "apply", site]).success();
    assert_eq!(again.stderr, "nothing changes\n");
    sandbox.wait_for_value("local-2", "mesh.rings", &json!(5));
    let export = sandbox.raptor(["config", "export"]).success();
    assert_eq!(
        export.stdout_json(),
        serde_json::from_slice::<Value>(&fs::read(&file).unwrap()).unwrap()
    );
    fs::write(&file, "{\"mesh\": {\"rings\": null}}").unwrap();
    sandbox.raptor(["config", "apply", site]).success();
    assert_eq!(
        sandbox.raptor(["config", "get", "mesh.rings"]).success().stdout,
        "4\n",
        "null deletes"
    );

    let edit = |editor: &str| sandbox.raptor(["config", "edit"]).env("EDITOR", editor);
    edit("sed -i s/900/800/").success();
    assert_eq!(
        sandbox.raptor(["config", "get", "membership.probe_period_ms"]).success().stdout,
        "800\n"
    );
    assert_eq!(edit("true").success().stderr, "nothing changes\n");
    edit("false")
        .run()
        .status(1)
        .stderr_contains("error: false ended with exit status 1; nothing was changed\n");
    edit("sed -i s/probe_period_ms/probe_perod_ms/")
        .run()
        .status(1)
        .stderr_contains("did you mean \"probe_period_ms\"?");

    let schema = sandbox.raptor(["config", "schema"]).success().stdout_json();
    assert_eq!(schema["additionalProperties"], false);
    assert!(schema["properties"]["mesh"].is_object(), "{schema}");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/mutable_config.example.json");
    sandbox.raptor(["config", "check", example]).success();
}

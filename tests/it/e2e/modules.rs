//! `raptor install`: modules of one's own, on every member.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::sandbox::Sandbox;

const MANIFEST: &str = "kind = \"provisioning\"\nname = \"greeter\"\ndescription = \"first\"\n\
     [variables]\ngreeting = \"hello\"\n[[steps]]\nname = \"greet\"\napply = \"greet.sh\"\n";

fn write(folder: &Path, manifest: &str) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("module.toml"), manifest).unwrap();
    fs::write(folder.join("greet.sh"), "echo \"$greeting\"\n").unwrap();
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-C"]).arg(folder);
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A repository of one module, whose tag `one` is older than what its branch holds.
fn repository(folder: &Path) -> String {
    let module = folder.join("provisioning/greeter");
    write(&module, MANIFEST);
    git(folder, &["init", "--quiet", "--initial-branch=main"]);
    git(folder, &["add", "."]);
    git(folder, &["commit", "--quiet", "--message", "one"]);
    git(folder, &["tag", "one"]);
    write(&module, &MANIFEST.replace("first", "second"));
    git(folder, &["commit", "--quiet", "--all", "--message", "two"]);
    git(folder, &["rev-parse", "one"])
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_users_module_reaches_every_member_and_one_that_was_away() {
    let sandbox = Sandbox::new();
    let repository_folder = sandbox.path().join("repository");
    let commit = repository(&repository_folder);
    let url = format!("file://{}", repository_folder.display());
    let installed = |at: Option<&str>| -> Value {
        let words = ["install", "-o", "json"];
        let run = at.map_or_else(|| sandbox.raptor(words), |at| sandbox.raptor_at(at, words));
        run.success().stdout_json()
    };

    // Before there is a cluster, it is the user's own.
    let folder = repository_folder.join("provisioning/greeter");
    sandbox.raptor(["install"]).arg(&folder).success();
    assert_eq!(installed(None)[0]["name"], "greeter");
    sandbox.raptor(["install", "greeter", "--remove"]).success();
    assert_eq!(installed(None), json!([]));

    sandbox.spawn(3);
    let path = "modules.greeter.revision";
    let effective = |member: &str| {
        let words = ["config", "get", "server_types.greeter.description"];
        sandbox.raptor_at(member, words).success().stdout_json()
    };
    super::fleet::cut_off(&sandbox, "local-3");
    // Pinned: what the tag names, and no more what the branch holds by then.
    sandbox.raptor(["install", &format!("{url}@one")]).success().stderr_contains(&commit);
    assert_eq!(installed(None)[0]["revision"], json!(commit));
    for member in ["local-1", "local-2"] {
        sandbox.wait_for_value(member, path, &json!(commit));
    }
    let home = sandbox.machine("local-3").display().to_string();
    let _back = sandbox.raptor(["--home", &home, "agent", "run"]).start();
    sandbox.wait_for_value("local-3", path, &json!(commit));
    assert_eq!(effective("local-3"), json!("first"));
    let hashes = ["local-1", "local-3"].map(|member| installed(Some(member))[0]["sha256"].clone());
    assert_eq!(hashes[0], hashes[1]);
    // What it brings can be used and set at once.
    let set = ["config", "set", "provision.variables.greeter.greeting", "3"];
    let refused = sandbox.raptor_at("local-3", set).run().status(1);
    refused.stderr_contains("provision.variables.greeter.greeting: expected a text, found 3");

    sandbox.raptor(["install", &url]).success();
    let newest = git(&repository_folder, &["rev-parse", "main"]);
    sandbox.wait_for_value("local-3", path, &json!(newest));
    assert_eq!(effective("local-3"), json!("second"));
    sandbox.raptor_at("local-2", ["install", "greeter", "--remove"]).success();
    sandbox.wait_for_value("local-3", path, &Value::Null);
    sandbox.raptor(["install", "greeter", "--remove"]).run().status(1).stderr_contains("no module");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn what_is_no_sound_module_is_not_installed() {
    let sandbox = Sandbox::new();
    let folder = sandbox.path().join("greeter");
    write(&folder, &MANIFEST.replace("greet.sh", "missing.sh"));
    let install = || sandbox.raptor(["install"]).arg(&folder).run();
    install().status(1).stderr_contains("the module has no file \"missing.sh\"");
    write(&folder, MANIFEST);
    fs::write(folder.join("large"), vec![0; 600 * 1024]).unwrap();
    install().status(1).stderr_contains("at most 500 files of 524288 bytes");
    fs::remove_file(folder.join("module.toml")).unwrap();
    install().status(1).stderr_contains("holds no module");
    let nowhere = ["install", "file:///nowhere/at/all"];
    sandbox.raptor(nowhere).run().status(1).stderr_contains("git, file:///nowhere/at/all: ");
    assert!(!sandbox.home().join("mutable_config.json").exists());
}

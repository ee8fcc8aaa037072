use super::*;
use crate::config::files::{create_folder, write_atomic};
use crate::config::module::manifest::Script;

fn home_with(files: &[(&str, &str)]) -> (tempfile::TempDir, Home) {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path());
    for (name, content) in files {
        let path = home.modules_folder().join(name);
        create_folder(path.parent().unwrap()).unwrap();
        write_atomic(&path, content.as_bytes()).unwrap();
    }
    (folder, home)
}

/// The first message, from the name of the file on.
fn message(files: &[(&str, &str)]) -> String {
    let (_folder, home) = home_with(files);
    let message = Modules::load(&home).unwrap_err().to_string();
    message.lines().next().unwrap().rsplit('/').next().unwrap().to_owned()
}

const WEB: &str = r#"
kind = "provisioning"
name = "web"
version = "1"

[[steps]]
name = "install"
check = { inline = "command -v nginx" }
apply = "install.sh"
timeout_s = 60
when = ["debian"]
"#;

#[test]
fn the_bundled_modules_are_sound() {
    let (_folder, home) = home_with(&[]);
    let modules = Modules::load(&home).unwrap();
    assert_eq!(modules.compute_type("local").unwrap().manifest.driver, "local");
    assert!(modules.compute_type("docker").unwrap().file("module.toml").is_some());
    assert!(modules.provisioning("headless").is_some());
    let layer = modules.bundled_layer();
    assert_eq!(layer["compute_types"]["docker"]["driver"], "docker");
    assert_eq!(layer["server_types"]["headless"]["modules"][0], "headless");
    assert_eq!(modules.installed_layer(), serde_json::json!({}));
}

#[test]
fn an_installed_module_is_read_and_one_of_a_bundled_name_replaces_it() {
    let mine = "kind = \"compute_type\"\nname = \"docker\"\ndriver = \"docker\"\n[config]\nimage = \"mine\"";
    let (_folder, home) = home_with(&[
        ("provisioning/web/module.toml", WEB),
        ("provisioning/web/install.sh", "apt-get install nginx"),
        ("compute_types/docker/module.toml", mine),
    ]);
    let modules = Modules::load(&home).unwrap();
    let web = modules.provisioning("web").unwrap();
    assert_eq!(web.file("install.sh"), Some(b"apt-get install nginx".as_slice()));
    assert_eq!(web.manifest.steps[0].apply, Script::File("install.sh".to_owned()));
    assert_eq!(web.manifest.steps[0].check, Some(Script::Inline("command -v nginx".to_owned())));
    let docker = &modules.installed_layer()["compute_types"]["docker"];
    assert_eq!(docker["image"], "mine");
    assert!(modules.bundled_layer()["compute_types"].get("docker").is_none());
}

#[test]
fn a_manifest_reads_the_same_from_json() {
    let manifest: ProvisioningManifest = manifest::parse(WEB, true, &Source::Merged).unwrap();
    let json = serde_json::to_string(&manifest).unwrap();
    let again: ProvisioningManifest = manifest::parse(&json, false, &Source::Merged).unwrap();
    assert_eq!(again, manifest);
}

#[test]
fn wrong_manifests_are_told_with_their_place() {
    let name = "provisioning/web/module.toml";
    for (text, expected) in [
        (
            "kind = \"provisioning\"\nname = \"web\"\nvresion = \"1\"",
            "module.toml:3:1: vresion: unknown key; did you mean \"version\"? (known: kind, name, \
             version, description, variables, steps, files)",
        ),
        (
            "kind = \"provisioning\"\nname = 3",
            "module.toml:2:8: name: expected a text, found the number 3",
        ),
        ("kind = ", "module.toml:1:8: string values must be quoted, expected literal string"),
        (
            "kind = \"provisioning\"\nname = \"wbe\"",
            "module.toml: name: expected \"web\" as its folder, found \"wbe\"",
        ),
        (
            "kind = \"compute_type\"\nname = \"web\"",
            "module.toml: kind: expected \"provisioning\" in this folder, found \"compute_type\"",
        ),
        (
            WEB,
            "module.toml: steps.0.apply: the module has no file \"install.sh\"; for a command \
             write { inline = \"...\" }",
        ),
    ] {
        assert_eq!(message(&[(name, text)]), expected);
    }
    assert_eq!(
        message(&[("provisioning/web/other.txt", "")]),
        "module.toml: the module has no manifest (module.toml or module.json)"
    );
    assert_eq!(
        message(&[("provisioning/web/module.json", "{\n \"kind\": 1\n}")]),
        "module.json:2:2: kind: expected a text, found the number 1"
    );
}

#[test]
fn no_text_panics() {
    bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        for is_toml in [true, false] {
            let _ = manifest::parse::<ProvisioningManifest>(&text, is_toml, &Source::Merged);
            let _ = manifest::parse::<ComputeTypeManifest>(&text, is_toml, &Source::Merged);
        }
    });
}

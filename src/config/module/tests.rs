use super::*;
use crate::config::files::{create_folder, write_atomic};
use crate::config::module::order::ordered;
use crate::config::module::step::Script;

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
    assert_eq!(web.manifest.steps[0].apply, Some(Script::File("install.sh".to_owned())));
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
            "module.toml:3:1: vresion: unknown key; did you mean \"version\"? (known: kind, name, ",
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
        let told = message(&[(name, text)]);
        assert!(told.starts_with(expected), "{told}");
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
fn what_no_machine_could_do_is_refused_when_it_is_read() {
    let manifest = "kind = \"provisioning\"\nname = \"web\"\n";
    let file = |keys: &str| {
        format!("steps = [{{ name = \"a\", files = [{{ source = \"conf\", {keys} }}] }}]")
    };
    let packages = |packages: &str| format!("steps = [{{ name = \"a\", packages = {packages} }}]");
    for (text, expected) in [
        ("steps = [{ name = \"a\" }]".to_owned(), "steps.0: it has neither apply, packages nor"),
        (file("path = \"etc/conf\""), "steps.0.files.0.path: \"etc/conf\" is no plain absolute"),
        (file("path = \"/etc/../conf\""), "steps.0.files.0.path: "),
        (file("path = \"/etc/conf\", mode = \"rw\""), "steps.0.files.0.mode: \"rw\" is no octal"),
        (
            file("path = \"/etc/conf\", owner = \"a b\""),
            "steps.0.files.0.owner: \"a b\" is no USER",
        ),
        (
            file("path = \"/etc/conf\", template = true"),
            "steps.0.files.0.source: line 2: no variable \"prot\"",
        ),
        (packages("{ apt = [\"nginx\"] }"), "steps.0.packages.apt: no package manager that"),
        (packages("{ apk = [\"-y\"] }"), "steps.0.packages.apk: \"-y\" is no name of a package"),
        ("variables = { PATH = \"/\" }".to_owned(), "variables.PATH: no name for a variable"),
        (
            "variables = { a = { type = \"integer\", default = \"b\" } }".to_owned(),
            "variables.a.default: expected a whole number, found \"b\"",
        ),
    ] {
        let (_folder, home) = home_with(&[
            ("provisioning/web/module.toml", &format!("{manifest}{text}")),
            ("provisioning/web/conf", "a\n${prot}\n"),
        ]);
        let told = Modules::load(&home).unwrap_err().to_string();
        assert!(told.contains(&format!("module.toml: {expected}")), "{told}");
    }
}

/// The order of `wanted`, when each module requires what stands beside its name.
fn order(requires: &[(&str, &str)], wanted: &[&str]) -> Result<Vec<String>, String> {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path());
    for (name, required) in requires {
        let path = home.modules_folder().join("provisioning").join(name).join("module.toml");
        create_folder(path.parent().unwrap()).unwrap();
        let text = format!("kind = \"provisioning\"\nname = \"{name}\"\nrequires = [{required}]");
        write_atomic(&path, text.as_bytes()).unwrap();
    }
    let modules = Modules::load(&home).unwrap();
    let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
    let sorted = ordered(&modules, &wanted).map_err(|error| error.to_string())?;
    Ok(sorted.iter().map(|module| module.manifest.name.clone()).collect())
}

#[test]
fn modules_come_after_those_that_they_require() {
    let tree = [("web", "\"tls\", \"base\""), ("tls", "\"base\""), ("base", "")];
    assert_eq!(order(&tree, &["web", "base"]).unwrap(), ["base", "tls", "web"]);
    assert_eq!(order(&tree, &["base", "web"]).unwrap(), ["base", "tls", "web"]);
    let circle = [("a", "\"b\""), ("b", "\"c\""), ("c", "\"b\"")];
    assert_eq!(
        order(&circle, &["a"]).unwrap_err(),
        "provisioning modules require each other in a circle: b -> c -> b"
    );
    assert_eq!(
        order(&[("a", "\"headles\"")], &["a"]).unwrap_err(),
        "there is no provisioning module \"headles\" (required by a); did you mean headless?"
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

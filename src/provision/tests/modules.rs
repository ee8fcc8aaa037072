//! Modules of packages, files, variables and checks, in a real shell.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::provision::input::{FileSpec, ModuleInput, StepSpec};
use crate::provision::order::Order;
use crate::provision::slave::slave;
use crate::provision::tests::silent;
use crate::provision::tests::world::{Cluster, World, step};

fn file(source: &str, path: &str, mode: u32) -> FileSpec {
    FileSpec { source: source.to_owned(), path: path.to_owned(), mode, owner: None }
}

/// The titles of the steps that were applied.
async fn applied(world: &World, order: &Order) -> Vec<String> {
    slave(&world.host, order, &Cluster::default(), &silent()).await.unwrap().applied
}

fn one_module(world: &World, steps: Vec<StepSpec>) -> Order {
    let mut order = world.order();
    order.modules[0].steps = steps;
    order
}

#[tokio::test]
async fn files_are_placed_repaired_and_taken_back() {
    let world = World::new();
    let mut placing = step("place", "echo reloaded >>\"$RAPTOR_ROOT/reloads\"");
    placing.files = vec![file("conf", "/etc/it's/conf", 0o640)];
    let mut order = one_module(&world, vec![placing]);
    order.modules[0].files = vec![("conf".to_owned(), b"one\0".to_vec())];
    let path = world.path("etc/it's/conf");
    assert_eq!(applied(&world, &order).await, ["test/place"]);
    assert_eq!(fs::read(&path).unwrap(), b"one\0");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
    assert!(applied(&world, &order).await.is_empty());
    // Drift, of content and of mode.
    fs::write(&path, "mine").unwrap();
    assert_eq!(applied(&world, &order).await, ["test/place"]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(applied(&world, &order).await, ["test/place"]);
    assert_eq!(fs::read_to_string(world.path("reloads")).unwrap().lines().count(), 3);
    // A later step fails: the file is as it was before the run.
    order.modules[0].files[0].1 = b"two".to_vec();
    order.modules[0].steps.push(step("bad", "exit 1"));
    let error = slave(&world.host, &order, &Cluster::default(), &silent()).await.unwrap_err();
    assert_eq!(fs::read(&path).unwrap(), b"one\0");
    assert!(error.undone.contains(&"step test/place".to_owned()), "{:?}", error.undone);
}

#[tokio::test]
async fn variables_reach_scripts_as_they_are_and_changes_are_applied() {
    let world = World::new();
    let mut order =
        one_module(&world, vec![step("tell", "printf %s \"$motto\" >\"$RAPTOR_ROOT/motto\"")]);
    for motto in ["it's $HOME; `id` \\ \"\n*", "", "é"] {
        order.modules[0].variables = vec![("motto".to_owned(), motto.to_owned())];
        assert_eq!(applied(&world, &order).await, ["test/tell"]);
        assert_eq!(fs::read_to_string(world.path("motto")).unwrap(), motto);
        assert!(applied(&world, &order).await.is_empty());
    }
}

#[tokio::test]
async fn a_step_that_was_cut_short_is_done_again_though_its_check_holds() {
    let world = World::new();
    let mut placing = step("place", "test -e \"$RAPTOR_ROOT/ready\"");
    placing.files = vec![file("conf", "/etc/conf", 0o644)];
    placing.undo = Some("exit 1".to_owned());
    let mut order = one_module(&world, vec![placing]);
    order.modules[0].files = vec![("conf".to_owned(), b"one".to_vec())];
    // Once without, so that the home stays when the step fails.
    let steps = std::mem::take(&mut order.modules[0].steps);
    assert!(applied(&world, &order).await.is_empty());
    order.modules[0].steps = steps;
    slave(&world.host, &order, &Cluster::default(), &silent()).await.unwrap_err();
    fs::write(world.path("ready"), "").unwrap();
    fs::write(world.path("etc/conf"), "one").unwrap();
    assert_eq!(applied(&world, &order).await, ["test/place"]);
}

#[tokio::test]
async fn one_check_passes_an_unchanged_module_over() {
    let world = World::new();
    let mut counted = step("count", "echo >>\"$RAPTOR_ROOT/applied\"");
    counted.check = Some("echo >>\"$RAPTOR_ROOT/looked\"; test -e \"$RAPTOR_ROOT/applied\"".into());
    let mut order = one_module(&world, vec![counted]);
    order.modules[0].check = Some("test ! -e \"$RAPTOR_ROOT/doubt\"".to_owned());
    order.modules.push(ModuleInput { name: "other".to_owned(), ..ModuleInput::default() });
    order.modules[1].steps = vec![step("always", "echo >>\"$RAPTOR_ROOT/others\"")];
    let looked = || fs::read_to_string(world.path("looked")).unwrap().lines().count();
    assert_eq!(applied(&world, &order).await, ["test/count", "other/always"]);
    let before = looked();
    assert!(applied(&world, &order).await.is_empty());
    assert_eq!(looked(), before, "its steps were looked at");
    fs::write(world.path("doubt"), "").unwrap();
    assert!(applied(&world, &order).await.is_empty());
    assert_eq!(looked(), before + 1);
    order.modules[0].steps[0].apply = Some("echo again >>\"$RAPTOR_ROOT/applied\"".to_owned());
    fs::remove_file(world.path("doubt")).unwrap();
    assert_eq!(applied(&world, &order).await, ["test/count"]);
}

#[tokio::test]
async fn a_machine_without_a_named_package_manager_is_refused_untouched() {
    let world = World::new();
    let mut install = step("install", "");
    install.packages = [("nix".to_owned(), vec!["web".to_owned()])].into();
    let order = one_module(&world, vec![install]);
    let error = slave(&world.host, &order, &Cluster::default(), &silent()).await.unwrap_err();
    let told = error.cause.to_string();
    assert!(told.starts_with("test/install names no packages for "), "{told}");
    assert!(told.ends_with(", only for nix"), "{told}");
    assert_eq!(world.traces(), Vec::<String>::new());
}

#[test]
fn the_tools_of_scripts_are_sound_shell() {
    for shell in ["sh", "bash"] {
        let mut check = std::process::Command::new(shell);
        let outcome = check.args(["-n", "-c", crate::provision::compose::TOOLS]).output().unwrap();
        assert!(outcome.status.success(), "{shell}: {outcome:?}");
    }
}

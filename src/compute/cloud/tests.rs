//! Every provider against the stub of `tests/it/cloud`, in fair and in rough weather.

#[path = "../../../tests/it/cloud/mod.rs"]
mod stub;

use super::*;
use crate::compute::conformance;
use crate::compute::conformance::fresh_cluster;
use crate::compute::conformance::fresh_spec;
use crate::compute::no_secrets;
use futures_util::StreamExt;
use serde_json::json;
use std::time::Duration;
use stub::ACCESS_KEY_ID;
use stub::Dialect;
use stub::Stub;
use stub::TOKEN;
use stub::weather::Weather;
use stub::world::LAG_MAX;

/// Random courses of events for each provider.
const SCHEDULES: u64 = 200;
/// Courses that are run beside each other: they wait more than they work.
const AT_ONCE: usize = 16;

const PROVIDERS: [(&str, Dialect); 5] = [
    ("digitalocean", Dialect::DigitalOcean),
    ("ec2", Dialect::Ec2),
    ("hetzner", Dialect::Hetzner),
    ("linode", Dialect::Linode),
    ("vultr", Dialect::Vultr),
];

/// Quick looks, and more patience than the stub's lag.
fn pace() -> Pace {
    Pace {
        attempts: 4,
        backoff: Duration::from_millis(4),
        wait_max: Duration::from_secs(2),
        answer_timeout: Duration::from_millis(400),
        poll: Duration::from_millis(10),
        settle: Duration::from_millis(800),
        ready: Duration::from_secs(20),
    }
}

fn settings(stub: &Stub) -> CloudSettings {
    serde_json::from_value(json!({
        "api": stub.api(), "region": "eu-1", "size": "small", "image": "debian", "ipv6": true,
    }))
    .unwrap()
}

fn cloud(driver: &str, stub: &Stub) -> Cloud {
    open_with("mine", driver, settings(stub), environment(), pace()).unwrap()
}

/// One that holds every provider's token.
fn environment() -> Arc<Environment> {
    let variables = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" => Some(ACCESS_KEY_ID.to_owned()),
        "AWS_SESSION_TOKEN" => None,
        _ => Some(TOKEN.to_owned()),
    };
    Arc::new(Environment::new(variables, no_secrets()))
}

fn wish(name: &str, cluster: ClusterId) -> MachineSpec {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA me";
    MachineSpec { authorized_keys: vec![key.to_owned()], ..fresh_spec(name, cluster) }
}

fn assert_no_violations(stub: &Stub) {
    let world = stub.world();
    assert!(world.violations.is_empty(), "{:#?}", world.violations);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_provider_conforms() {
    for (driver, dialect) in PROVIDERS {
        let stub = Stub::start(dialect, Weather::fair()).await;
        conformance::run(&cloud(driver, &stub), Duration::from_millis(30)).await;
        assert_no_violations(&stub);
    }
}

/// What whoever asks for a machine does: again and again until it is there, and gives back what a
/// failure left.
async fn insist(cloud: &Cloud, spec: &MachineSpec, weather: &mut Weather) -> Machine {
    for _ in 0..60 {
        let made = match weather.draw(4) {
            0 => {
                let point = Duration::from_millis(weather.draw(200));
                match tokio::time::timeout(point, cloud.create(spec)).await {
                    Ok(made) => made,
                    Err(_cut_off) => continue,
                }
            }
            1 => {
                let (one, two) = tokio::join!(cloud.create(spec), cloud.create(spec));
                if let (Ok(one), Ok(two)) = (&one, &two) {
                    assert_eq!(one, two);
                }
                one.or(two)
            }
            _ => cloud.create(spec).await,
        };
        match made {
            Ok(machine) => return machine,
            Err(_) if weather.draw(2) == 0 => {
                if let Ok(Some(found)) = cloud.find(spec.intent).await {
                    let _ = cloud.destroy(&found).await;
                }
            }
            Err(_) => {}
        }
    }
    panic!("the weather never cleared");
}

async fn schedule(driver: &str, dialect: Dialect, seed: u64) {
    let stub = Stub::start(dialect, Weather::rough(seed, LAG_MAX)).await;
    let cloud = cloud(driver, &stub);
    let mut weather = Weather::rough(seed.wrapping_mul(31), LAG_MAX);
    let cluster = fresh_cluster();
    let specs = [wish("web-1", cluster), wish("web-2", cluster)];
    for spec in &specs {
        let machine = insist(&cloud, spec, &mut weather).await;
        assert_eq!((machine.intent, &machine.name), (spec.intent, &spec.name));
        let intent = spec.intent.to_string();
        assert_eq!(stub.rented(&intent), 1, "{driver} seed {seed}: not one machine");
        for _ in 0..60 {
            if cloud.destroy(&machine).await.is_ok() {
                break;
            }
        }
        assert_eq!(stub.rented(&intent), 0, "{driver} seed {seed}: an orphan");
    }
    assert_eq!(cloud.list(cluster).await.unwrap_or_default(), []);
    assert_no_violations(&stub);
}

/// No course of events leaves an orphan or a second machine.
async fn courses(driver: &'static str) {
    let (_, dialect) = PROVIDERS.into_iter().find(|(name, _)| *name == driver).unwrap();
    let runs = futures_util::stream::iter(0..SCHEDULES)
        .map(|seed| tokio::spawn(schedule(driver, dialect, seed)));
    let ended: Vec<_> = runs.buffer_unordered(AT_ONCE).collect().await;
    let failed = ended.iter().filter(|ended| ended.is_err()).count();
    assert_eq!(failed, 0, "{driver}: of {SCHEDULES} courses");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_course_leaves_an_orphan_or_a_second_droplet() {
    courses("digitalocean").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_course_leaves_an_orphan_or_a_second_instance_at_ec2() {
    courses("ec2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_course_leaves_an_orphan_or_a_second_server_at_hetzner() {
    courses("hetzner").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_course_leaves_an_orphan_or_a_second_instance_at_linode() {
    courses("linode").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_course_leaves_an_orphan_or_a_second_instance_at_vultr() {
    courses("vultr").await;
}

#[tokio::test]
async fn each_no_is_a_clear_sentence() {
    for (driver, dialect) in PROVIDERS {
        let stub = Stub::start(dialect, Weather::fair()).await;
        stub.world().is_revoked = true;
        let error = cloud(driver, &stub).check().await.unwrap_err();
        assert!(matches!(*error.cause, Cause::Cloud(CloudCause::Unauthorized { .. })), "{error:?}");
        let text = format!("{:?} {} {}", error, error.cause, error.hint());
        assert!(!text.contains(TOKEN), "the token is in {text}");

        let nothing = Arc::new(Environment::new(|_| None, no_secrets()));
        let bare = open_with("mine", driver, settings(&stub), nothing, pace()).unwrap();
        let error = bare.check().await.unwrap_err();
        assert!(matches!(*error.cause, Cause::Cloud(CloudCause::NoToken { .. })), "{error:?}");

        let closed =
            CloudSettings { api: Some("http://127.0.0.1:1".to_owned()), ..settings(&stub) };
        let closed = open_with("mine", driver, closed, environment(), pace()).unwrap();
        let error = closed.check().await.unwrap_err();
        let cause = error.cause.to_string();
        assert!(cause.starts_with("the API at 127.0.0.1 is out of reach"), "{cause}");
    }
}

#[tokio::test]
async fn a_catalogue_is_read_to_its_last_page() {
    for (driver, dialect) in PROVIDERS {
        let stub = Stub::start(dialect, Weather::fair()).await;
        let catalog = cloud(driver, &stub).catalog().await.unwrap().unwrap();
        let counts = (catalog.regions.len(), catalog.sizes.len(), catalog.images.len());
        assert!(counts.0 >= 3 && counts.1 >= 3 && counts.2 >= 3, "{driver}: {counts:?}");
        assert!(catalog.sizes.iter().all(|size| size.memory_mb == 1024), "{catalog:?}");
        assert_no_violations(&stub);
    }
}

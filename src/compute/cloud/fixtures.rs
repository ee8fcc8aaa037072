//! Answers as the providers publish them, read as they would be.

use serde_json::Value;
use serde_json::json;

use crate::compute::catalog::Size;
use crate::compute::cloud::digitalocean;
use crate::compute::cloud::hetzner;
use crate::compute::cloud::linode;
use crate::compute::cloud::marks::Marks;
use crate::compute::cloud::provider::Server;
use crate::compute::cloud::provider::State;
use crate::compute::cloud::refusal;
use crate::compute::cloud::refusal::Kind;
use crate::compute::cloud::vultr;
use crate::compute::conformance::spec;

fn fixture(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn marks() -> Marks {
    let spec = spec("web-1", 5, 6);
    let (intent, cluster) = (spec.intent, spec.cluster);
    Marks { intent, cluster, name: spec.name, host_key: Some([9; 32]) }
}

/// The published machine, bearing our tags beside its own.
fn tagged(fixture: &Value) -> Value {
    let mut server = fixture["server"].clone();
    let tags = server["tags"].as_array_mut().unwrap();
    tags.extend(marks().tags().into_iter().map(Value::from));
    server
}

fn texts(server: &Server) -> Vec<String> {
    server.addresses.iter().map(ToString::to_string).collect()
}

fn is_sized(size: &Size, name: &str, numbers: [u64; 3], monthly: f64) {
    assert_eq!(size.name, name);
    assert_eq!([size.processors, size.memory_mb, size.disk_gb], numbers, "{size:?}");
    let price = size.price.as_ref().unwrap();
    assert!((price.monthly - monthly).abs() < 1e-9, "{price:?}");
}

fn says_absent(fixture: &Value) {
    let refusal = refusal::read(404, fixture["error"].to_string().as_bytes());
    assert_eq!(refusal.kind, Kind::Absent);
    assert!(refusal.said.to_lowercase().contains("not") || refusal.said.contains("Invalid"));
}

#[test]
fn a_droplet() {
    let fixture = fixture(include_str!("../../../tests/fixtures/digitalocean.json"));
    assert_eq!(digitalocean::server(&fixture["server"]), None, "it bears no tags of ours");
    let server = digitalocean::server(&tagged(&fixture)).unwrap();
    assert_eq!((server.id.as_str(), server.state), ("3164444", State::Running));
    assert_eq!(server.marks, marks());
    // The private address that stands first is not one to log in at.
    assert_eq!(texts(&server), ["192.241.165.154", "2604:a880:0:1010::18a:a001"]);
    is_sized(&digitalocean::size(&fixture["size"]), "s-1vcpu-1gb", [1, 1024, 25], 5.0);
    says_absent(&fixture);
}

#[test]
fn a_server_of_hetzner() {
    let fixture = fixture(include_str!("../../../tests/fixtures/hetzner.json"));
    let mut labelled = fixture["server"].clone();
    for (key, value) in marks().pairs() {
        labelled["labels"][key] = json!(value);
    }
    let server = hetzner::server(&labelled).unwrap();
    assert_eq!((server.id.as_str(), server.state), ("42", State::Running));
    assert_eq!(server.marks, marks());
    assert_eq!(texts(&server), ["1.2.3.4", "2001:db8::1"]);
    is_sized(&hetzner::size(&fixture["size"], "fsn1"), "cpx22", [2, 4096, 80], 1.0);
    assert_eq!(hetzner::size(&fixture["size"], "nbg1").price, None);
    says_absent(&fixture);
}

#[test]
fn an_instance_of_linode() {
    let fixture = fixture(include_str!("../../../tests/fixtures/linode.json"));
    let server = linode::server(&tagged(&fixture)).unwrap();
    assert_eq!((server.id.as_str(), server.state), ("123", State::Running));
    assert_eq!(server.marks, marks());
    assert_eq!(texts(&server), ["203.0.113.1", "192.0.2.1", "c001:d00d::1337"]);
    is_sized(&linode::size(&fixture["size"]), "g6-standard-2", [2, 4096, 80], 20.0);
    says_absent(&fixture);
}

#[test]
fn an_instance_of_vultr() {
    let fixture = fixture(include_str!("../../../tests/fixtures/vultr.json"));
    let server = vultr::server(&tagged(&fixture)).unwrap();
    assert_eq!(server.state, State::Starting);
    assert_eq!(texts(&server), [""; 0], "0.0.0.0 is no address");
    let mut later = tagged(&fixture);
    later["status"] = json!("active");
    later["main_ip"] = json!("203.0.113.9");
    let server = vultr::server(&later).unwrap();
    assert_eq!((server.state, texts(&server)), (State::Running, vec!["203.0.113.9".to_owned()]));
    is_sized(&vultr::size(&fixture["size"]), "vc2-6c-16gb", [6, 16384, 320], 80.0);
    says_absent(&fixture);
}

//! Vultr's dialect.

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::world::{Server, World, page, text, texts};
use super::{Asked, No, Said, several};

/// What the description does not say and the documentation does.
pub fn faults(asked: &Asked) -> Vec<String> {
    let body = &asked.body;
    let mut faults = Vec::new();
    if asked.method == "POST" && asked.path == "/instances" {
        let sources = ["os_id", "image_id", "snapshot_id", "app_id"];
        if sources.iter().filter(|key| !body[**key].is_null()).count() != 1 {
            faults.push("exactly one of os_id, image_id, snapshot_id, app_id".to_owned());
        }
        if decoded(body).is_none() {
            faults.push("user_data is not base64".to_owned());
        }
    }
    faults
}

fn decoded(body: &Value) -> Option<String> {
    String::from_utf8(BASE64.decode(text(body, "user_data").as_bytes()).ok()?).ok()
}

pub fn no(no: No) -> Said {
    let (status, error) = match no {
        No::Unauthorized => (401, "Invalid API token.".to_owned()),
        No::Limited => (429, "Rate limit hit".to_owned()),
        No::Broken => (500, "Internal server error.".to_owned()),
        No::Quota => (400, "You have reached the maximum number of active instances".to_owned()),
        No::SoldOut => (400, "Server add failed: plan is sold out in this location".to_owned()),
        No::Absent => (404, "Invalid instance-id.".to_owned()),
        No::Taken => (400, "It already exists".to_owned()),
        No::Invalid(why) => (400, why),
    };
    Said::new(status, json!({"error": error, "status": status}))
}

pub fn answer(world: &mut World, asked: &Asked) -> Result<Said, No> {
    let parts: Vec<&str> = asked.path.split('/').skip(1).collect();
    let number_of = |id: &str| id.strip_prefix("cb676a46-66fd-4dfb-b839-")?.parse().ok();
    match (asked.method.as_str(), parts.as_slice()) {
        ("GET", ["account"]) => Ok(Said::new(
            200,
            json!({"account": {"name": "me", "email": "me@example.com", "balance": -5.5}}),
        )),
        ("POST", ["ssh-keys"]) => {
            // Of one key there may be many.
            let (name, key) = (text(&asked.body, "name"), text(&asked.body, "ssh_key"));
            let number = world.number();
            world.keys.push((number, name.to_owned(), key.to_owned()));
            Ok(Said::new(201, json!({"ssh_key": key_value(number, name, key)})))
        }
        ("GET", ["ssh-keys"]) => {
            let keys: Vec<Value> = world
                .keys
                .iter()
                .map(|(number, name, key)| key_value(*number, name, key))
                .collect();
            Ok(paged(asked, "ssh_keys", &keys))
        }
        ("POST", ["instances"]) => {
            let body = &asked.body;
            let user_data = decoded(body).unwrap_or_default();
            let number = world.make(text(body, "label"), texts(&body["tags"]), user_data, "");
            let mut made = instance(world.server(number).unwrap());
            made["main_ip"] = json!("0.0.0.0");
            made["default_password"] = json!("v5{Fkvb#2ycPGwHs");
            Ok(Said::new(202, json!({"instance": made})))
        }
        ("GET", ["instances"]) => {
            let tag = asked.query.get("tag");
            let meant =
                |server: &&Server| server.is_listed() && tag.is_none_or(|tag| server.has_tag(tag));
            let instances: Vec<Value> = world.servers.iter().filter(meant).map(instance).collect();
            Ok(paged(asked, "instances", &instances))
        }
        ("GET", ["instances", id]) => {
            let server = number_of(id).and_then(|number| world.server(number));
            let server = server.filter(|server| server.is_found()).ok_or(No::Absent)?;
            Ok(Said::new(200, json!({"instance": instance(server)})))
        }
        ("DELETE", ["instances", id]) => {
            let removed = number_of(id).is_some_and(|number| world.remove(number));
            if removed { Ok(Said::new(204, Value::Null)) } else { Err(No::Absent) }
        }
        ("GET", [kind @ ("regions" | "plans" | "os")]) => {
            let offers = several(5, |number| {
                json!({
                    "id": format!("{kind}-{number}"), "city": "Frankfurt", "country": "DE",
                    "name": "Debian", "vcpu_count": 1, "ram": 1024, "disk": 25, "monthly_cost": 5,
                })
            });
            Ok(paged(asked, kind, &offers))
        }
        _ => Err(No::Absent),
    }
}

fn instance(server: &Server) -> Value {
    let runs = server.runs();
    json!({
        "id": format!("cb676a46-66fd-4dfb-b839-{:012}", server.number), "label": server.name,
        "os": "Debian", "ram": 1024, "disk": 25, "vcpu_count": 1, "region": "eu-1",
        "main_ip": server.shown_address().unwrap_or_else(|| "0.0.0.0".to_owned()),
        "v6_main_ip": "", "date_created": server.created(), "tags": server.tags,
        "status": if runs { "active" } else { "pending" },
        "power_status": if runs { "running" } else { "stopped" },
        // It hangs there for ever with some images.
        "server_status": "none",
    })
}

fn key_value(number: u64, name: &str, key: &str) -> Value {
    json!({"id": format!("key-{number}"), "name": name, "ssh_key": key})
}

fn paged(asked: &Asked, items: &str, all: &[Value]) -> Said {
    let cursor = asked.query.get("cursor").and_then(|it| it.strip_prefix("page-")?.parse().ok());
    let number = cursor.unwrap_or(1);
    let (cut, more) = page(all, number, asked.number("per_page", 100));
    let next = if more { format!("page-{}", number + 1) } else { String::new() };
    let meta = json!({"total": all.len(), "links": {"next": next, "prev": ""}});
    Said::new(200, json!({items: cut, "meta": meta}))
}

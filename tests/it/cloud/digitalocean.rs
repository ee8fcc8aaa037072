//! DigitalOcean's dialect.

use serde_json::{Value, json};

use super::world::{Server, World, page, text, texts};
use super::{Asked, No, Said, several};

/// What the description does not say and the documentation does.
pub fn faults(asked: &Asked) -> Vec<String> {
    let sound = |tag: &String| {
        (1..=255).contains(&tag.len())
            && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:-".contains(&byte))
    };
    let tags = texts(&asked.body["tags"]);
    let mut faults: Vec<String> =
        tags.iter().filter(|tag| !sound(tag)).map(|tag| format!("tag {tag:?}")).collect();
    if text(&asked.body, "user_data").len() > 65_536 {
        faults.push("user_data is longer than 64 KiB".to_owned());
    }
    faults
}

pub fn no(no: No) -> Said {
    let (status, id, message) = match no {
        No::Unauthorized => (401, "unauthorized", "Unable to authenticate you"),
        No::Limited => (429, "too_many_requests", "API Rate limit exceeded."),
        No::Broken => (500, "server_error", "Unexpected server-side error"),
        No::Quota => (
            422,
            "unprocessable_entity",
            "creating this/these droplet(s) will exceed your droplet limit",
        ),
        No::SoldOut => (422, "unprocessable_entity", "Size is not available in this region."),
        No::Absent => (404, "not_found", "The resource you were accessing could not be found."),
        No::Taken => (422, "unprocessable_entity", "SSH Key is already in use on your account"),
        No::Invalid(why) => {
            return Said::new(422, json!({"id": "unprocessable_entity", "message": why}));
        }
    };
    Said::new(status, json!({"id": id, "message": message, "request_id": "4d9d8375"}))
}

pub fn answer(world: &mut World, asked: &Asked) -> Result<Said, No> {
    let parts: Vec<&str> = asked.path.split('/').skip(2).collect();
    match (asked.method.as_str(), parts.as_slice()) {
        ("GET", ["account"]) => Ok(Said::new(
            200,
            json!({"account": {"email": "sammy@example.com", "droplet_limit": 25, "status": "active"}}),
        )),
        ("POST", ["account", "keys"]) => {
            let (name, key) = (text(&asked.body, "name"), text(&asked.body, "public_key"));
            let number = world.add_key(name, key).ok_or(No::Taken)?;
            Ok(Said::new(201, json!({"ssh_key": key_value(number, name, key)})))
        }
        ("GET", ["account", "keys"]) => {
            let keys: Vec<Value> = world
                .keys
                .iter()
                .map(|(number, name, key)| key_value(*number, name, key))
                .collect();
            Ok(paged(asked, "ssh_keys", &keys))
        }
        ("POST", ["droplets"]) => Ok(create(world, &asked.body)),
        ("GET", ["droplets"]) => {
            let tag = asked.query.get("tag_name");
            let meant =
                |server: &&Server| server.is_listed() && tag.is_none_or(|tag| server.has_tag(tag));
            let droplets: Vec<Value> = world.servers.iter().filter(meant).map(droplet).collect();
            Ok(paged(asked, "droplets", &droplets))
        }
        ("GET", ["droplets", number]) => {
            let server = number.parse().ok().and_then(|number| world.server(number));
            let server = server.filter(|server| server.is_found()).ok_or(No::Absent)?;
            Ok(Said::new(200, json!({"droplet": droplet(server)})))
        }
        ("DELETE", ["droplets", number]) => {
            let removed = number.parse().is_ok_and(|number| world.remove(number));
            if removed { Ok(Said::new(204, Value::Null)) } else { Err(No::Absent) }
        }
        ("DELETE", ["tags", _]) => Ok(Said::new(204, Value::Null)),
        ("GET", [kind @ ("regions" | "sizes" | "images")]) => {
            let offers = several(5, |number| {
                json!({
                    "slug": format!("{kind}-{number}"), "name": "a place", "available": number < 5,
                    "vcpus": 1, "memory": 1024, "disk": 25, "price_monthly": 6.0,
                    "price_hourly": 0.00893, "description": "an image", "distribution": "Debian",
                })
            });
            Ok(paged(asked, kind, &offers))
        }
        _ => Err(No::Absent),
    }
}

fn create(world: &mut World, body: &Value) -> Said {
    let user_data = text(body, "user_data").to_owned();
    let number = world.make(text(body, "name"), texts(&body["tags"]), user_data, "");
    let server = world.server(number).unwrap();
    let droplet = json!({
        "id": number, "name": server.name, "status": "new", "tags": server.tags,
        "networks": {"v4": [], "v6": []}, "created_at": server.created(),
    });
    let links = json!({"actions": [{"id": number + 100_000, "rel": "create", "href": "x"}]});
    Said::new(202, json!({"droplet": droplet, "links": links}))
}

fn droplet(server: &Server) -> Value {
    let mut addresses = vec![json!({"ip_address": "10.128.192.124", "type": "private"})];
    if let Some(address) = server.shown_address() {
        addresses.push(json!({
            "ip_address": address, "netmask": "255.255.255.0", "gateway": "203.0.113.1",
            "type": "public",
        }));
    }
    json!({
        "id": server.number, "name": server.name, "memory": 1024, "vcpus": 1, "disk": 25,
        "locked": false, "status": if server.runs() { "active" } else { "new" },
        "created_at": server.created(), "tags": server.tags, "size_slug": "s-1vcpu-1gb",
        "networks": {"v4": if server.runs() { addresses } else { Vec::new() }, "v6": []},
    })
}

fn key_value(number: u64, name: &str, key: &str) -> Value {
    json!({"id": number, "fingerprint": "3b:16:bf:e4", "name": name, "public_key": key})
}

fn paged(asked: &Asked, items: &str, all: &[Value]) -> Said {
    let number = asked.number("page", 1);
    let (cut, more) = page(all, number, asked.number("per_page", 20));
    let next = format!("https://api.digitalocean.com{}?page={}", asked.path, number + 1);
    let pages = if more { json!({"next": next, "last": next}) } else { json!({}) };
    Said::new(200, json!({items: cut, "links": {"pages": pages}, "meta": {"total": all.len()}}))
}

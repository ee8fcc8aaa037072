//! Hetzner's dialect.

use serde_json::{Map, Value, json};

use super::world::{Server, World, page, text};
use super::{Asked, No, Said, several};

/// What the description does not say and the documentation does.
pub fn faults(asked: &Asked) -> Vec<String> {
    let mut faults = Vec::new();
    if text(&asked.body, "user_data").len() > 32_768 {
        faults.push("user_data is longer than 32 KiB".to_owned());
    }
    let name = text(&asked.body, "name");
    if asked.path == "/servers" && asked.method == "POST" && name.len() > 63 {
        faults.push(format!("{name:?} is no host name"));
    }
    faults
}

pub fn no(no: No) -> Said {
    let (status, code, message) = match no {
        No::Unauthorized => (401, "unauthorized", "unable to authenticate"),
        No::Limited => (429, "rate_limit_exceeded", "limit of 3600 requests per hour reached"),
        No::Broken => (502, "bad_gateway", "bad gateway"),
        No::Quota => (403, "resource_limit_exceeded", "server limit exceeded"),
        No::SoldOut => (412, "resource_unavailable", "error during placement"),
        No::Absent => (404, "not_found", "server not found"),
        No::Taken => (409, "uniqueness_error", "server name is already used"),
        No::Invalid(why) => {
            return Said::new(
                422,
                json!({"error": {"code": "invalid_input", "message": why, "details": {}}}),
            );
        }
    };
    Said::new(status, json!({"error": {"code": code, "message": message, "details": null}}))
}

pub fn answer(world: &mut World, asked: &Asked) -> Result<Said, No> {
    let parts: Vec<&str> = asked.path.split('/').skip(1).collect();
    match (asked.method.as_str(), parts.as_slice()) {
        ("POST", ["ssh_keys"]) => {
            let (name, key) = (text(&asked.body, "name"), text(&asked.body, "public_key"));
            let number = world.add_key(name, key).ok_or(No::Taken)?;
            Ok(Said::new(201, json!({"ssh_key": key_value(number, name, key)})))
        }
        ("GET", ["ssh_keys"]) => {
            let keys: Vec<Value> = world
                .keys
                .iter()
                .map(|(number, name, key)| key_value(*number, name, key))
                .collect();
            Ok(paged(asked, "ssh_keys", &keys))
        }
        ("POST", ["servers"]) => create(world, &asked.body),
        ("GET", ["servers"]) => {
            let selector = asked.query.get("label_selector");
            let meant = |server: &&Server| {
                server.is_listed() && selector.is_none_or(|label| server.has_tag(label))
            };
            let servers: Vec<Value> =
                world.servers.iter().filter(meant).map(server_value).collect();
            Ok(paged(asked, "servers", &servers))
        }
        ("GET", ["servers", number]) => {
            let server = number.parse().ok().and_then(|number| world.server(number));
            let server = server.filter(|server| server.is_found()).ok_or(No::Absent)?;
            Ok(Said::new(200, json!({"server": server_value(server)})))
        }
        ("DELETE", ["servers", number]) => {
            let removed = number.parse().is_ok_and(|number| world.remove(number));
            let action = json!({"id": 1, "command": "delete_server", "status": "running"});
            if removed { Ok(Said::new(200, json!({"action": action}))) } else { Err(No::Absent) }
        }
        ("GET", [kind @ ("locations" | "server_types" | "images")]) => {
            let offers = several(5, |number| {
                json!({
                    "id": number, "name": format!("{kind}-{number}"), "description": "one of them",
                    "cores": 2, "memory": 1.0, "disk": 40,
                    "prices": [{"location": "eu-1", "price_monthly": {
                        "net": "3.2900000000", "gross": "3.9151000000000000"}}],
                })
            });
            Ok(paged(asked, kind, &offers))
        }
        _ => Err(No::Absent),
    }
}

fn create(world: &mut World, body: &Value) -> Result<Said, No> {
    let name = text(body, "name");
    // A name is free again once its server is gone.
    if world.servers.iter().any(|server| server.name == name && !server.is_gone()) {
        return Err(No::Taken);
    }
    let labels = body["labels"].as_object().into_iter().flatten();
    let tags = labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap())).collect();
    let number = world.make(name, tags, text(body, "user_data").to_owned(), "");
    let server = server_value(world.server(number).unwrap());
    let action = json!({"id": number, "command": "create_server", "status": "running"});
    Ok(Said::new(
        201,
        json!({"server": server, "action": action, "next_actions": [], "root_password": null}),
    ))
}

fn server_value(server: &Server) -> Value {
    let labels: Map<String, Value> = server
        .tags
        .iter()
        .filter_map(|tag| tag.split_once('='))
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect();
    // The address is there from the start.
    let ipv4 = server.address.map(|address| json!({"ip": address, "blocked": false}));
    let status = match (server.gone_at, server.runs()) {
        (Some(_), _) => "deleting",
        (None, true) => "running",
        (None, false) => "initializing",
    };
    json!({
        "id": server.number, "name": server.name, "status": status, "created": server.created(),
        "labels": labels, "public_net": {"ipv4": ipv4, "ipv6": null, "floating_ips": []},
    })
}

fn key_value(number: u64, name: &str, key: &str) -> Value {
    json!({"id": number, "fingerprint": "3b:16:bf:e4", "name": name, "public_key": key, "labels": {}})
}

fn paged(asked: &Asked, items: &str, all: &[Value]) -> Said {
    let number = asked.number("page", 1);
    let (cut, more) = page(all, number, asked.number("per_page", 25));
    let next = more.then_some(number + 1);
    let pagination = json!({"page": number, "next_page": next, "total_entries": all.len()});
    Said::new(200, json!({items: cut, "meta": {"pagination": pagination}}))
}

//! Linode's dialect.

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::world::{Server, World, page, text, texts};
use super::{Asked, No, Said, several};

/// What the description does not say and the documentation does.
pub fn faults(asked: &Asked) -> Vec<String> {
    let mut faults: Vec<String> = texts(&asked.body["tags"])
        .iter()
        .filter(|tag| !(3..=50).contains(&tag.len()))
        .map(|tag| format!("tag {tag:?} has not 3 to 50 characters"))
        .collect();
    if decoded(&asked.body).is_none_or(|text| text.len() > 65_535) {
        faults.push("user_data is not base64 of at most 65535 bytes".to_owned());
    }
    if asked.method == "POST"
        && !asked.body["image"].is_null()
        && text(&asked.body, "root_pass").is_empty()
    {
        faults.push("root_pass is required with an image".to_owned());
    }
    faults
}

fn decoded(body: &Value) -> Option<String> {
    let encoded = body["metadata"]["user_data"].as_str().unwrap_or_default();
    String::from_utf8(BASE64.decode(encoded.as_bytes()).ok()?).ok()
}

pub fn no(no: No) -> Said {
    let (status, reason) = match no {
        No::Unauthorized => (401, "Invalid Token".to_owned()),
        No::Limited => (429, "Too many requests".to_owned()),
        No::Broken => (500, "An unexpected error occured.".to_owned()),
        No::Quota => (400, "Account Limit reached. Please open a support ticket.".to_owned()),
        No::SoldOut => (400, "This plan is currently unavailable in this region.".to_owned()),
        No::Absent => (404, "Not found".to_owned()),
        No::Taken => (400, "Label must be unique among your linodes".to_owned()),
        No::Invalid(why) => (400, why),
    };
    Said::new(status, json!({"errors": [{"reason": reason}]}))
}

pub fn answer(world: &mut World, asked: &Asked) -> Result<Said, No> {
    let parts: Vec<&str> = asked.path.split('/').skip(1).collect();
    match (asked.method.as_str(), parts.as_slice()) {
        ("POST", ["linode", "instances"]) => create(world, &asked.body),
        ("GET", ["linode", "instances"]) => {
            let filter = asked.headers.get("x-filter").and_then(|value| value.to_str().ok());
            let filter: Value = filter.map_or(Value::Null, |it| serde_json::from_str(it).unwrap());
            let tag = filter["tags"].as_str();
            let meant =
                |server: &&Server| server.is_listed() && tag.is_none_or(|tag| server.has_tag(tag));
            let instances: Vec<Value> = world.servers.iter().filter(meant).map(instance).collect();
            Ok(paged(asked, &instances))
        }
        ("GET", ["linode", "instances", number]) => {
            let server = number.parse().ok().and_then(|number| world.server(number));
            let server = server.filter(|server| server.is_found()).ok_or(No::Absent)?;
            Ok(Said::new(200, instance(server)))
        }
        ("DELETE", ["linode", "instances", number]) => {
            let removed = number.parse().is_ok_and(|number| world.remove(number));
            if removed { Ok(Said::new(200, json!({}))) } else { Err(No::Absent) }
        }
        ("GET", ["images"]) => Ok(paged(asked, &offers())),
        ("GET", ["regions"] | ["linode", "types"]) => {
            let offers = offers();
            Ok(Said::new(
                200,
                json!({"data": offers, "page": 1, "pages": 1, "results": offers.len()}),
            ))
        }
        _ => Err(No::Absent),
    }
}

fn offers() -> Vec<Value> {
    several(5, |number| {
        json!({
            "id": format!("offer-{number}"), "label": "one of them", "vcpus": 1, "memory": 1024,
            "disk": 25_600, "price": {"hourly": 0.0075, "monthly": 5.0},
        })
    })
}

fn create(world: &mut World, body: &Value) -> Result<Said, No> {
    let label = text(body, "label");
    if world.servers.iter().any(|server| server.name == label && !server.is_gone()) {
        return Err(No::Taken);
    }
    let user_data = decoded(body).unwrap_or_default();
    let number = world.make(label, texts(&body["tags"]), user_data, "");
    Ok(Said::new(200, instance(world.server(number).unwrap())))
}

fn instance(server: &Server) -> Value {
    let mut addresses = vec!["192.168.133.234".to_owned()];
    addresses.extend(server.address.map(|address| address.to_string()));
    let status = match (server.gone_at, server.runs()) {
        (Some(_), _) => "deleting",
        (None, true) => "running",
        (None, false) => "provisioning",
    };
    json!({
        "id": server.number, "label": server.name, "status": status, "tags": server.tags,
        "created": server.created(), "ipv4": addresses, "ipv6": null, "region": "eu-1",
    })
}

fn paged(asked: &Asked, all: &[Value]) -> Said {
    let number = asked.number("page", 1);
    let (cut, more) = page(all, number, asked.number("page_size", 100));
    let pages = if more { number + 1 } else { number };
    Said::new(200, json!({"data": cut, "page": number, "pages": pages, "results": all.len()}))
}

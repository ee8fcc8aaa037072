//! EC2's dialect: signed forms in, XML out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use data_encoding::{BASE64, HEXLOWER};
use ring::{digest, hmac};
use serde_json::Value;

use super::world::{Server, World, page};
use super::{Asked, No, Said, TOKEN};

/// Whose key it is.
pub const ACCESS_KEY_ID: &str = "AKIDEXAMPLE";

/// What each action takes; `.N` stands for a number. After the EC2 API reference.
const ACTIONS: [(&str, &[&str]); 6] = [
    (
        "RunInstances",
        &[
            "ImageId",
            "InstanceType",
            "MinCount",
            "MaxCount",
            "ClientToken",
            "UserData",
            "SubnetId",
            "SecurityGroupId.N",
            "Ipv6AddressCount",
            "MetadataOptions.HttpTokens",
            "MetadataOptions.HttpPutResponseHopLimit",
            "TagSpecification.N.ResourceType",
            "TagSpecification.N.Tag.N.Key",
            "TagSpecification.N.Tag.N.Value",
        ],
    ),
    (
        "DescribeInstances",
        &["InstanceId.N", "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"],
    ),
    ("TerminateInstances", &["InstanceId.N"]),
    ("DescribeRegions", &[]),
    ("DescribeInstanceTypes", &["Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"]),
    ("DescribeImages", &["Owner.N", "Filter.N.Name", "Filter.N.Value.N", "NextToken"]),
];

pub fn faults(asked: &Asked) -> Vec<String> {
    let mut faults = Vec::new();
    let form = &asked.query;
    let action = form.get("Action").map(String::as_str).unwrap_or_default();
    if asked.method != "POST" || asked.path != "/" {
        faults.push(format!("{}: expected POST /", asked.title()));
    }
    if form.get("Version").map(String::as_str) != Some("2016-11-15") {
        faults.push("Version is not 2016-11-15".to_owned());
    }
    let Some((_, known)) = ACTIONS.iter().find(|(name, _)| *name == action) else {
        faults.push(format!("no action {action:?}"));
        return faults;
    };
    for key in form.keys().filter(|key| !["Action", "Version"].contains(&key.as_str())) {
        let numbered: Vec<&str> = key
            .split('.')
            .map(|part| if part.parse::<u32>().is_ok() { "N" } else { part })
            .collect();
        if !known.contains(&numbered.join(".").as_str()) {
            faults.push(format!("{action} has no parameter {key}"));
        }
    }
    if action == "RunInstances" {
        for needed in ["ImageId", "InstanceType", "MinCount", "MaxCount"] {
            if form.get(needed).is_none_or(String::is_empty) {
                faults.push(format!("RunInstances lacks {needed}"));
            }
        }
        if form.get("ClientToken").is_some_and(|token| token.len() > 64) {
            faults.push("ClientToken is longer than 64".to_owned());
        }
        if decoded(form).is_none_or(|text| text.len() > 16_384) {
            faults.push("UserData is not base64 of at most 16 KiB".to_owned());
        }
    }
    faults
}

fn decoded(form: &BTreeMap<String, String>) -> Option<String> {
    String::from_utf8(BASE64.decode(form.get("UserData")?.as_bytes()).ok()?).ok()
}

/// Whether the signature is that of the stub's secret, over exactly these bytes.
pub fn is_authorized(asked: &Asked) -> bool {
    let header = |name: &str| asked.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or("");
    let Some((head, given)) = header("authorization").split_once(", Signature=") else {
        return false;
    };
    let Some((scope, names)) = head
        .strip_prefix(&format!("AWS4-HMAC-SHA256 Credential={ACCESS_KEY_ID}/"))
        .and_then(|rest| rest.split_once(", SignedHeaders="))
    else {
        return false;
    };
    if !["host", "x-amz-date"].iter().all(|name| names.split(';').any(|signed| signed == *name)) {
        return false;
    }
    let hash = |bytes: &[u8]| HEXLOWER.encode(digest::digest(&digest::SHA256, bytes).as_ref());
    let mut headers = String::new();
    for name in names.split(';') {
        writeln!(headers, "{name}:{}", header(name)).unwrap();
    }
    let canonical = format!("POST\n/\n\n{headers}\n{names}\n{}", hash(&asked.raw));
    let date = header("x-amz-date");
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hash(canonical.as_bytes()));
    let mut key = format!("AWS4{TOKEN}").into_bytes();
    for part in scope.split('/').chain([text.as_str()]) {
        let sign = hmac::Key::new(hmac::HMAC_SHA256, &key);
        key = hmac::sign(&sign, part.as_bytes()).as_ref().to_vec();
    }
    HEXLOWER.encode(&key) == given
}

pub fn no(no: No) -> Said {
    let (status, code, message) = match no {
        No::Unauthorized => {
            (401, "AuthFailure", "AWS was not able to validate the credentials".to_owned())
        }
        No::Limited => (503, "RequestLimitExceeded", "Request limit exceeded.".to_owned()),
        No::Broken => (500, "InternalError", "An internal error has occurred".to_owned()),
        No::Quota => (400, "VcpuLimitExceeded", "You have requested more vCPU capacity".to_owned()),
        No::SoldOut => (500, "InsufficientInstanceCapacity", "We do not have capacity".to_owned()),
        No::Absent => {
            (400, "InvalidInstanceID.NotFound", "The instance ID does not exist".to_owned())
        }
        No::Taken => (
            400,
            "IdempotentParameterMismatch",
            "Arguments on this idempotent request are inconsistent".to_owned(),
        ),
        No::Invalid(why) => {
            (400, "InvalidParameterValue", why.replace('<', "&lt;").replace('&', "&amp;"))
        }
    };
    Said::new(
        status,
        Value::from(format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code>\
             <Message>{message}</Message></Error></Errors><RequestID>ea966190</RequestID></Response>"
        )),
    )
}

pub fn answer(world: &mut World, asked: &Asked) -> Result<Said, No> {
    let form = &asked.query;
    let part = |key: &str| form.get(key).map(String::as_str).unwrap_or_default();
    let number_of = |id: &str| id.strip_prefix("i-")?.parse::<u64>().ok();
    let inner = match part("Action") {
        "RunInstances" => run(world, form)?,
        "DescribeInstances" if !part("InstanceId.1").is_empty() => {
            let server = number_of(part("InstanceId.1")).and_then(|number| world.server(number));
            let server = server.filter(|it| it.found_at <= Instant::now()).ok_or(No::Absent)?;
            reservations(std::slice::from_ref(server), "")
        }
        "DescribeInstances" => {
            let key = part("Filter.1.Name").strip_prefix("tag:").unwrap_or_default();
            let tag = format!("{key}={}", part("Filter.1.Value.1"));
            // What was destroyed is shown for about an hour.
            let meant = |it: &&Server| it.listed_at <= Instant::now() && it.has_tag(&tag);
            let found: Vec<Server> = world.servers.iter().filter(meant).cloned().collect();
            let number = part("NextToken").parse().unwrap_or(1);
            let (cut, more) = page(&found, number, 1000);
            reservations(&cut, &next(more, number))
        }
        "TerminateInstances" => {
            let number = number_of(part("InstanceId.1")).ok_or(No::Absent)?;
            let server = world.server(number);
            server.filter(|it| it.found_at <= Instant::now()).ok_or(No::Absent)?;
            world.remove(number);
            "<instancesSet/>".to_owned()
        }
        "DescribeRegions" => {
            let item = |n| {
                format!(
                    "<item><regionName>eu-{n}</regionName><regionEndpoint>e</regionEndpoint></item>"
                )
            };
            format!("<regionInfo>{}</regionInfo>", (1..=5).map(item).collect::<String>())
        }
        "DescribeInstanceTypes" => {
            let all: Vec<u64> = (1..=5).collect();
            let number = part("NextToken").parse().unwrap_or(1);
            let (cut, more) = page(&all, number, 100);
            let item = |n: &u64| {
                format!(
                    "<item><instanceType>t{n}.micro</instanceType><vCpuInfo><defaultVCpus>2</defaultVCpus></vCpuInfo><memoryInfo><sizeInMiB>1024</sizeInMiB></memoryInfo></item>"
                )
            };
            let items: String = cut.iter().map(item).collect();
            format!("<instanceTypeSet>{items}</instanceTypeSet>{}", next(more, number))
        }
        _ => {
            let item = |n| {
                format!(
                    "<item><imageId>ami-{n}</imageId><name>debian-13-{n}</name><creationDate>2026-0{n}-01T00:00:00.000Z</creationDate></item>"
                )
            };
            format!("<imagesSet>{}</imagesSet>", (1..=5).map(item).collect::<String>())
        }
    };
    let action = part("Action");
    let head = "xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"";
    Ok(Said::new(200, Value::from(format!("<{action}Response {head}>{inner}</{action}Response>"))))
}

fn next(more: bool, number: usize) -> String {
    if more { format!("<nextToken>{}</nextToken>", number + 1) } else { String::new() }
}

fn run(world: &mut World, form: &BTreeMap<String, String>) -> Result<String, No> {
    let token = form.get("ClientToken").cloned().unwrap_or_default();
    let user_data = decoded(form).unwrap_or_default();
    let before = world.servers.iter().find(|server| !token.is_empty() && server.token == token);
    if let Some(before) = before {
        // The same request gives the same instance, whatever became of it.
        let same = before.user_data == user_data;
        return if same { Ok(instances(before)) } else { Err(No::Taken) };
    }
    let tags = (1..).map_while(|number| {
        let part = |end: &str| form.get(&format!("TagSpecification.1.Tag.{number}.{end}"));
        Some(format!("{}={}", part("Key")?, part("Value")?))
    });
    let tags: Vec<String> = tags.collect();
    let number = world.make("", tags, user_data, &token);
    Ok(instances(world.server(number).unwrap()))
}

fn reservations(servers: &[Server], after: &str) -> String {
    let mut items = String::new();
    for server in servers {
        write!(items, "<item>{}</item>", instances(server)).unwrap();
    }
    format!("<reservationSet>{items}</reservationSet>{after}")
}

fn instances(server: &Server) -> String {
    let state = match (server.gone_at, server.runs()) {
        (Some(at), _) if at <= Instant::now() => "terminated",
        (Some(_), _) => "shutting-down",
        (None, true) => "running",
        (None, false) => "pending",
    };
    let mut text = format!(
        "<instancesSet><item><instanceId>i-{:017}</instanceId><instanceState><code>0</code>\
         <name>{state}</name></instanceState><launchTime>{}</launchTime>\
         <privateIpAddress>172.31.0.9</privateIpAddress>",
        server.number,
        server.created()
    );
    if let Some(address) = server.shown_address().filter(|_| server.gone_at.is_none()) {
        write!(text, "<ipAddress>{address}</ipAddress>").unwrap();
    }
    text.push_str("<tagSet>");
    for (key, value) in server.tags.iter().filter_map(|tag| tag.split_once('=')) {
        write!(text, "<item><key>{key}</key><value>{value}</value></item>").unwrap();
    }
    text.push_str("</tagSet></item></instancesSet>");
    text
}

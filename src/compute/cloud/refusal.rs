//! What a provider's error answer says, as one sentence and as one of a few kinds. Pure.

use serde_json::Value;

/// Longest sentence that is passed on, in characters.
const SAID_MAX: usize = 300;

/// What kind of no it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The token is wrong or may not do this.
    Unauthorized,
    /// The account may not have more.
    Quota,
    /// The size is not to be had there.
    SoldOut,
    /// It is not there.
    Absent,
    /// The name or the idempotency token is in use.
    Taken,
    /// Nothing was done for the moment: the same request may do later.
    Busy,
    /// The provider failed: it may have been done.
    Broken,
    /// It will not be done.
    Refused,
}

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) kind: Kind,
    /// The provider's words, one line.
    pub(super) said: String,
}

/// Codes and words by which the five providers tell the kinds apart. Sources: their published
/// descriptions, and the error lists of the EC2 API reference.
const TAKEN: [&str; 6] = [
    "uniqueness_error",
    "must be unique",
    "already in use",
    "already exists",
    "invalidkeypair.duplicate",
    "idempotentparametermismatch",
];
const SOLD_OUT: [&str; 11] = [
    "resource_unavailable",
    "placement_error",
    "insufficientinstancecapacity",
    "insufficienthostcapacity",
    "out of stock",
    "sold out",
    "no capacity",
    "insufficient capacity",
    "not available in this region",
    "not available in the selected",
    "currently unavailable",
];
const QUOTA: [&str; 9] = [
    "resource_limit_exceeded",
    "instancelimitexceeded",
    "vcpulimitexceeded",
    "droplet limit",
    "instance limit",
    "account limit",
    "quota",
    "maximum number of",
    "limit has been reached",
];
const BUSY: [&str; 8] = [
    "rate_limit_exceeded",
    "requestlimitexceeded",
    "throttling",
    "too many requests",
    "linode busy",
    "conflict",
    "locked",
    "please try again shortly",
];
const UNAUTHORIZED: [&str; 7] = [
    "authfailure",
    "signaturedoesnotmatch",
    "unauthorizedoperation",
    "invalidclienttokenid",
    "expiredtoken",
    "requestexpired",
    "optinrequired",
];

/// Reads an error answer.
pub(super) fn read(status: u16, body: &[u8]) -> Refusal {
    let (code, message) = code_and_message(body);
    let said = match (code.is_empty(), message.is_empty()) {
        (_, true) if code.is_empty() => "it gives no reason".to_owned(),
        (_, true) => code.clone(),
        (true, false) => message.clone(),
        (false, false) => format!("{message} ({code})"),
    };
    let text = format!("{code} {message}").to_ascii_lowercase();
    let tells = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let kind = match status {
        401 => Kind::Unauthorized,
        429 => Kind::Busy,
        _ if tells(&UNAUTHORIZED) => Kind::Unauthorized,
        _ if tells(&TAKEN) => Kind::Taken,
        _ if tells(&SOLD_OUT) => Kind::SoldOut,
        _ if tells(&QUOTA) => Kind::Quota,
        400..=499 | 503 if tells(&BUSY) => Kind::Busy,
        403 => Kind::Unauthorized,
        404 | 410 => Kind::Absent,
        400 if code.starts_with("Invalid") && code.ends_with(".NotFound") => Kind::Absent,
        408 | 500..=599 => Kind::Broken,
        _ => Kind::Refused,
    };
    Refusal { kind, said: one_line(&said) }
}

/// The five shapes: `{id,message}`, `{error:{code,message}}`, `{errors:[{reason,field}]}`,
/// `{error,status}`, and XML `Errors/Error/{Code,Message}`.
fn code_and_message(body: &[u8]) -> (String, String) {
    let Ok(answer) = serde_json::from_slice::<Value>(body) else {
        return from_text(&String::from_utf8_lossy(body));
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if let Some(errors) = answer["errors"].as_array() {
        let reasons: Vec<String> = errors
            .iter()
            .take(5)
            .map(|error| match text(&error["field"]) {
                field if field.is_empty() => text(&error["reason"]),
                field => format!("{field}: {}", text(&error["reason"])),
            })
            .collect();
        return (String::new(), reasons.join("; "));
    }
    match &answer["error"] {
        Value::Object(error) => {
            let part = |key: &str| error.get(key).map(text).unwrap_or_default();
            (part("code"), part("message"))
        }
        Value::String(error) => (String::new(), error.clone()),
        _ => (text(&answer["id"]), text(&answer["message"])),
    }
}

fn from_text(text: &str) -> (String, String) {
    let Ok(document) = roxmltree::Document::parse(text) else {
        // A proxy's page: its title says the most.
        let title = text.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
        return (String::new(), title.map_or(text, |(title, _)| title).to_owned());
    };
    let part = |name: &str| {
        let node = document.descendants().find(|node| node.has_tag_name(name));
        node.and_then(|node| node.text()).unwrap_or_default().to_owned()
    };
    match part("Code") {
        code if code.is_empty() => (String::new(), part("title")),
        code => (code, part("Message")),
    }
}

/// A line of words: whatever a provider answers, it stays in its place.
pub(super) fn one_line(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|letter: char| letter.is_whitespace() || letter.is_control()).collect();
    let line = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SAID_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, body: &str) -> Kind {
        read(status, body.as_bytes()).kind
    }

    const ANSWERS: [(u16, &str, Kind, &str); 14] = [
        (
            401,
            r#"{"id":"unauthorized","message":"Unable to authenticate you"}"#,
            Kind::Unauthorized,
            "Unable to authenticate you (unauthorized)",
        ),
        (
            422,
            r#"{"id":"unprocessable_entity","message":"creating this/these droplet(s) will exceed your droplet limit"}"#,
            Kind::Quota,
            "creating this/these droplet(s) will exceed your droplet limit (unprocessable_entity)",
        ),
        (
            422,
            r#"{"id":"unprocessable_entity","message":"Size is not available in this region."}"#,
            Kind::SoldOut,
            "Size is not available in this region. (unprocessable_entity)",
        ),
        (
            409,
            r#"{"error":{"code":"uniqueness_error","message":"server name is already used","details":{"fields":[{"name":"name"}]}}}"#,
            Kind::Taken,
            "server name is already used (uniqueness_error)",
        ),
        (
            412,
            r#"{"error":{"code":"resource_unavailable","message":"sorry"}}"#,
            Kind::SoldOut,
            "sorry (resource_unavailable)",
        ),
        (
            403,
            r#"{"error":{"code":"resource_limit_exceeded","message":"server limit exceeded"}}"#,
            Kind::Quota,
            "server limit exceeded (resource_limit_exceeded)",
        ),
        (
            400,
            r#"{"errors":[{"reason":"Label must be unique among your linodes","field":"label"}]}"#,
            Kind::Taken,
            "label: Label must be unique among your linodes",
        ),
        (400, r#"{"errors":[{"reason":"Linode busy."}]}"#, Kind::Busy, "Linode busy."),
        (404, r#"{"errors":[{"reason":"Not found"}]}"#, Kind::Absent, "Not found"),
        (
            400,
            r#"{"error":"Server add failed: Invalid region.","status":400}"#,
            Kind::Refused,
            "Server add failed: Invalid region.",
        ),
        (
            400,
            "<?xml version=\"1.0\"?><Response><Errors><Error><Code>InvalidInstanceID.NotFound</Code><Message>The instance ID 'i-1' does not exist</Message></Error></Errors><RequestID>x</RequestID></Response>",
            Kind::Absent,
            "The instance ID 'i-1' does not exist (InvalidInstanceID.NotFound)",
        ),
        (
            503,
            "<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>slow down</Message></Error></Errors></Response>",
            Kind::Busy,
            "slow down (RequestLimitExceeded)",
        ),
        (
            502,
            "<html><head><title>502 Bad Gateway</title></head><body>nginx",
            Kind::Broken,
            "502 Bad Gateway",
        ),
        (500, "", Kind::Broken, "it gives no reason"),
    ];

    #[test]
    fn every_dialect_becomes_a_sentence_and_a_kind() {
        for (status, body, expected, said) in ANSWERS {
            let refusal = read(status, body.as_bytes());
            assert_eq!((refusal.kind, refusal.said.as_str()), (expected, said), "{body}");
        }
    }

    #[test]
    fn statuses_alone_say_enough() {
        for (status, expected) in [
            (401, Kind::Unauthorized),
            (403, Kind::Unauthorized),
            (404, Kind::Absent),
            (408, Kind::Broken),
            (409, Kind::Refused),
            (422, Kind::Refused),
            (429, Kind::Busy),
            (503, Kind::Broken),
        ] {
            assert_eq!(kind(status, "{}"), expected, "{status}");
        }
    }

    #[test]
    fn answers_stay_in_one_short_line() {
        let body = format!("{{\"message\":\"a\\u001b[31m\\nb {}\"}}", "x".repeat(900));
        let said = read(400, body.as_bytes()).said;
        assert!(said.starts_with("a [31m b x") && said.chars().count() == SAID_MAX + 1, "{said}");
        bolero::check!().with_iterations(2000).for_each(|body: &[u8]| {
            let said = read(400, body).said;
            assert!(!said.chars().any(char::is_control));
        });
    }
}

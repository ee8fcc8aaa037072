use super::*;
use crate::compute::conformance::spec;
use serde_json::json;

fn said(lines: &[&str]) -> Result<Option<Result<Value, Refusal>>, String> {
    let mut conversation = Conversation::default();
    for line in lines {
        conversation.line(line.as_bytes())?;
    }
    Ok(conversation.end())
}

#[test]
fn progress_and_then_one_answer() {
    let answer = said(&["{\"progress\": \"making it\"}", "", "{\"result\": null}\r"]);
    assert_eq!(answer, Ok(Some(Ok(Value::Null))));
    let no = "{\"error\": {\"code\": \"quota\", \"message\": \"full\", \"new\": 1}}";
    let refusal = said(&[no]).unwrap().unwrap().unwrap_err();
    assert_eq!((refusal.code, refusal.message.as_str()), (Code::Quota, "full"));
    let later = "{\"error\": {\"code\": \"eclipse\", \"message\": \"dark\"}}";
    assert_eq!(said(&[later]).unwrap().unwrap().unwrap_err().code, Code::Other);
    assert_eq!(said(&["{\"progress\": \"a\"}"]), Ok(None));
}

#[test]
fn what_breaks_the_rules_is_told() {
    for (lines, why) in [
        (&["hello"][..], "no JSON object"),
        (&["[1]"], "no JSON object"),
        (&["{\"result\": 1}", "{\"result\": 2}"], "more after its answer"),
        (&["{\"result\": 1}", "{\"progress\": \"x\"}"], "more after its answer"),
        (&["{}"], "no progress, no result and no error"),
        (&["{\"result\": 1, \"error\": {\"message\": \"x\"}}"], "no progress, no result"),
        (&["{\"error\": \"x\"}"], "its error cannot be read"),
    ] {
        let error = said(lines).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    let many = vec!["{\"progress\": \"x\"}"; PROGRESS_MAX + 1];
    assert!(said(&many).unwrap_err().contains("more than"));
}

#[test]
fn a_request_is_one_line_with_all_that_is_asked() {
    let settings = json!({"image": "a\nb"});
    let question = Question {
        parameters: &json!({"intent": "x"}),
        settings: settings.as_object().unwrap(),
        secrets: [("token", "hunter2")].into(),
        deadline: Duration::from_secs(2),
    };
    let line = request(Verb::EnsureKey, question).unwrap();
    assert_eq!(line.split(|byte| *byte == b'\n').count(), 2);
    let read: Value = serde_json::from_slice(&line).unwrap();
    let expected = json!({
        "version": 1, "verb": "ensure_key", "parameters": {"intent": "x"},
        "settings": {"image": "a\nb"}, "secrets": {"token": "hunter2"}, "deadline_ms": 2000,
    });
    assert_eq!(read, expected);
}

fn machine(change: impl FnOnce(&mut Value)) -> Result<Machine, String> {
    let spec = spec("web-1", 1, 2);
    let mut told = json!({
        "id": "7", "intent": spec.intent.to_string(), "cluster": spec.cluster.to_string(),
        "name": "web-1", "ssh": {"host": "fd00::1", "port": 2222, "user": "ann"}, "later": 1,
    });
    change(&mut told);
    serde_json::from_value::<Told>(told).map_err(|error| error.to_string())?.machine()
}

#[test]
fn a_machine_is_believed_only_when_it_is_sound() {
    let sound = machine(|_| {}).unwrap();
    let Some(Access::Ssh { destination, .. }) = sound.access else { panic!() };
    assert_eq!(destination.to_string(), "ann@[fd00::1]:2222");
    assert!(sound.running);
    assert_eq!(machine(|told| told["ssh"] = Value::Null).unwrap().access, None);
    for (path, value) in [
        ("/id", json!("")),
        ("/id", json!("a\u{1b}[2J")),
        ("/intent", json!("short")),
        ("/cluster", json!(1)),
        ("/name", json!("Web 1")),
        ("/ssh/host", json!("-oProxyCommand=x")),
        ("/ssh/host", json!("a b")),
        ("/ssh/user", json!("-l")),
        ("/ssh/port", json!(0)),
    ] {
        let wrong = machine(|told| *told.pointer_mut(path).unwrap() = value.clone());
        assert!(wrong.is_err(), "{path} {value}");
    }
    let keys = |told: &mut Value| told["ssh"]["host_keys"] = json!(["* ssh-ed25519"]);
    assert!(machine(keys).is_err());
}

#[test]
fn no_line_panics() {
    bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
        let mut conversation = Conversation::default();
        for line in bytes.split(|byte| *byte == b'\n') {
            let _ = conversation.line(line);
        }
        if let Some(Ok(answer)) = conversation.end() {
            let _ = serde_json::from_value::<Told>(answer).map(Told::machine);
        }
    });
}

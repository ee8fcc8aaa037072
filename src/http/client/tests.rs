//! The client against a small server on a unix socket in a folder of the test's own.

use std::sync::{Arc, Mutex};

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::Path as Segment;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::agent::api::DocumentChange;
use crate::agent::api::ExecEvent;
use crate::model::label::Selector;

type Seen = Arc<Mutex<Vec<String>>>;

async fn echo_upgraded(request: axum::extract::Request) -> Response {
    let protocol = request.headers()[header::UPGRADE].clone();
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(request).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let headers = [(header::CONNECTION, "Upgrade".parse().unwrap()), (header::UPGRADE, protocol)];
    (axum::http::StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

fn router(seen: Seen) -> Router {
    let refuse = |Segment(node): Segment<String>| async move {
        let message = format!("no member {node}");
        let body = json!({"code": "not_found", "message": message, "hint": "raptor members"});
        (axum::http::StatusCode::NOT_FOUND, Json(body))
    };
    let write = |State(seen): State<Seen>, Json(body): Json<Value>| async move {
        seen.lock().unwrap().push(body.to_string());
        axum::http::StatusCode::NO_CONTENT
    };
    let exec = || async {
        let lines = "{\"event\":\"targets\",\"nodes\":[\"a\"]}\n\
                     {\"event\":\"acknowledged\",\"node\":\"a\"}\n";
        Body::from(lines)
    };
    let log = |Query(query): Query<Vec<(String, String)>>, State(seen): State<Seen>| async move {
        seen.lock().unwrap().push(format!("{query:?}"));
        Json(json!([]))
    };
    let terminal = |Query(query): Query<Vec<(String, String)>>,
                    State(seen): State<Seen>,
                    request: axum::extract::Request| async move {
        seen.lock().unwrap().push(format!("{query:?}"));
        echo_upgraded(request).await
    };
    Router::new()
        .route("/v1/status", get(|| async { "not json" }))
        .route("/v1/members/{node}", axum::routing::delete(refuse))
        .route("/v1/document", post(write))
        .route("/v1/document/log", get(log))
        .route("/v1/exec", post(exec))
        .route("/v1/terminal/{node}", get(terminal))
        .route("/v1/connect/{node}/{port}", get(echo_upgraded))
        .with_state(seen)
}

struct Server {
    client: ApiClient,
    seen: Seen,
    _folder: tempfile::TempDir,
}

fn serve() -> Server {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let seen = Seen::default();
    let service = router(seen.clone());
    tokio::spawn(async move { axum::serve(listener, service).await });
    Server { client: ApiClient::new(&socket).unwrap(), seen, _folder: folder }
}

#[tokio::test]
async fn a_refusal_keeps_its_words_and_a_node_cannot_leave_its_place_in_the_path() {
    let server = serve();
    let error = server.client.evict("../../x y").await.unwrap_err();
    let ClientError::Refused { status: 404, error } = error else { panic!("{error}") };
    assert_eq!(error.message, "no member ../../x y");
    assert_eq!(error.hint.as_deref(), Some("raptor members"));

    let error = server.client.tickets().await.unwrap_err();
    assert_eq!(error.to_string(), "the agent answers 404 Not Found to /v1/tickets");
}

#[tokio::test]
async fn an_eviction_whose_answer_was_lost_is_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let client = ApiClient::new(&socket).unwrap();
    let gone = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    for answers in [["", gone], [gone, ""]] {
        let serve = async {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let read = stream.read(&mut request).await.unwrap();
                assert!(request[..read].starts_with(b"DELETE /v1/members/ann "));
                stream.write_all(answer.as_bytes()).await.unwrap();
                if !answer.is_empty() {
                    break;
                }
            }
        };
        let (evicted, ()) = tokio::join!(client.evict("ann"), serve);
        assert_eq!(evicted.is_ok(), answers[0].is_empty(), "{evicted:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_json_is_named() {
    let error = serve().client.status().await.unwrap_err();
    assert!(matches!(&error, ClientError::Malformed { request, .. } if request == "status"));
}

#[tokio::test]
async fn nobody_listening_is_said_with_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let error = ApiClient::new(&socket).unwrap().status().await.unwrap_err();
    let ClientError::Unreachable { why, .. } = error else { panic!("{error}") };
    assert!(why.contains("No such file"), "{why}");
}

#[tokio::test]
async fn changes_and_questions_arrive_as_the_api_names_them() {
    let server = serve();
    let change = DocumentChange::Set { path: "config.a".to_owned(), value: json!(1) };
    let request = WriteRequest { note: "test".to_owned(), changes: vec![change] };
    server.client.write(&request).await.unwrap();
    assert!(server.client.document_log(7).await.unwrap().is_empty());
    let seen = server.seen.lock().unwrap();
    assert_eq!(serde_json::from_str::<WriteRequest>(&seen[0]).unwrap(), request);
    assert_eq!(seen[1], r#"[("limit", "7")]"#);
}

#[tokio::test]
async fn exec_events_come_one_by_one() {
    let server = serve();
    let request =
        ExecRequest { on: Selector::default(), argv: vec!["true".to_owned()], timeout_ms: 1000 };
    let mut events = server.client.exec(&request).await.unwrap();
    assert!(matches!(events.next().await.unwrap(), Some(ExecEvent::Targets { .. })));
    assert!(matches!(events.next().await.unwrap(), Some(ExecEvent::Acknowledged { .. })));
    assert_eq!(events.next().await.unwrap(), None);
}

#[tokio::test]
async fn an_upgraded_stream_carries_bytes_both_ways() {
    let server = serve();
    let argv = vec!["sh".to_owned(), "-c".to_owned(), "a & b".to_owned()];
    let request = TerminalRequest { rows: 24, columns: 80, term: "xterm".to_owned(), argv };
    let streams = [
        server.client.connect("a", 22).await.unwrap(),
        server.client.terminal("a", &request).await.unwrap(),
    ];
    for mut stream in streams {
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"hello");
    }
    let seen = server.seen.lock().unwrap();
    assert!(seen[0].contains(r#"("argv", "[\"sh\",\"-c\",\"a & b\"]")"#), "{}", seen[0]);
}

//! The places on the web, against small servers that check what they are asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::Method;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::response::IntoResponse;
use axum::response::Response;
use data_encoding::BASE64;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::backup::archive::Head;
use crate::backup::credentials::Credentials;
use crate::backup::keep;
use crate::backup::store;
use crate::backup::store::Access;
use crate::backup::store::Target;
use crate::compute::cloud::ec2::sigv4;
use crate::compute::cloud::ec2::sigv4::Signed;
use crate::compute::cloud::secret::Secret;
use crate::model::cluster::ClusterId;
use crate::model::name::Name;
use crate::model::time::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// With a login.
    Plain,
    /// With a token, and folders that have to be made.
    WebDav,
    S3,
    Couch,
}

/// What a server holds, by path; and what was wrong with what it was asked.
#[derive(Debug, Default)]
struct Held {
    files: BTreeMap<String, Vec<u8>>,
    revisions: BTreeMap<String, u64>,
    wrong: Vec<String>,
    /// Alters what it is given.
    is_rotten: bool,
}

type Shared = (Kind, Arc<Mutex<Held>>);

async fn serve(kind: Kind) -> (std::net::SocketAddr, Arc<Mutex<Held>>) {
    let held = Arc::new(Mutex::new(Held::default()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .fallback(answer)
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state((kind, Arc::clone(&held)));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, held)
}

async fn answer(
    State((kind, held)): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
    if !is_authorised(kind, &method, &uri, &headers, &body) {
        held.wrong.push(format!("{method} {uri} is not signed as it should be"));
        return StatusCode::FORBIDDEN.into_response();
    }
    let path = uri.path().to_owned();
    match kind {
        Kind::Couch => couch(&mut held, &method, &uri, &body),
        Kind::WebDav if method.as_str() == "MKCOL" => {
            let known = held.files.insert(path, Vec::new()).is_some();
            let status = if known { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::CREATED };
            status.into_response()
        }
        _ => plain(kind, &mut held, &method, path, &body),
    }
}

fn is_authorised(
    kind: Kind,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> bool {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let basic = format!("Basic {}", BASE64.encode(b"me:pass:word"));
    match kind {
        Kind::Plain | Kind::Couch => header("authorization") == Some(basic.as_str()),
        Kind::WebDav => header("authorization") == Some("Bearer t0ken"),
        Kind::S3 => {
            let named = ["host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"];
            let values: Option<Vec<(&str, &str)>> =
                named.iter().map(|name| Some((*name, header(name)?))).collect();
            let (Some(values), Some(date)) = (values, header("x-amz-date")) else { return false };
            let credentials = sigv4::Credentials {
                access_key_id: "AKID".to_owned(),
                secret: Secret::new("hush"),
                session_token: None,
            };
            let signed = Signed {
                method: method.as_str(),
                path: uri.path(),
                query: "",
                headers: &values,
                body,
                region: "eu-1",
                service: "s3",
                date,
            };
            let expected = sigv4::authorization(&credentials, &signed);
            header("authorization") == Some(expected.as_str())
                && header("x-amz-content-sha256") == Some(sigv4::hash(body).as_str())
        }
    }
}

fn plain(kind: Kind, held: &mut Held, method: &Method, path: String, body: &[u8]) -> Response {
    match *method {
        Method::GET => match held.files.get(&path) {
            Some(bytes) => bytes.clone().into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        Method::PUT => {
            let folder = path.rsplit_once('/').map(|(folder, _)| format!("{folder}/"));
            if kind == Kind::WebDav && !folder.is_some_and(|it| held.files.contains_key(&it)) {
                return StatusCode::CONFLICT.into_response();
            }
            let mut bytes = body.to_vec();
            if held.is_rotten {
                bytes.pop();
            }
            held.files.insert(path, bytes);
            StatusCode::CREATED.into_response()
        }
        Method::DELETE => {
            held.files.remove(&path);
            StatusCode::NO_CONTENT.into_response()
        }
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

/// Documents with an attachment and revisions, as `CouchDB` has them.
fn couch(held: &mut Held, method: &Method, uri: &Uri, body: &[u8]) -> Response {
    let path = uri.path();
    if let (Some(document), &Method::GET) = (path.strip_suffix("/archive"), method) {
        return match held.files.get(document) {
            Some(bytes) => bytes.clone().into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        };
    }
    let revision = held.revisions.get(path).copied();
    let told = revision.map(|revision| format!("{revision}-x"));
    match *method {
        Method::GET => match told {
            Some(told) => axum::Json(json!({ "_id": path, "_rev": told })).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        Method::PUT => {
            let document: Value = serde_json::from_slice(body).unwrap_or_default();
            if document["_rev"].as_str() != told.as_deref() {
                return StatusCode::CONFLICT.into_response();
            }
            let data = document["_attachments"]["archive"]["data"].as_str().unwrap_or_default();
            held.files.insert(path.to_owned(), BASE64.decode(data.as_bytes()).unwrap());
            held.revisions.insert(path.to_owned(), revision.unwrap_or_default() + 1);
            StatusCode::CREATED.into_response()
        }
        Method::DELETE => {
            let expected = told.map(|told| format!("rev={told}"));
            if uri.query() != expected.as_deref() {
                return StatusCode::CONFLICT.into_response();
            }
            held.files.remove(path);
            held.revisions.remove(path);
            StatusCode::OK.into_response()
        }
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

fn open(address: &str, credentials: &str) -> Target {
    let credentials = Some(Credentials::new(credentials));
    store::open(address, Access { credentials, ..Access::default() }).unwrap()
}

fn head(created_ms: u64) -> Head {
    let cluster: Name = "default".parse().unwrap();
    let cluster_id = ClusterId::derive(1, &cluster);
    let created_at = Timestamp::from_millis(created_ms);
    Head { cluster, cluster_id, created_at, build: String::new(), rest: Map::new() }
}

/// Three backups, of which two are kept, and the latest is found again.
async fn writes_keeps_and_finds(kind: Kind, address: &str, credentials: &str, prefix: &str) {
    let (server, held) = serve(kind).await;
    let address = address.replace("HOST", &server.to_string());
    let target = open(&address, credentials);
    let empty = keep::read(&target, None).await.unwrap_err();
    assert!(empty.to_string().contains("none is listed there"), "{empty}");
    for day in 1..=3u8 {
        let written = keep::write(&target, &head(u64::from(day)), &vec![day; 100_000], 2).await;
        let removed = written.unwrap().removed;
        assert_eq!(removed.len(), usize::from(day == 3), "{kind:?} {removed:?}");
    }
    let (name, bytes) = keep::read(&target, None).await.unwrap();
    assert_eq!(bytes, vec![3; 100_000]);
    let one = open(&address.replacen("place", &format!("place/{name}"), 1), credentials);
    assert_eq!(keep::read(&one, None).await.unwrap(), (name, bytes));
    let (files, wrong) = {
        let held = held.lock().unwrap();
        let names = held.files.keys().filter(|path| !path.ends_with('/')).cloned();
        (names.collect::<Vec<String>>(), held.wrong.clone())
    };
    assert_eq!((files.len(), wrong), (3, Vec::new()), "{kind:?}: two and their list: {files:?}");
    assert!(files.iter().all(|path| path.starts_with(prefix)), "{files:?}");
    // Another's credentials open nothing.
    let closed = open(&address, "you:nothing more");
    let refused = keep::read(&closed, None).await.unwrap_err().to_string();
    assert!(refused.contains("403 Forbidden") && !refused.contains("nothing"), "{refused}");
}

#[tokio::test]
async fn plain_http() {
    let address = "http://HOST/a/place";
    writes_keeps_and_finds(Kind::Plain, address, "me:pass:word\n", "/a/place/").await;
}

#[tokio::test]
async fn webdav_makes_its_folders() {
    let address = "webdav://HOST/dav/place";
    writes_keeps_and_finds(Kind::WebDav, address, "t0ken", "/dav/place/").await;
}

#[tokio::test]
async fn s3_signs_what_it_asks() {
    let address = "s3://bucket/place?region=eu-1&endpoint=http://HOST";
    writes_keeps_and_finds(Kind::S3, address, "AKID hush session", "/bucket/place/").await;
}

#[tokio::test]
async fn couchdb_names_revisions() {
    let address = "couchdb://HOST/place";
    writes_keeps_and_finds(Kind::Couch, address, "me:pass:word", "/place/").await;
}

#[tokio::test]
async fn what_is_read_back_must_be_what_was_written() {
    let (server, held) = serve(Kind::Plain).await;
    held.lock().unwrap().is_rotten = true;
    let target = open(&format!("http://{server}/place"), "me:pass:word");
    let error = keep::write(&target, &head(1), b"archive", 2).await.unwrap_err();
    assert!(error.to_string().contains("what is read there is not what was written"), "{error}");
}

#[test]
fn credentials_go_over_tls_alone() {
    let credentials = Some(Credentials::new("me:password"));
    let access = Access { credentials, ..Access::default() };
    let error = store::open("http://example.org/b", access).err().unwrap().to_string();
    assert!(error.contains("credentials go over TLS alone") && !error.contains("password"));
}

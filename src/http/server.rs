//! The API of an agent: HTTP/1.1 over a unix socket that only the agent's own user may open.

use std::convert::Infallible;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::Path;
use axum::extract::Query;
use axum::extract::State;
use axum::http::Request;
use axum::http::StatusCode;
use axum::http::header::CONNECTION;
use axum::http::header::CONTENT_TYPE;
use axum::http::header::UPGRADE;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::delete;
use axum::routing::get;
use axum::routing::post;
use bytes::Bytes;
use futures_util::stream::unfold;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixListener;

use crate::agent::api::AdmitRequest;
use crate::agent::api::Bootstrap;
use crate::agent::api::EchoRequest;
use crate::agent::api::ExecRequest;
use crate::agent::api::TerminalRequest;
use crate::agent::api::TicketRequest;
use crate::agent::api::WriteRequest;
use crate::agent::dial::carry;
use crate::agent::error::AgentError;
use crate::agent::handle::Command;
use crate::agent::handle::Reply;
use crate::agent::metrics;
use crate::agent::peer::client::Duplex;
use crate::agent::services::Services;
use crate::config::home::Home;
use crate::http::artefacts;
use crate::http::socket_path::SocketPath;
use crate::reconcile::fleet::plan::FleetPlan;

/// Largest request body, in bytes.
const BODY_SIZE_MAX: usize = 4 * 1024 * 1024;

/// Lines of the document's log when the caller names no number.
const LOG_LIMIT: usize = 100;

/// Serves the API on `listener` until `stop` is done.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: UnixListener,
    services: Services,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(services)).with_graceful_shutdown(stop).await
}

fn router(services: Services) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/members", get(members).post(admit))
        .route("/v1/members/{node}", delete(evict))
        .route("/v1/peers", post(introduce))
        .route("/v1/rejoin", post(rejoin))
        .route("/v1/document", get(document).post(write))
        .route("/v1/document/log", get(log))
        .route("/v1/plan", get(plan))
        .route("/v1/tickets", get(tickets).post(create_ticket))
        .route("/v1/tickets/{id}", delete(revoke_ticket))
        .route("/v1/ssh/{node}", get(ssh_info))
        .route("/v1/mesh", get(mesh))
        .route("/v1/echo", post(echo))
        .route("/v1/metrics", get(metric_families))
        .route("/metrics", get(prometheus))
        .route("/v1/exec", post(exec))
        .route("/v1/terminal/{node}", get(terminal))
        .route("/v1/connect/{node}/{port}", get(connect))
        .route("/v1/artefacts/{digest}", get(artefacts::give).put(artefacts::put))
        .route("/v1/stop", post(stop))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_SIZE_MAX))
        .with_state(services)
}

/// A refusal as an answer.
pub(super) struct Refusal(pub(super) AgentError);

impl From<AgentError> for Refusal {
    fn from(error: AgentError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.0 {
            AgentError::NotFound(_) => StatusCode::NOT_FOUND,
            AgentError::Conflict(_) => StatusCode::CONFLICT,
            AgentError::Invalid(_) => StatusCode::BAD_REQUEST,
            AgentError::Refused(_) => StatusCode::BAD_GATEWAY,
            AgentError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            AgentError::Forbidden(_) => StatusCode::FORBIDDEN,
            AgentError::Bug(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(self.0.to_api())).into_response()
    }
}

type Answer<T> = Result<Json<T>, Refusal>;

/// A JSON body, refused in the API's own words.
fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(bytes)
        .map_err(|error| Refusal(AgentError::Invalid(format!("the request's body: {error}"))))
}

async fn ask<T: Serialize>(
    services: &Services,
    make: impl FnOnce(Reply<T>) -> Command,
) -> Answer<T> {
    Ok(Json(services.handle().ask(make).await?))
}

async fn status(State(services): State<Services>) -> impl IntoResponse {
    ask(&services, Command::Status).await
}

async fn members(State(services): State<Services>) -> impl IntoResponse {
    ask(&services, Command::Members).await
}

async fn admit(State(services): State<Services>, bytes: Bytes) -> Result<Response, Refusal> {
    let request: AdmitRequest = body(&bytes)?;
    Ok(ask(&services, |reply| Command::Admit(request, reply)).await?.into_response())
}

async fn introduce(State(services): State<Services>, bytes: Bytes) -> Result<Response, Refusal> {
    let bootstrap: Bootstrap = body(&bytes)?;
    Ok(ask(&services, |reply| Command::Introduce(bootstrap, reply)).await?.into_response())
}

async fn evict(State(services): State<Services>, Path(node): Path<String>) -> impl IntoResponse {
    ask(&services, |reply| Command::Evict(node, reply)).await
}

async fn rejoin(State(services): State<Services>) -> impl IntoResponse {
    ask(&services, Command::Rejoin).await
}

async fn document(State(services): State<Services>) -> Answer<Value> {
    ask(&services, Command::Document).await
}

async fn write(State(services): State<Services>, bytes: Bytes) -> Result<Response, Refusal> {
    let request: WriteRequest = body(&bytes)?;
    Ok(ask(&services, |reply| Command::Write(request, reply)).await?.into_response())
}

async fn plan(State(services): State<Services>) -> Answer<FleetPlan> {
    Ok(Json(services.plan().await?))
}

#[derive(Deserialize)]
struct LogQuery {
    limit: Option<usize>,
}

async fn log(State(services): State<Services>, Query(query): Query<LogQuery>) -> impl IntoResponse {
    let limit = query.limit.unwrap_or(LOG_LIMIT);
    ask(&services, |reply| Command::Log(limit, reply)).await
}

async fn tickets(State(services): State<Services>) -> impl IntoResponse {
    ask(&services, Command::Tickets).await
}

async fn create_ticket(
    State(services): State<Services>,
    bytes: Bytes,
) -> Result<Response, Refusal> {
    let request: TicketRequest = body(&bytes)?;
    Ok(ask(&services, |reply| Command::CreateTicket(request, reply)).await?.into_response())
}

async fn revoke_ticket(
    State(services): State<Services>,
    Path(id): Path<String>,
) -> impl IntoResponse {
    ask(&services, |reply| Command::RevokeTicket(id, reply)).await
}

async fn ssh_info(State(services): State<Services>, Path(node): Path<String>) -> impl IntoResponse {
    ask(&services, |reply| Command::SshInfo(node, reply)).await
}

#[derive(Deserialize)]
struct MeshQuery {
    node: Option<String>,
}

async fn mesh(
    State(services): State<Services>,
    Query(query): Query<MeshQuery>,
) -> Result<Response, Refusal> {
    Ok(Json(services.mesh(query.node).await?).into_response())
}

async fn echo(State(services): State<Services>, bytes: Bytes) -> Result<Response, Refusal> {
    let request: EchoRequest = body(&bytes)?;
    Ok(Json(services.echo(request).await?).into_response())
}

async fn metric_families(State(services): State<Services>) -> impl IntoResponse {
    ask(&services, Command::Metrics).await
}

async fn prometheus(State(services): State<Services>) -> Result<Response, Refusal> {
    let families = services.handle().ask(Command::Metrics).await?;
    let head = [(CONTENT_TYPE, metrics::CONTENT_TYPE)];
    Ok((head, metrics::render(&families)).into_response())
}

async fn exec(State(services): State<Services>, bytes: Bytes) -> Result<Response, Refusal> {
    let request: ExecRequest = body(&bytes)?;
    let events = services.exec(request).await?;
    let lines = unfold(events, |mut events| async {
        let event = events.recv().await?;
        let mut line = serde_json::to_vec(&event).ok()?;
        line.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(line)), events))
    });
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

#[derive(Deserialize)]
struct TerminalQuery {
    rows: u16,
    columns: u16,
    term: String,
    #[serde(default)]
    argv: String,
}

async fn terminal(
    State(services): State<Services>,
    Path(node): Path<String>,
    Query(query): Query<TerminalQuery>,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let argv = if query.argv.is_empty() {
        Vec::new()
    } else {
        serde_json::from_str(&query.argv)
            .map_err(|error| AgentError::Invalid(format!("argv is no JSON list: {error}")))?
    };
    let wanted =
        TerminalRequest { rows: query.rows, columns: query.columns, term: query.term, argv };
    let stream = services.terminal(node, wanted).await?;
    upgrade(request, "raptor-terminal", stream).await
}

async fn connect(
    State(services): State<Services>,
    Path((node, port)): Path<(String, u16)>,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let stream = services.connect(node, port).await?;
    upgrade(request, "raptor-stream", stream).await
}

/// Answers 101 and carries bytes between the caller and `stream` from then on.
async fn upgrade(
    request: Request<Body>,
    protocol: &'static str,
    stream: Box<dyn Duplex>,
) -> Result<Response, Refusal> {
    let (mut parts, _) = request.into_parts();
    let asked = parts.headers.get(UPGRADE).is_some_and(|value| value == protocol);
    let upgrade = axum::Extension::<hyper::upgrade::OnUpgrade>::from_request_parts(&mut parts, &())
        .await
        .ok()
        .filter(|_| asked)
        .ok_or_else(|| AgentError::Invalid(format!("this path needs `Upgrade: {protocol}`")))?;
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.0.await {
            // Either end may go at any time: there is nobody to be told.
            let _ = carry(TokioIo::new(upgraded), stream).await;
        }
    });
    let headers = [(CONNECTION, "Upgrade"), (UPGRADE, protocol)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

#[derive(Deserialize)]
struct StopRequest {
    #[serde(default)]
    leave: bool,
}

async fn stop(State(services): State<Services>, bytes: Bytes) -> Result<Response, Refusal> {
    let request: StopRequest = body(&bytes)?;
    let leave = request.leave;
    Ok(ask(&services, |reply| Command::Stop { leave, reply }).await?.into_response())
}

/// How long answers on their way may take when the agent stops.
pub const STOP_GRACE: Duration = Duration::from_secs(1);

/// Opens the API's socket for this user alone. The caller holds the home's lock, so a socket that
/// is there is a dead agent's.
///
/// # Errors
/// When the old socket cannot be removed or the new one cannot be made.
pub fn listen(home: &Home) -> std::io::Result<UnixListener> {
    let path = home.socket_file();
    match std::fs::remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // The folder is 0700, so nobody slips in before the socket itself is 0600.
    std::fs::set_permissions(home.agent_folder(), Permissions::from_mode(0o700))?;
    let short = SocketPath::new(&path)?;
    let listener = UnixListener::bind(short.as_path())?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

//! Artefacts by their SHA-256: handed in and given out.

use axum::body::Body;
use axum::extract::Path;
use axum::extract::State;
use axum::http::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;
use futures_util::StreamExt;
use futures_util::stream::unfold;
use tokio::io::AsyncReadExt;

use crate::agent::error::AgentError;
use crate::agent::services::Services;
use crate::config::artefacts::ArtefactError;
use crate::http::server::Refusal;

/// Bytes that are read at once.
const PIECE: usize = 64 * 1024;

#[allow(clippy::needless_pass_by_value)] // What `map_err` hands over.
fn refused(error: ArtefactError) -> Refusal {
    Refusal(match error {
        ArtefactError::File(_) => AgentError::Unavailable(crate::agent::error::chain(&error)),
        other => AgentError::Invalid(other.to_string()),
    })
}

/// `PUT /v1/artefacts/{digest}`: the file itself.
pub(super) async fn put(
    State(services): State<Services>,
    Path(digest): Path<String>,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let mut incoming = services.artefacts().begin(&digest).map_err(refused)?;
    let mut pieces = request.into_body().into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                incoming.discard();
                return Err(Refusal(AgentError::Unavailable(error.to_string())));
            }
        };
        incoming.write(&piece).map_err(refused)?;
    }
    let finished = tokio::task::spawn_blocking(|| incoming.finish()).await;
    finished.map_err(|error| Refusal(AgentError::Bug(error.to_string())))?.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `GET /v1/artefacts/{digest}`.
pub(super) async fn give(
    State(services): State<Services>,
    Path(digest): Path<String>,
) -> Result<Response, Refusal> {
    let missing = || Refusal(AgentError::NotFound(format!("the artefact {digest} is not here")));
    let path = services.artefacts().find(&digest).ok_or_else(missing)?;
    let file = tokio::fs::File::open(path).await.map_err(|_| missing())?;
    let pieces = unfold(Some(file), |file| async {
        let mut file = file?;
        let mut piece = Vec::with_capacity(PIECE);
        match (&mut file).take(PIECE as u64).read_to_end(&mut piece).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(piece), Some(file))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(Body::from_stream(pieces).into_response())
}

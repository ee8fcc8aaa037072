//! The API's client as the door that performed plans go through.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::agent::api::AdmitRequest;
use crate::agent::api::Bootstrap;
use crate::agent::api::WriteRequest;
use crate::agent::error::chain;
use crate::agent::perform::door::Answer;
use crate::agent::perform::door::Door;
use crate::agent::perform::door::DoorError;
use crate::agent::perform::door::Doors;
use crate::agent::perform::door::Way;
use crate::agent::perform::local::fault_in;
use crate::cli::bridge::BridgeListener;
use crate::cli::bridge::HostBridge;
use crate::http::client::ApiClient;
use crate::http::client::ClientError;
use crate::model::cluster::Genesis;
use crate::model::member::Member;

/// How long a new agent may take until its API answers: on a computer that starts a hundred at once
/// each has its turn late. One that says why it does not start is not waited for as long.
const OPEN_TIMEOUT: Duration = Duration::from_secs(120);

/// How long an agent that said why it does not start may take until it does: its supervisor tries
/// again, and what stood in the way may have been its predecessor.
const FAULT_PATIENCE: Duration = Duration::from_secs(2);

/// How often it is asked.
const OPEN_INTERVAL: Duration = Duration::from_millis(10);

/// An agent that is reached through its API.
pub struct ApiDoor {
    client: ApiClient,
    /// Keeps the way through SSH open.
    _bridge: Option<BridgeListener>,
}

impl ApiDoor {
    /// A door of which the client is at hand.
    #[must_use]
    pub fn new(client: ApiClient) -> Self {
        Self { client, _bridge: None }
    }
}

impl Door for ApiDoor {
    fn members(&self) -> Answer<'_, Vec<Member>> {
        Box::pin(async { self.client.members().await.map_err(told) })
    }

    fn artefact(&self, digest: String) -> Answer<'_, Vec<u8>> {
        Box::pin(async move { self.client.artefact(&digest).await.map_err(told) })
    }

    fn genesis(&self) -> Answer<'_, Genesis> {
        Box::pin(async { Ok(self.client.status().await.map_err(told)?.genesis) })
    }

    fn document(&self) -> Answer<'_, Value> {
        Box::pin(async { self.client.document().await.map_err(told) })
    }

    fn write(&self, request: WriteRequest) -> Answer<'_, ()> {
        Box::pin(async move { self.client.write(&request).await.map_err(told) })
    }

    fn admit(&self, request: AdmitRequest) -> Answer<'_, Bootstrap> {
        Box::pin(async move { self.client.admit(&request).await.map_err(told) })
    }

    fn introduce(&self, bootstrap: Bootstrap) -> Answer<'_, ()> {
        Box::pin(async move { self.client.introduce(&bootstrap).await.map_err(told) })
    }

    fn evict(&self, node: String) -> Answer<'_, ()> {
        Box::pin(async move { self.client.evict(&node).await.map_err(told) })
    }
}

fn told(error: ClientError) -> DoorError {
    match error {
        ClientError::Refused { error, .. } => DoorError::Refused(error),
        other => DoorError::Unreachable(chain(&other)),
    }
}

/// Opens doors for performed plans.
#[derive(Debug, Clone, Copy, Default)]
pub struct ApiDoors;

impl Doors for ApiDoors {
    fn open(&self, way: Way) -> Answer<'_, Arc<dyn Door>> {
        Box::pin(async move {
            let mut log = None;
            let (client, bridge) = match way {
                Way::Local { home, log_start } => {
                    log = Some((home.log_file(), log_start));
                    (ApiClient::new(&home.socket_file()).map_err(told)?, None)
                }
                Way::Host { host, sudo } => {
                    let bridge =
                        BridgeListener::over(HostBridge { host, sudo }).map_err(|error| {
                            DoorError::Unreachable(format!(
                                "cannot open a temporary socket: {error}"
                            ))
                        })?;
                    (ApiClient::new(bridge.socket()).map_err(told)?, Some(bridge))
                }
            };
            wait_until_ready(&client, log).await?;
            Ok(Arc::new(ApiDoor { client, _bridge: bridge }) as Arc<dyn Door>)
        })
    }
}

async fn wait_until_ready(
    client: &ApiClient,
    log: Option<(PathBuf, u64)>,
) -> Result<(), DoorError> {
    let mut deadline = Instant::now() + OPEN_TIMEOUT;
    let mut fault = None;
    loop {
        match client.status().await {
            Ok(_) => return Ok(()),
            Err(error @ ClientError::Refused { .. }) => return Err(told(error)),
            Err(error) if Instant::now() > deadline => {
                return Err(fault.map_or_else(|| told(error), DoorError::Unreachable));
            }
            Err(_) => tokio::time::sleep(OPEN_INTERVAL).await,
        }
        if fault.is_none() {
            fault = log.as_ref().and_then(|(path, start)| fault_in(path, *start));
            if fault.is_some() {
                deadline = deadline.min(Instant::now() + FAULT_PATIENCE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[tokio::test]
    async fn an_agent_that_cannot_start_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("agent.log");
        let earlier = "error: an old story\n";
        let text = format!("{earlier}INFO it begins\nerror: UDP port 7 is in use\n");
        std::fs::write(&log, text).unwrap();
        let client = ApiClient::new(&folder.path().join("agent.sock")).unwrap();
        let started = Instant::now();
        let start = u64::try_from(earlier.len()).unwrap();
        let error = wait_until_ready(&client, Some((log.clone(), start))).await.unwrap_err();
        assert_eq!(error.to_string(), "it does not start: UDP port 7 is in use");
        assert!(started.elapsed() < OPEN_TIMEOUT / 2);
        assert_eq!(fault_in(&log, start + 100), None);
    }

    /// Any answer will do: what is looked at is that it is waited for.
    async fn refuse_one(socket: &Path) {
        use tokio::io::AsyncReadExt;
        use tokio::io::AsyncWriteExt;
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_on_a_busy_computer_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("agent.sock");
        let client = ApiClient::new(&socket).unwrap();
        let agent = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            // From here on things take their own time.
            tokio::time::resume();
            refuse_one(&socket).await;
        });
        let answer = wait_until_ready(&client, None).await;
        agent.abort();
        assert!(matches!(answer, Err(DoorError::Refused(_))), "{answer:?}");
    }
}

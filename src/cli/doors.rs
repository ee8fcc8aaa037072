//! The API's client as the door that performed plans go through.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use crate::agent::api::AdmitRequest;

use crate::agent::api::Bootstrap;
use crate::agent::api::WriteRequest;
use crate::agent::error::chain;
use crate::agent::perform::door::Answer;
use crate::agent::perform::door::Door;
use crate::agent::perform::door::DoorError;
use crate::agent::perform::door::Doors;
use crate::agent::perform::door::Way;
use crate::cli::bridge::BridgeListener;
use crate::cli::bridge::HostBridge;
use crate::http::client::ApiClient;
use crate::http::client::ClientError;
use crate::model::cluster::Genesis;
use crate::model::member::Member;

/// How long a new agent may take until its API answers.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

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
            let (client, bridge) = match way {
                Way::Local(home) => (ApiClient::new(&home.socket_file()).map_err(told)?, None),
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
            wait_until_ready(&client).await?;
            Ok(Arc::new(ApiDoor { client, _bridge: bridge }) as Arc<dyn Door>)
        })
    }
}

async fn wait_until_ready(client: &ApiClient) -> Result<(), DoorError> {
    let deadline = Instant::now() + OPEN_TIMEOUT;
    loop {
        match client.status().await {
            Ok(_) => return Ok(()),
            Err(error @ ClientError::Refused { .. }) => return Err(told(error)),
            Err(error) if Instant::now() > deadline => return Err(told(error)),
            Err(_) => tokio::time::sleep(OPEN_INTERVAL).await,
        }
    }
}

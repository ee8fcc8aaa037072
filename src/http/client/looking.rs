//! Requests that look at the mesh.

use reqwest::Method;

use super::ApiClient;
use super::CHANGE_TIMEOUT;
use super::ClientError;
use super::read;
use super::url;
use crate::agent::api::EchoReport;
use crate::agent::api::EchoRequest;
use crate::agent::mesh_view::MeshView;
use crate::agent::metrics::Family;

impl ApiClient {
    /// The mesh as the agent sees it, or the member `node`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn mesh(&self, node: Option<&str>) -> Result<MeshView, ClientError> {
        let mut url = url(&["mesh"]);
        if let Some(node) = node {
            url.query_pairs_mut().append_pair("node", node);
        }
        let response = self.send(Method::GET, url, None::<&()>, Some(CHANGE_TIMEOUT)).await?;
        read(response, "mesh").await
    }

    /// Asks a member for an echo through the mesh.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn echo(&self, request: &EchoRequest) -> Result<EchoReport, ClientError> {
        self.post(&["echo"], request).await
    }

    /// The agent's numbers for a monitor.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn metrics(&self) -> Result<Vec<Family>, ClientError> {
        self.get(&["metrics"]).await
    }
}

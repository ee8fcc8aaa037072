//! Requests about artefacts.

use reqwest::Method;

use super::ApiClient;
use super::ClientError;
use super::refusal;
use super::url;

impl ApiClient {
    /// Hands in the file whose SHA-256 is `digest`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn put_artefact(&self, digest: &str, bytes: Vec<u8>) -> Result<(), ClientError> {
        let url = url(&["artefacts", digest]);
        let request = url.path().to_owned();
        let sent = self.http.put(url).body(bytes).send().await;
        let response = sent.map_err(|error| self.failed(&request, &error))?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(refusal(response, &request).await)
    }

    /// The file whose SHA-256 is `digest`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn artefact(&self, digest: &str) -> Result<Vec<u8>, ClientError> {
        let url = url(&["artefacts", digest]);
        let request = url.path().to_owned();
        let response = self.send(Method::GET, url, None::<&()>, None).await?;
        let bytes = response.bytes().await;
        Ok(bytes.map_err(|error| ClientError::broken_off(&request, &error))?.to_vec())
    }
}

//! HTTP as every place on the web needs it: bounded, without redirects, credentials over TLS alone.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};

use crate::backup::credentials::Credentials;
use crate::backup::error::StoreError;
use crate::backup::keep::ARCHIVE_SIZE_MAX;
use crate::compute::cloud::web;
use crate::model::cause::innermost;

/// How long nothing may come before a place counts as gone.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest piece of a refusal that is repeated.
const SAID_MAX: usize = 200;

/// A place on the web.
pub(super) struct Web {
    http: Client,
    base: Url,
    credentials: Option<Credentials>,
}

/// An answer: its status and its body.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

impl Web {
    /// The place at `base`, which counts as a folder.
    pub(super) fn open(
        mut base: Url,
        credentials: Option<Credentials>,
    ) -> Result<Self, StoreError> {
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let refuse = |why: String| StoreError::new(base.as_str(), "use this address", why);
        let is_here = web::is_loopback(&base);
        if credentials.is_some() && base.scheme() != "https" && !is_here {
            return Err(refuse(
                "credentials go over TLS alone: name an https:// address".to_owned(),
            ));
        }
        let http = client(is_here).map_err(refuse)?;
        Ok(Self { http, base, credentials })
    }

    /// The place, for people.
    pub(super) fn place(&self) -> &str {
        self.base.as_str()
    }

    /// The address of a file in it.
    pub(super) fn url(&self, name: &str) -> Result<Url, StoreError> {
        self.base.join(name).map_err(|error| self.fail(name, error.to_string()))
    }

    pub(super) fn fail(&self, step: &str, why: impl Into<String>) -> StoreError {
        StoreError::new(self.place(), step, why)
    }

    /// A request with the credentials, as a login or as a token.
    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let builder = self.http.request(method, url);
        match &self.credentials {
            None => builder,
            Some(credentials) => match credentials.pair() {
                Some((user, password)) => builder.basic_auth(user, Some(password)),
                None => builder.bearer_auth(credentials.reveal()),
            },
        }
    }

    /// Sends; the whole answer, whatever its status.
    pub(super) async fn send(
        &self,
        step: &str,
        request: RequestBuilder,
    ) -> Result<Answer, StoreError> {
        let failed = |error: reqwest::Error| self.fail(step, innermost(&error.without_url()));
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let body = self.body(step, response).await?;
        Ok(Answer { status, body })
    }

    async fn body(&self, step: &str, mut response: Response) -> Result<Vec<u8>, StoreError> {
        let mut body = Vec::new();
        loop {
            let piece = response.chunk().await;
            match piece.map_err(|error| self.fail(step, innermost(&error.without_url())))? {
                None => return Ok(body),
                Some(piece) => body.extend_from_slice(&piece),
            }
            if u64::try_from(body.len()).unwrap_or(u64::MAX) > ARCHIVE_SIZE_MAX {
                return Err(self.fail(step, "the answer is too long"));
            }
        }
    }

    /// A refusal in the place's own words.
    pub(super) fn refused(&self, step: &str, answer: &Answer) -> StoreError {
        let said = String::from_utf8_lossy(&answer.body);
        let said: String = said.chars().filter(|it| !it.is_control()).take(SAID_MAX).collect();
        let said = if said.trim().is_empty() { String::new() } else { format!(": {said}") };
        self.fail(step, format!("it answers {}{said}", answer.status))
    }
}

fn client(stays_here: bool) -> Result<Client, String> {
    let builder = web::client(stays_here).map_err(|error| error.to_string())?;
    builder.read_timeout(SILENCE_TIMEOUT).build().map_err(|error| error.to_string())
}

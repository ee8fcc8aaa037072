//! Backups in a `CouchDB` database: a document each, the archive its attachment.
//! <https://docs.couchdb.org/en/stable/api/document/attachments.html>

use reqwest::{Method, StatusCode, Url};
use serde_json::Value;
use serde_json::json;

use crate::backup::credentials::Credentials;
use crate::backup::error::StoreError;
use crate::backup::store::Store;
use crate::backup::store::Work;
use crate::backup::store::with_scheme;
use crate::backup::web::Web;

/// The attachment's name.
const ATTACHMENT: &str = "archive";

/// A database.
pub struct Couch(Web);

impl Couch {
    /// `couchdb://HOST:PORT/DATABASE`, and `couchdbs://` over TLS.
    ///
    /// # Errors
    /// The address makes no sense.
    pub fn open(url: &Url, credentials: Option<Credentials>) -> Result<Self, StoreError> {
        Web::open(with_scheme(url, url.scheme() == "couchdbs")?, credentials).map(Self)
    }

    /// The revision of a document, which every change has to name.
    async fn revision(&self, step: &str, name: &str) -> Result<Option<String>, StoreError> {
        let request = self.0.request(Method::GET, self.0.url(name)?);
        let answer = self.0.send(step, request).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                let revision = document["_rev"].as_str().map(str::to_owned);
                revision.map(Some).ok_or_else(|| self.0.fail(step, "it names no revision"))
            }
            _ => Err(self.0.refused(step, &answer)),
        }
    }
}

impl Store for Couch {
    fn get<'a>(&'a self, name: &'a str) -> Work<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            let step = format!("read {name}");
            let url = self.0.url(&format!("{name}/{ATTACHMENT}"))?;
            let answer = self.0.send(&step, self.0.request(Method::GET, url)).await?;
            match answer.status {
                status if status.is_success() => Ok(Some(answer.body)),
                StatusCode::NOT_FOUND => Ok(None),
                _ => Err(self.0.refused(&step, &answer)),
            }
        })
    }

    fn put<'a>(&'a self, name: &'a str, bytes: &'a [u8]) -> Work<'a, ()> {
        Box::pin(async move {
            let step = format!("write {name}");
            let mut document = json!({ "_attachments": { ATTACHMENT: {
                "content_type": "application/octet-stream",
                "data": data_encoding::BASE64.encode(bytes),
            } } });
            if let Some(revision) = self.revision(&step, name).await? {
                document["_rev"] = revision.into();
            }
            let request = self.0.request(Method::PUT, self.0.url(name)?).json(&document);
            let answer = self.0.send(&step, request).await?;
            let is_done = answer.status.is_success();
            if is_done { Ok(()) } else { Err(self.0.refused(&step, &answer)) }
        })
    }

    fn delete<'a>(&'a self, name: &'a str) -> Work<'a, ()> {
        Box::pin(async move {
            let step = format!("remove {name}");
            let Some(revision) = self.revision(&step, name).await? else { return Ok(()) };
            let mut url = self.0.url(name)?;
            url.query_pairs_mut().append_pair("rev", &revision);
            let answer = self.0.send(&step, self.0.request(Method::DELETE, url)).await?;
            let is_gone = answer.status.is_success() || answer.status == StatusCode::NOT_FOUND;
            if is_gone { Ok(()) } else { Err(self.0.refused(&step, &answer)) }
        })
    }
}

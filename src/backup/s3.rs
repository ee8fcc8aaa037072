//! Backups in a bucket of S3, or of a service that speaks as S3 does. Requests are signed (`SigV4`).
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/Welcome.html>

use reqwest::{Method, StatusCode, Url};

use crate::backup::credentials::Credentials;
use crate::backup::error::StoreError;
use crate::backup::store::Store;
use crate::backup::store::Work;
use crate::backup::web::Answer;
use crate::backup::web::Web;
use crate::compute::cloud::ec2::sigv4;
use crate::compute::cloud::ec2::sigv4::Signed;
use crate::compute::cloud::secret::Secret;
use crate::compute::cloud::web;

const REGION_DEFAULT: &str = "us-east-1";

/// A bucket, and a folder in it.
pub struct S3 {
    web: Web,
    region: String,
    credentials: sigv4::Credentials,
}

impl S3 {
    /// `s3://BUCKET/FOLDER?region=R&endpoint=https://HOST`; without an endpoint Amazon's.
    ///
    /// # Errors
    /// The address makes no sense, or there are no credentials.
    pub fn open(url: &Url, credentials: Option<&Credentials>) -> Result<Self, StoreError> {
        let refuse = |why: &str| StoreError::new(url.as_str(), "use this address", why);
        let bucket = url.host_str().filter(|bucket| !bucket.is_empty());
        let bucket = bucket.ok_or_else(|| refuse("it names no bucket"))?;
        let (mut region, mut endpoint) = (REGION_DEFAULT.to_owned(), None);
        for (key, value) in url.query_pairs() {
            match key.as_ref() {
                "region" => region = value.into_owned(),
                "endpoint" => endpoint = Some(value.into_owned()),
                _ => return Err(refuse("it may say region=... and endpoint=... alone")),
            }
        }
        let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let folder = url.path().trim_matches('/');
        let base = format!("{}/{bucket}/{folder}", endpoint.trim_end_matches('/'));
        let base =
            Url::parse(base.trim_end_matches('/')).map_err(|error| refuse(&error.to_string()))?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        if !base.path().bytes().all(is_plain) {
            return Err(refuse("bucket and folder may hold letters, digits and - . _ ~ alone"));
        }
        let mut words = credentials.map(Credentials::reveal).unwrap_or_default().split_whitespace();
        let (Some(id), Some(secret)) = (words.next(), words.next()) else {
            return Err(refuse(
                "it needs credentials: a key's id and its secret, set apart by a blank",
            ));
        };
        let credentials = sigv4::Credentials {
            access_key_id: id.to_owned(),
            secret: Secret::new(secret),
            session_token: words.next().map(Secret::new),
        };
        Ok(Self { web: Web::open(base, None)?, region, credentials })
    }

    async fn send(
        &self,
        step: &str,
        method: Method,
        name: &str,
        body: &[u8],
    ) -> Result<Answer, StoreError> {
        let url = self.web.url(name)?;
        let host = web::host_of(&url);
        let date = sigv4::date(web::unix_seconds());
        let hash = sigv4::hash(body);
        let mut headers =
            vec![("host", host.as_str()), ("x-amz-content-sha256", &hash), ("x-amz-date", &date)];
        if let Some(token) = &self.credentials.session_token {
            headers.push(("x-amz-security-token", token.reveal()));
        }
        let signed = Signed {
            method: method.as_str(),
            path: url.path(),
            query: "",
            headers: &headers,
            body,
            region: &self.region,
            service: "s3",
            date: &date,
        };
        let authorization = sigv4::authorization(&self.credentials, &signed);
        let mut request = self.web.request(method, url.clone()).body(body.to_vec());
        for (name, value) in headers.iter().filter(|(name, _)| *name != "host") {
            request = request.header(*name, *value);
        }
        self.web.send(step, request.header("authorization", authorization)).await
    }
}

impl Store for S3 {
    fn get<'a>(&'a self, name: &'a str) -> Work<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            let step = format!("read {name}");
            let answer = self.send(&step, Method::GET, name, &[]).await?;
            match answer.status {
                status if status.is_success() => Ok(Some(answer.body)),
                StatusCode::NOT_FOUND => Ok(None),
                _ => Err(self.web.refused(&step, &answer)),
            }
        })
    }

    fn put<'a>(&'a self, name: &'a str, bytes: &'a [u8]) -> Work<'a, ()> {
        Box::pin(async move {
            let step = format!("write {name}");
            let answer = self.send(&step, Method::PUT, name, bytes).await?;
            let is_done = answer.status.is_success();
            if is_done { Ok(()) } else { Err(self.web.refused(&step, &answer)) }
        })
    }

    fn delete<'a>(&'a self, name: &'a str) -> Work<'a, ()> {
        Box::pin(async move {
            let step = format!("remove {name}");
            let answer = self.send(&step, Method::DELETE, name, &[]).await?;
            let is_gone = answer.status.is_success() || answer.status == StatusCode::NOT_FOUND;
            if is_gone { Ok(()) } else { Err(self.web.refused(&step, &answer)) }
        })
    }
}

//! The one HTTP client of all clouds: it signs, waits its turn, asks again where that is harmless,
//! and turns refusals into causes.

use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::Method;
use reqwest::Url;
use serde_json::Value;

use crate::compute::cloud::error::CloudCause;
use crate::compute::cloud::refusal;
use crate::compute::cloud::refusal::Kind;
use crate::compute::cloud::retry;
use crate::compute::cloud::retry::Miss;
use crate::compute::cloud::retry::Pace;
use crate::compute::cloud::secret::Environment;
use crate::compute::cloud::secret::Secret;
use crate::compute::cloud::secret::token;
use crate::compute::cloud::settings::CloudSettings;
use crate::compute::cloud::web;
use crate::model::cause::innermost;

/// Longest answer that is read: a page of the longest lists has some hundred KiB.
const ANSWER_SIZE_MAX: usize = 16 * 1024 * 1024;

/// Pages of one list that are followed.
const PAGES_MAX: u32 = 500;

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    /// Below the API's address.
    pub(super) path: String,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
    /// Whether doing it twice is the same as doing it once.
    pub(super) is_repeatable: bool,
}

impl Request {
    fn new(method: Method, path: impl Into<String>, is_repeatable: bool) -> Self {
        let (query, headers) = (Vec::new(), Vec::new());
        Self { method, path: path.into(), query, headers, body: None, is_repeatable }
    }

    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path, true)
    }

    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path, true)
    }

    /// Makes something: done twice, there may be two.
    pub(super) fn post(path: impl Into<String>, body: Value) -> Self {
        Self { body: Some(body), ..Self::new(Method::POST, path, false) }
    }

    pub(super) fn query(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.query.push((key, value.into()));
        self
    }

    pub(super) fn header(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((key, value.into()));
        self
    }

    /// Method and path, for people.
    fn title(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// How a provider cuts lists into pages.
pub(super) struct Paging {
    /// The key of the list in an answer.
    pub(super) items: &'static str,
    /// The parameter that says which page.
    pub(super) page: &'static str,
    /// The parameter that says how much of it, and the most that is allowed.
    pub(super) size: Option<(&'static str, &'static str)>,
    /// From an answer and the page's number: what to ask for next.
    pub(super) next: fn(&Value, u32) -> Option<String>,
}

/// Where a provider's token comes from.
pub(super) struct TokenSource {
    pub(super) variables: &'static [&'static str],
    /// The same, for people.
    pub(super) named: &'static str,
}

/// Speaks to one provider's API with one token.
pub(super) struct Client {
    base: String,
    source: TokenSource,
    settings: CloudSettings,
    environment: Arc<Environment>,
    token: OnceLock<Secret>,
    http: OnceLock<reqwest::Client>,
    pub(super) pace: Pace,
}

impl Client {
    /// Speaks to `settings.api`, or else to `api`. Nothing is read or opened yet.
    pub(super) fn new(
        api: &str,
        source: TokenSource,
        settings: CloudSettings,
        environment: Arc<Environment>,
        pace: Pace,
    ) -> Self {
        let base = settings.api.as_deref().unwrap_or(api).trim_end_matches('/').to_owned();
        let (token, http) = (OnceLock::new(), OnceLock::new());
        Self { base, source, settings, environment, token, http, pace }
    }

    /// The API's address.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    fn token(&self) -> Result<&Secret, CloudCause> {
        if let Some(known) = self.token.get() {
            return Ok(known);
        }
        let TokenSource { variables, named } = self.source;
        let read = token(variables, named, &self.settings, &self.environment)?;
        Ok(self.token.get_or_init(|| read))
    }

    /// The answer to a request, once there is a good one.
    pub(super) async fn json(&self, request: Request) -> Result<Value, CloudCause> {
        let token = self.token()?;
        let answer = self
            .send(request.is_repeatable, &request.title(), &|http| {
                let mut builder = http.request(request.method.clone(), self.url(&request.path));
                builder = builder.query(&request.query).bearer_auth(token.reveal());
                for (key, value) in &request.headers {
                    builder = builder.header(*key, value);
                }
                match &request.body {
                    Some(body) => builder.json(body),
                    None => builder,
                }
            })
            .await
            .map_err(|cause| redacted(cause, token))?;
        if answer.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer).map_err(|error| CloudCause::Answer {
            request: request.title(),
            why: error.to_string(),
        })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// As [`Self::json`]; none when the provider does not know it.
    pub(super) async fn if_there(&self, request: Request) -> Result<Option<Value>, CloudCause> {
        match self.json(request).await {
            Ok(answer) => Ok(Some(answer)),
            Err(CloudCause::Absent { .. }) => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// All items of a list, page by page.
    pub(super) async fn all(
        &self,
        request: Request,
        paging: &Paging,
    ) -> Result<Vec<Value>, CloudCause> {
        let mut items = Vec::new();
        let mut page: Option<String> = None;
        for number in 1..=PAGES_MAX {
            let mut asked = request.clone();
            if let Some((key, value)) = paging.size {
                asked = asked.query(key, value);
            }
            if let Some(page) = page {
                asked = asked.query(paging.page, page);
            }
            let title = asked.title();
            let mut answer = self.json(asked).await?;
            let next = (paging.next)(&answer, number);
            let Some(Value::Array(listed)) = answer.get_mut(paging.items).map(Value::take) else {
                let why = format!("it holds no list {:?}", paging.items);
                return Err(CloudCause::Answer { request: title, why });
            };
            items.extend(listed);
            match next {
                Some(next) => page = Some(next),
                None => break,
            }
        }
        Ok(items)
    }

    /// Sends what `build` makes until there is a good answer, or no hope for one.
    pub(super) async fn send(
        &self,
        is_repeatable: bool,
        title: &str,
        build: &(dyn Fn(&reqwest::Client) -> reqwest::RequestBuilder + Send + Sync),
    ) -> Result<Vec<u8>, CloudCause> {
        let http = self.http()?;
        for attempt in 1.. {
            let (miss, cause) = match self.attempt(build(http), title).await {
                Ok(answer) => return Ok(answer),
                Err(missed) => missed,
            };
            match retry::next(&self.pace, miss, is_repeatable, attempt, chance()) {
                Some(wait) => {
                    tracing::debug!(request = title, %cause, ?wait, "asking again");
                    tokio::time::sleep(wait).await;
                }
                None => return Err(cause),
            }
        }
        Err(CloudCause::Unanswered { request: title.to_owned(), why: "given up".to_owned() })
    }

    async fn attempt(
        &self,
        builder: reqwest::RequestBuilder,
        title: &str,
    ) -> Result<Vec<u8>, (Miss, CloudCause)> {
        let sent = builder.timeout(self.pace.answer_timeout).send().await;
        let response = sent.map_err(|error| self.unsent(title, &error))?;
        let status = response.status().as_u16();
        let wait = {
            let header = |name: &str| response.headers().get(name).and_then(|it| it.to_str().ok());
            retry::told_wait(header, web::unix_seconds())
        };
        let body = read_bounded(response).await;
        if (200..300).contains(&status) {
            return body.map_err(|why| {
                (Miss::Unknown, CloudCause::Unanswered { request: title.to_owned(), why })
            });
        }
        Err(refused(status, &body.unwrap_or_default(), wait, title))
    }

    /// Only a connection that never stood proves that nothing was asked.
    fn unsent(&self, title: &str, error: &reqwest::Error) -> (Miss, CloudCause) {
        let why = words(error);
        if error.is_connect() || error.is_builder() {
            let host = Url::parse(&self.base).ok();
            let host = host.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
            let miss =
                if error.is_builder() { Miss::Refused } else { Miss::NotDone { wait: None } };
            return (miss, CloudCause::Unreachable { host, why });
        }
        (Miss::Unknown, CloudCause::Unanswered { request: title.to_owned(), why })
    }

    fn http(&self) -> Result<&reqwest::Client, CloudCause> {
        if let Some(known) = self.http.get() {
            return Ok(known);
        }
        let made = http_client(&self.base)
            .map_err(|why| CloudCause::Unreachable { host: self.base.clone(), why })?;
        Ok(self.http.get_or_init(|| made))
    }
}

fn http_client(base: &str) -> Result<reqwest::Client, String> {
    let stays_here = Url::parse(base).is_ok_and(|url| web::is_loopback(&url));
    let builder = web::client(stays_here).map_err(|error| error.to_string())?;
    builder.build().map_err(|error| words(&error))
}

fn refused(status: u16, body: &[u8], wait: Option<Duration>, title: &str) -> (Miss, CloudCause) {
    let said = refusal::read(status, body);
    let (request, said, kind) = (title.to_owned(), said.said, said.kind);
    match kind {
        Kind::Busy => {
            let after = wait.unwrap_or_default();
            (Miss::NotDone { wait }, CloudCause::RateLimited { after })
        }
        Kind::Broken => (Miss::Unknown, CloudCause::Broken { request, status, said }),
        Kind::Unauthorized => (Miss::Refused, CloudCause::Unauthorized { said }),
        Kind::Quota => (Miss::Refused, CloudCause::Quota { said }),
        Kind::SoldOut => (Miss::Refused, CloudCause::SoldOut { said }),
        Kind::Absent => (Miss::Refused, CloudCause::Absent { request, said }),
        Kind::Taken => (Miss::Refused, CloudCause::Taken { said }),
        Kind::Refused => (Miss::Refused, CloudCause::Refused { request, status, said }),
    }
}

async fn read_bounded(mut response: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| words(&error))? {
        if body.len() + chunk.len() > ANSWER_SIZE_MAX {
            return Err("the answer is too long".to_owned());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// An error and its causes in one line, without the address: its query may say too much.
fn words(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        "it took too long".to_owned()
    } else {
        refusal::one_line(&innermost(error))
    }
}

/// A provider that repeats the token in its words does not get it into a log.
fn redacted(cause: CloudCause, token: &Secret) -> CloudCause {
    let clean = |said: String| token.redact(&said);
    match cause {
        CloudCause::Unauthorized { said } => CloudCause::Unauthorized { said: clean(said) },
        CloudCause::Quota { said } => CloudCause::Quota { said: clean(said) },
        CloudCause::SoldOut { said } => CloudCause::SoldOut { said: clean(said) },
        CloudCause::Taken { said } => CloudCause::Taken { said: clean(said) },
        CloudCause::Absent { request, said } => CloudCause::Absent { request, said: clean(said) },
        CloudCause::Broken { request, status, said } => {
            CloudCause::Broken { request, status, said: clean(said) }
        }
        CloudCause::Refused { request, status, said } => {
            CloudCause::Refused { request, status, said: clean(said) }
        }
        other => other,
    }
}

/// A number in 0..1.
fn chance() -> f64 {
    let mut byte = [0; 1];
    // Without randomness everybody waits the same: slower, not wrong.
    let _ = getrandom::fill(&mut byte);
    f64::from(byte[0]) / 256.0
}

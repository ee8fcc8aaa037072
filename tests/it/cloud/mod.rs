//! A stateful stub of the clouds: it speaks the providers' dialects, checks every request against
//! their own descriptions, keeps machines (real containers, when it is told how to boot them), and
//! goes wrong when it is told to.
//!
//! The back-ends' unit tests include this folder by its path: it uses nothing of the test binary.
#![allow(dead_code, reason = "each of its two users needs a part of it")]

mod description;
mod digitalocean;
mod ec2;
mod hetzner;
mod linode;
mod vultr;
pub mod weather;
pub mod world;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use self::description::Description;
use self::weather::{Fault, Weather};
use self::world::World;

const DIGITALOCEAN: &str = include_str!("../../descriptions/digitalocean.json");
const HETZNER: &str = include_str!("../../descriptions/hetzner.json");
const LINODE: &str = include_str!("../../descriptions/linode.json");
const VULTR: &str = include_str!("../../descriptions/vultr.json");

pub use self::ec2::ACCESS_KEY_ID;

/// The token that is accepted; of EC2, the secret of [`ACCESS_KEY_ID`].
pub const TOKEN: &str = "stub-token-0123456789";

/// Whose API it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    DigitalOcean,
    Ec2,
    Hetzner,
    Linode,
    Vultr,
}

/// A no in a provider's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum No {
    Unauthorized,
    Limited,
    Broken,
    Quota,
    SoldOut,
    Absent,
    Taken,
    Invalid(String),
}

/// A request, taken apart.
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub headers: HeaderMap,
    pub body: Value,
    /// The body as it came.
    pub raw: Vec<u8>,
}

impl Asked {
    /// `POST /v2/droplets`.
    pub fn title(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// A number of the query.
    pub fn number(&self, key: &str, otherwise: usize) -> usize {
        self.query.get(key).and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    }
}

/// An answer.
#[derive(Debug)]
pub struct Said {
    pub status: u16,
    pub body: Value,
}

impl Said {
    pub fn new(status: u16, body: Value) -> Self {
        Self { status, body }
    }
}

/// Boots real machines for rented ones.
pub trait Boot: Send + Sync {
    /// Boots one that is told `user_data`: its address.
    fn boot(&self, number: u64, user_data: &str) -> IpAddr;
    /// Ends it.
    fn end(&self, number: u64);
}

/// A running stub.
pub struct Stub {
    pub dialect: Dialect,
    pub address: SocketAddr,
    inner: Arc<Inner>,
    server: tokio::task::JoinHandle<()>,
}

struct Inner {
    dialect: Dialect,
    /// None where a provider has published none: its dialect knows what is taken.
    description: Option<Description>,
    world: Mutex<World>,
    boot: Option<Arc<dyn Boot>>,
}

impl Stub {
    /// Serves on a free port of this computer.
    pub async fn start(dialect: Dialect, weather: Weather) -> Self {
        Self::start_with(dialect, weather, None).await
    }

    /// As [`Self::start`], with real machines.
    pub async fn start_with(
        dialect: Dialect,
        weather: Weather,
        boot: Option<Arc<dyn Boot>>,
    ) -> Self {
        let description = match dialect {
            Dialect::DigitalOcean => Some(DIGITALOCEAN),
            Dialect::Ec2 => None,
            Dialect::Hetzner => Some(HETZNER),
            Dialect::Linode => Some(LINODE),
            Dialect::Vultr => Some(VULTR),
        };
        let description = description.map(Description::read);
        let world = Mutex::new(World::new(weather));
        let inner = Arc::new(Inner { dialect, description, world, boot });
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(handle).with_state(Arc::clone(&inner));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { dialect, address, inner, server }
    }

    /// What `api` of the compute type is set to.
    pub fn api(&self) -> String {
        format!("http://{}{}", self.address, prefix(self.dialect))
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.inner.world.lock().unwrap()
    }

    /// Machines that are paid for and bear a text in one of their tags.
    pub fn rented(&self, part: &str) -> usize {
        let world = self.world();
        let bears = |tags: &[String]| tags.iter().any(|tag| tag.contains(part));
        world.servers.iter().filter(|it| it.is_rented() && bears(&it.tags)).count()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn prefix(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::DigitalOcean | Dialect::Ec2 => "",
        Dialect::Hetzner => "/v1",
        Dialect::Linode => "/v4",
        Dialect::Vultr => "/v2",
    }
}

async fn handle(
    State(inner): State<Arc<Inner>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let answer = inner.answer(&method, &uri, headers, &body);
    match answer {
        Some(said) => respond(said),
        None => std::future::pending().await,
    }
}

fn respond(said: Said) -> Response {
    let status = StatusCode::from_u16(said.status).unwrap();
    let mut response = match said.body {
        Value::Null => status.into_response(),
        Value::String(text) => (status, text).into_response(),
        body => (status, axum::Json(body)).into_response(),
    };
    if said.status == 429 {
        response.headers_mut().insert("retry-after", "0".parse().unwrap());
    }
    response
}

impl Inner {
    /// The answer; none for one that never comes.
    fn answer(
        self: &Arc<Self>,
        method: &Method,
        uri: &Uri,
        headers: HeaderMap,
        body: &[u8],
    ) -> Option<Said> {
        let asked = Asked {
            method: method.to_string(),
            path: uri.path().strip_prefix(prefix(self.dialect)).unwrap_or("/").to_owned(),
            // Of EC2 the parameters are the body.
            query: match self.dialect {
                Dialect::Ec2 => pairs(&String::from_utf8_lossy(body)),
                _ => pairs(uri.query().unwrap_or_default()),
            },
            headers,
            body: serde_json::from_slice(body).unwrap_or(Value::Null),
            raw: body.to_vec(),
        };
        let mut world = self.world.lock().unwrap();
        *world.asked.entry(asked.title()).or_default() += 1;
        if world.is_revoked || !self.is_authorized(&asked) {
            return Some(self.no(No::Unauthorized));
        }
        let faults = self.faults(&asked);
        if !faults.is_empty() {
            world.violations.extend(faults.iter().cloned());
            return Some(self.no(No::Invalid(faults.join("; "))));
        }
        let before: Vec<u64> = world.servers.iter().map(|server| server.number).collect();
        let fault = world.weather.fault(self.is_create(&asked));
        let said = match fault {
            Some(Fault::Limited) => return Some(self.no(No::Limited)),
            Some(Fault::BrokenBefore) => return Some(self.no(No::Broken)),
            Some(Fault::SilentBefore) => return None,
            Some(Fault::Quota) => return Some(self.no(No::Quota)),
            Some(Fault::SoldOut) => return Some(self.no(No::SoldOut)),
            _ => match self.dialect {
                Dialect::DigitalOcean => digitalocean::answer(&mut world, &asked),
                Dialect::Ec2 => ec2::answer(&mut world, &asked),
                Dialect::Hetzner => hetzner::answer(&mut world, &asked),
                Dialect::Linode => linode::answer(&mut world, &asked),
                Dialect::Vultr => vultr::answer(&mut world, &asked),
            },
        };
        self.tend(&mut world, &before);
        match fault {
            Some(Fault::BrokenAfter) => Some(self.no(No::Broken)),
            Some(Fault::SilentAfter) => None,
            _ => Some(said.unwrap_or_else(|no| self.no(no))),
        }
    }

    fn is_authorized(&self, asked: &Asked) -> bool {
        if self.dialect == Dialect::Ec2 {
            return ec2::is_authorized(asked);
        }
        let given = asked.headers.get("authorization").and_then(|value| value.to_str().ok());
        given == Some(&format!("Bearer {TOKEN}"))
    }

    fn faults(&self, asked: &Asked) -> Vec<String> {
        let described = self.description.iter().flat_map(|description| {
            description.faults(&asked.method, &asked.path, &asked.query, &asked.body)
        });
        let mut faults: Vec<String> = described.collect();
        faults.extend(match self.dialect {
            Dialect::DigitalOcean => digitalocean::faults(asked),
            Dialect::Ec2 => ec2::faults(asked),
            Dialect::Hetzner => hetzner::faults(asked),
            Dialect::Linode => linode::faults(asked),
            Dialect::Vultr => vultr::faults(asked),
        });
        faults
    }

    fn is_create(&self, asked: &Asked) -> bool {
        let path = match self.dialect {
            Dialect::Ec2 => {
                return asked.query.get("Action").is_some_and(|it| it == "RunInstances");
            }
            Dialect::DigitalOcean => "/v2/droplets",
            Dialect::Hetzner => "/servers",
            Dialect::Linode => "/linode/instances",
            Dialect::Vultr => "/instances",
        };
        asked.method == "POST" && asked.path == path
    }

    fn no(&self, no: No) -> Said {
        match self.dialect {
            Dialect::DigitalOcean => digitalocean::no(no),
            Dialect::Ec2 => ec2::no(no),
            Dialect::Hetzner => hetzner::no(no),
            Dialect::Linode => linode::no(no),
            Dialect::Vultr => vultr::no(no),
        }
    }

    /// Gives new machines what is behind them, and ends what is behind those given back.
    fn tend(self: &Arc<Self>, world: &mut World, before: &[u64]) {
        let Some(boot) = &self.boot else {
            for server in &mut world.servers {
                let host = u8::try_from(server.number % 250 + 1).unwrap();
                // TEST-NET-3 (RFC 5737): nobody's.
                server.address.get_or_insert(IpAddr::V4(Ipv4Addr::new(203, 0, 113, host)));
            }
            return;
        };
        for server in &mut world.servers {
            let number = server.number;
            let boot = Arc::clone(boot);
            if !before.contains(&number) {
                let (inner, user_data) = (Arc::clone(self), server.user_data.clone());
                server.runs_at = None;
                tokio::task::spawn_blocking(move || {
                    let address = boot.boot(number, &user_data);
                    let mut world = inner.world.lock().unwrap();
                    let Some(server) = world.server(number) else { return };
                    if server.is_rented() {
                        server.address = Some(address);
                        server.runs_at = Some(Instant::now());
                    } else {
                        // Given back while it booted.
                        drop(world);
                        boot.end(number);
                    }
                });
            } else if server.gone_at.is_some() && server.address.take().is_some() {
                tokio::task::spawn_blocking(move || boot.end(number));
            }
        }
    }
}

/// The parameters of a query.
fn pairs(query: &str) -> BTreeMap<String, String> {
    let url = reqwest::Url::parse(&format!("http://x/?{query}")).unwrap();
    url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect()
}

/// A list of `count` things that a catalogue may hold.
fn several(count: u64, make: impl Fn(u64) -> Value) -> Vec<Value> {
    (1..=count).map(make).collect()
}

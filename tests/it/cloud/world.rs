//! What a provider has: machines and keys. All dialects speak of the same.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::weather::Weather;

/// A rented machine.
#[derive(Debug, Clone)]
pub struct Server {
    pub number: u64,
    pub name: String,
    /// Tags; `key=value` where the dialect has labels.
    pub tags: Vec<String>,
    /// What it was told at its first boot, decoded.
    pub user_data: String,
    /// What it was asked for with.
    pub token: String,
    /// From when lists show it.
    pub listed_at: Instant,
    /// From when it is found by its id.
    pub found_at: Instant,
    /// From when it runs.
    pub runs_at: Option<Instant>,
    /// From when it is gone, once it was given back.
    pub gone_at: Option<Instant>,
    /// Its address, once it has one.
    pub address: Option<IpAddr>,
}

impl Server {
    /// Whether it costs money.
    pub fn is_rented(&self) -> bool {
        self.gone_at.is_none()
    }

    pub fn is_gone(&self) -> bool {
        self.gone_at.is_some_and(|at| at <= Instant::now())
    }

    pub fn is_listed(&self) -> bool {
        self.listed_at <= Instant::now() && !self.is_gone()
    }

    pub fn is_found(&self) -> bool {
        self.found_at <= Instant::now() && !self.is_gone()
    }

    pub fn runs(&self) -> bool {
        self.runs_at.is_some_and(|at| at <= Instant::now()) && self.address.is_some()
    }

    /// The address as the API shows it: none before it runs.
    pub fn shown_address(&self) -> Option<String> {
        self.address.filter(|_| self.runs()).map(|address| address.to_string())
    }

    /// `created_at`: a later one sorts after an earlier one.
    pub fn created(&self) -> String {
        format!(
            "2026-01-01T{:02}:{:02}:{:02}Z",
            self.number / 3600 % 24,
            self.number / 60 % 60,
            self.number % 60
        )
    }

    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own == tag)
    }
}

/// All that there is.
#[derive(Debug)]
pub struct World {
    pub servers: Vec<Server>,
    /// Registered keys: id, name, key.
    pub keys: Vec<(u64, String, String)>,
    pub weather: Weather,
    /// Requests that break the provider's description.
    pub violations: Vec<String>,
    /// How often each operation was asked for.
    pub asked: BTreeMap<String, u32>,
    /// Tokens that are accepted.
    pub is_revoked: bool,
    next_number: u64,
}

impl World {
    pub fn new(weather: Weather) -> Self {
        Self {
            servers: Vec::new(),
            keys: Vec::new(),
            weather,
            violations: Vec::new(),
            asked: BTreeMap::new(),
            is_revoked: false,
            next_number: 100,
        }
    }

    pub fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Rents a machine out: its number. Without a real machine behind it, it runs after its lag.
    pub fn make(&mut self, name: &str, tags: Vec<String>, user_data: String, token: &str) -> u64 {
        let number = self.number();
        let now = Instant::now();
        let (listed, found, runs) = (self.weather.lag(), self.weather.lag(), self.weather.lag());
        self.servers.push(Server {
            number,
            name: name.to_owned(),
            tags,
            user_data,
            token: token.to_owned(),
            listed_at: now + listed,
            found_at: now + found,
            runs_at: Some(now + found + runs),
            gone_at: None,
            address: None,
        });
        number
    }

    pub fn server(&mut self, number: u64) -> Option<&mut Server> {
        self.servers.iter_mut().find(|server| server.number == number)
    }

    /// Takes a machine back; whether it was there.
    pub fn remove(&mut self, number: u64) -> bool {
        let lag = self.weather.lag();
        match self.server(number).filter(|server| server.is_found() && server.is_rented()) {
            Some(server) => {
                server.gone_at = Some(Instant::now() + lag);
                true
            }
            None => false,
        }
    }

    /// Registers a key: its number; none when it is there already.
    pub fn add_key(&mut self, name: &str, key: &str) -> Option<u64> {
        let body = |text: &str| text.split(' ').take(2).map(str::to_owned).collect::<Vec<_>>();
        if self.keys.iter().any(|(_, _, known)| body(known) == body(key)) {
            return None;
        }
        let number = self.number();
        self.keys.push((number, name.to_owned(), key.to_owned()));
        Some(number)
    }
}

/// One page of a list: the items, and whether more follow. Pages are short, so that every list of
/// more than a few is cut.
pub fn page<T: Clone>(items: &[T], page: usize, asked: usize) -> (Vec<T>, bool) {
    const SHORT: usize = 2;
    let size = asked.clamp(1, SHORT);
    let start = (page.max(1) - 1) * size;
    let cut = items.iter().skip(start).take(size).cloned().collect();
    (cut, start + size < items.len())
}

/// A text of a JSON object, empty when it is not there.
pub fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// The texts of a JSON list.
pub fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// How long a test lets things lag at most.
pub const LAG_MAX: Duration = Duration::from_millis(80);

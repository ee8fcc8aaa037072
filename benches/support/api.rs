//! An agent's API asked without starting a program, so that a look costs no more than it must.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

/// An agent's unix socket.
#[derive(Debug, Clone)]
pub struct Api(PathBuf);

impl Api {
    /// The agent that listens at `socket`.
    pub fn new(socket: &Path) -> Self {
        Self(socket.to_owned())
    }

    /// `GET PATH`; none while nobody answers or what is asked for is not there.
    pub fn get(&self, path: &str) -> Option<Value> {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: raptor\r\nConnection: close\r\n\r\n"))
    }

    /// Sets one key of the document; returns once it is acknowledged.
    pub fn set(&self, path: &str, value: &Value) -> Option<Value> {
        self.set_all(&[(path.to_owned(), value.clone())])
    }

    /// Sets some in one write.
    pub fn set_all(&self, values: &[(String, Value)]) -> Option<Value> {
        let changes: Vec<Value> = values
            .iter()
            .map(|(path, value)| serde_json::json!({"change": "set", "path": path, "value": value}))
            .collect();
        let body = serde_json::json!({"note": "measured", "changes": changes}).to_string();
        let length = body.len();
        self.ask(&format!(
            "POST /v1/document HTTP/1.1\r\nHost: raptor\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    fn ask(&self, request: &str) -> Option<Value> {
        let answer = self.exchange(request).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200").then(|| serde_json::from_str(body).ok())?
    }

    fn exchange(&self, request: &str) -> io::Result<String> {
        let mut stream = UnixStream::connect(&self.0)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// How this member sees the member called `name`.
    pub fn status_of(&self, name: &str) -> Option<String> {
        let members = self.get("/v1/members")?;
        let member = members.as_array()?.iter().find(|member| member["name"] == name)?;
        Some(member["status"].as_str()?.to_owned())
    }

    /// How many members this one sees alive.
    pub fn alive(&self) -> usize {
        self.names_alive().len()
    }

    /// The members that this one sees alive.
    pub fn names_alive(&self) -> Vec<String> {
        let members = self.get("/v1/members").unwrap_or_default();
        let alive = |member: &&Value| member["status"] == "alive";
        let alive = members.as_array().into_iter().flatten().filter(alive);
        alive.filter_map(|member| Some(member["name"].as_str()?.to_owned())).collect()
    }
}

//! What one provider's file knows: its paths, its words, its answers. All else is `cloud.rs`.

use std::cmp::Ordering;
use std::net::IpAddr;

use futures_util::future::BoxFuture;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::compute::catalog::Catalog;
use crate::compute::cloud::error::CloudCause;
use crate::compute::cloud::marks::Mark;
use crate::compute::cloud::marks::Marks;
use crate::model::machine::MachineSpec;

/// The answer of a provider, once it has one.
pub(super) type Ask<'a, T> = BoxFuture<'a, Result<T, CloudCause>>;

/// One provider's API.
pub(super) trait Provider: Send + Sync {
    /// Whether the token is good: whose account it is.
    fn account(&self) -> Ask<'_, String>;

    /// Asks once for a machine: its id.
    fn create<'a>(&'a self, order: &'a Order<'a>) -> Ask<'a, String>;

    /// The machine with this id; none when the provider does not know it.
    fn server<'a>(&'a self, id: &'a str) -> Ask<'a, Option<Server>>;

    /// The machines that bear a mark.
    fn marked(&self, mark: Mark) -> Ask<'_, Vec<Server>>;

    /// Gives a machine back; whether the provider knew it.
    fn delete<'a>(&'a self, id: &'a str) -> Ask<'a, bool>;

    /// Clears away what the provider keeps besides the machine, such as its tags.
    fn forget<'a>(&'a self, _server: &'a Server) -> Ask<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    /// What there is to choose from.
    fn catalog(&self) -> Ask<'_, Catalog>;
}

/// What is asked for.
pub(super) struct Order<'a> {
    pub(super) spec: &'a MachineSpec,
    /// What the machine is called there: no other wish's machine is.
    pub(super) name: String,
    pub(super) marks: Marks,
    pub(super) user_data: Zeroizing<String>,
}

/// What a machine does, as the provider sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It is being made, or boots.
    Starting,
    Running,
    /// It is there and does not run.
    Stopped,
    /// It is being removed, or is a mere memory.
    Gone,
}

/// A machine as a provider shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) id: String,
    pub(super) marks: Marks,
    pub(super) state: State,
    /// When it was made: any text that sorts by time.
    pub(super) created: String,
    /// Public addresses, the one to be used first.
    pub(super) addresses: Vec<IpAddr>,
}

impl Server {
    /// The older before the younger; all who look agree on it.
    pub(super) fn by_age(&self, other: &Self) -> Ordering {
        (&self.created, self.id.len(), &self.id).cmp(&(&other.created, other.id.len(), &other.id))
    }
}

/// A number or text of JSON as text: providers differ in what an id is.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

/// What is configured as a text and may be a number there.
pub(super) fn number(text: &str) -> Value {
    text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from)
}

/// The items of a JSON list; none where there is no list.
pub(super) fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Addresses that can be reached from elsewhere, in their order and without their prefix lengths.
pub(super) fn addresses<'t>(texts: impl IntoIterator<Item = &'t str>) -> Vec<IpAddr> {
    let parsed =
        texts.into_iter().filter_map(|text| text.split('/').next()?.parse::<IpAddr>().ok());
    parsed.filter(|address| !address.is_unspecified()).collect()
}

/// What a request's answer lacks.
pub(super) fn lacks(request: &str, what: &str) -> CloudCause {
    CloudCause::Answer { request: request.to_owned(), why: format!("it holds no {what}") }
}

/// A number without its fraction; 0 for what is none.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Clamped to what fits.
pub(super) fn whole(number: f64) -> u64 {
    number.round().clamp(0.0, 1e15) as u64
}

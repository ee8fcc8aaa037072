//! Compute type `hetzner`: servers of Hetzner Cloud. <https://docs.hetzner.cloud/>
//!
//! A server's name is unique in its project: the provider itself lets only one be made for a wish.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use serde_json::json;

use crate::compute::catalog::Catalog;
use crate::compute::catalog::Offer;
use crate::compute::catalog::Price;
use crate::compute::catalog::Size;
use crate::compute::cloud::client::Client;
use crate::compute::cloud::client::Paging;
use crate::compute::cloud::client::Request;
use crate::compute::cloud::client::TokenSource;
use crate::compute::cloud::error::CloudCause;
use crate::compute::cloud::keys::KeyRing;
use crate::compute::cloud::keys::Keys;
use crate::compute::cloud::marks;
use crate::compute::cloud::marks::Mark;
use crate::compute::cloud::marks::Marks;
use crate::compute::cloud::provider::Ask;
use crate::compute::cloud::provider::Order;
use crate::compute::cloud::provider::Provider;
use crate::compute::cloud::provider::Server;
use crate::compute::cloud::provider::State;
use crate::compute::cloud::provider::addresses;
use crate::compute::cloud::provider::items;
use crate::compute::cloud::provider::lacks;
use crate::compute::cloud::provider::number;
use crate::compute::cloud::provider::text;
use crate::compute::cloud::provider::whole;
use crate::compute::cloud::retry::Pace;
use crate::compute::cloud::secret::Environment;
use crate::compute::cloud::settings::CloudSettings;

const API: &str = "https://api.hetzner.cloud/v1";

const TOKEN: TokenSource = TokenSource { variables: &["HCLOUD_TOKEN"], named: "HCLOUD_TOKEN" };

/// Longest name and value of a label.
const LABEL_LENGTH_MAX: usize = 63;

pub(super) struct Hetzner {
    client: Client,
    settings: CloudSettings,
    keys: Keys,
}

impl Hetzner {
    pub(super) fn new(settings: CloudSettings, environment: Arc<Environment>, pace: Pace) -> Self {
        let client = Client::new(API, TOKEN, settings.clone(), environment, pace);
        Self { client, settings, keys: Keys::default() }
    }

    async fn list(&self, request: Request, items: &'static str) -> Result<Vec<Value>, CloudCause> {
        self.client.all(request, &paging(items)).await
    }
}

impl KeyRing for Hetzner {
    fn register<'a>(&'a self, name: &'a str, key: &'a str) -> Ask<'a, String> {
        Box::pin(async move {
            let body = json!({"name": name, "public_key": key});
            let answer = self.client.json(Request::post("/ssh_keys", body)).await?;
            Ok(text(&answer["ssh_key"]["name"]))
        })
    }

    /// A server is given keys by their names or numbers.
    fn registered(&self) -> Ask<'_, Vec<(String, String)>> {
        Box::pin(async move {
            let keys = self.list(Request::get("/ssh_keys"), "ssh_keys").await?;
            Ok(keys.iter().map(|key| (text(&key["name"]), text(&key["public_key"]))).collect())
        })
    }
}

fn paging(items: &'static str) -> Paging {
    Paging {
        items,
        page: "page",
        size: Some(("per_page", "50")),
        next: |answer, _| {
            answer["meta"]["pagination"]["next_page"].as_u64().map(|page| page.to_string())
        },
    }
}

/// Names and values begin and end with a letter or digit.
fn is_label(key: &str, value: &str) -> bool {
    let sound = |text: &str| {
        let at_end = |letter: char| letter.is_ascii_alphanumeric();
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        text.len() <= LABEL_LENGTH_MAX
            && text.starts_with(at_end)
            && text.ends_with(at_end)
            && text.bytes().all(inside)
    };
    sound(key) && (value.is_empty() || sound(value))
}

/// A server of ours.
pub(super) fn server(server: &Value) -> Option<Server> {
    let labels: BTreeMap<String, String> = server["labels"]
        .as_object()?
        .iter()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect();
    let net = &server["public_net"];
    // An IPv6 network is given: the machine has its first address.
    let ipv6 = net["ipv6"]["ip"].as_str().map(|network| network.replacen("::/64", "::1", 1));
    let ipv4 = net["ipv4"]["ip"].as_str();
    Some(Server {
        id: text(&server["id"]),
        marks: Marks::from_pairs(&labels)?,
        state: match server["status"].as_str()? {
            "running" => State::Running,
            "off" | "stopping" => State::Stopped,
            "deleting" => State::Gone,
            _ => State::Starting,
        },
        created: text(&server["created"]),
        addresses: addresses(ipv4.into_iter().chain(ipv6.as_deref())),
    })
}

impl Provider for Hetzner {
    fn account(&self) -> Ask<'_, String> {
        Box::pin(async move {
            let locations = self.list(Request::get("/locations"), "locations").await?;
            Ok(format!("Hetzner Cloud project, {} locations", locations.len()))
        })
    }

    fn create<'a>(&'a self, order: &'a Order<'a>) -> Ask<'a, String> {
        Box::pin(async move {
            let mut labels = order.marks.pairs();
            labels.extend(marks::label_pairs(&order.spec.labels, is_label));
            labels.extend(self.settings.tags.iter().map(|tag| (tag.clone(), String::new())));
            let mut body = json!({
                "name": order.name,
                "location": self.settings.region,
                "server_type": self.settings.size,
                "image": self.settings.image,
                "ssh_keys": self.keys.ids(&order.spec.authorized_keys, self).await?,
                "labels": labels,
                "user_data": order.user_data.as_str(),
                "public_net": {"enable_ipv4": true, "enable_ipv6": self.settings.ipv6},
                "start_after_create": true,
            });
            if let Some(network) = &self.settings.network {
                body["networks"] = json!([number(network)]);
            }
            if let Some(firewall) = &self.settings.firewall {
                body["firewalls"] = json!([{"firewall": number(firewall)}]);
            }
            let answer = self.client.json(Request::post("/servers", body)).await?;
            match text(&answer["server"]["id"]) {
                id if id.is_empty() => Err(lacks("POST /servers", "server")),
                id => Ok(id),
            }
        })
    }

    fn server<'a>(&'a self, id: &'a str) -> Ask<'a, Option<Server>> {
        Box::pin(async move {
            let answer = self.client.if_there(Request::get(format!("/servers/{id}"))).await?;
            Ok(answer.and_then(|answer| server(&answer["server"])))
        })
    }

    fn marked(&self, mark: Mark) -> Ask<'_, Vec<Server>> {
        Box::pin(async move {
            let selector = format!("{}={}", mark.key(), mark.value());
            let request = Request::get("/servers").query("label_selector", selector);
            let listed = self.list(request, "servers").await?;
            Ok(listed.iter().filter_map(server).collect())
        })
    }

    fn delete<'a>(&'a self, id: &'a str) -> Ask<'a, bool> {
        Box::pin(async move {
            let request = Request::delete(format!("/servers/{id}"));
            Ok(self.client.if_there(request).await?.is_some())
        })
    }

    fn catalog(&self) -> Ask<'_, Catalog> {
        Box::pin(async move {
            let regions = self.list(Request::get("/locations"), "locations").await?;
            let sizes = self.list(Request::get("/server_types"), "server_types").await?;
            let request = Request::get("/images").query("type", "system");
            let images = self.list(request, "images").await?;
            let region = self.settings.region.as_str();
            Ok(Catalog {
                regions: regions.iter().map(offer).collect(),
                sizes: sizes.iter().map(|value| size(value, region)).collect(),
                images: images.iter().map(offer).collect(),
            })
        })
    }
}

fn offer(value: &Value) -> Offer {
    Offer { name: text(&value["name"]), description: text(&value["description"]) }
}

/// Prices differ from place to place: that of the configured one, before taxes, in the currency
/// that the provider's bills are written in.
pub(super) fn size(value: &Value, region: &str) -> Size {
    let here = items(&value["prices"]).find(|price| price["location"] == region);
    let monthly = here.and_then(|price| price["price_monthly"]["net"].as_str()?.parse().ok());
    // Memory comes in GB, with fractions.
    let memory = value["memory"].as_f64().unwrap_or_default() * 1024.0;
    Size {
        name: text(&value["name"]),
        processors: value["cores"].as_u64().unwrap_or_default(),
        memory_mb: whole(memory),
        disk_gb: value["disk"].as_u64().unwrap_or_default(),
        price: monthly.map(|monthly| Price { monthly, currency: "EUR".to_owned() }),
    }
}

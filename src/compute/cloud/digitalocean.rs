//! Compute type `digitalocean`: droplets. <https://docs.digitalocean.com/reference/api/>
//!
//! Neither names nor anything else keeps a droplet from being made twice; tags tell them apart.

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
use crate::compute::cloud::retry::Pace;
use crate::compute::cloud::secret::Environment;
use crate::compute::cloud::settings::CloudSettings;

const API: &str = "https://api.digitalocean.com";

const TOKEN: TokenSource = TokenSource {
    variables: &["DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN"],
    named: "DIGITALOCEAN_TOKEN",
};

/// Longest tag.
const TAG_LENGTH_MAX: usize = 255;

pub(super) struct DigitalOcean {
    client: Client,
    settings: CloudSettings,
    keys: Keys,
}

impl DigitalOcean {
    pub(super) fn new(settings: CloudSettings, environment: Arc<Environment>, pace: Pace) -> Self {
        let client = Client::new(API, TOKEN, settings.clone(), environment, pace);
        Self { client, settings, keys: Keys::default() }
    }

    async fn list(&self, path: &str, items: &'static str) -> Result<Vec<Value>, CloudCause> {
        self.client.all(Request::get(path), &paging(items)).await
    }

    /// The ids of the keys that may log in. Without any, a droplet's password has to be changed at
    /// the first login, by hand.
    async fn key_ids(&self, keys: &[String]) -> Result<Vec<Value>, CloudCause> {
        let ids = self.keys.ids(keys, self).await?;
        // Numbers are ids, and texts are fingerprints.
        Ok(ids.iter().map(|id| number(id)).collect())
    }
}

impl KeyRing for DigitalOcean {
    fn register<'a>(&'a self, name: &'a str, key: &'a str) -> Ask<'a, String> {
        Box::pin(async move {
            let body = json!({"name": name, "public_key": key});
            let answer = self.client.json(Request::post("/v2/account/keys", body)).await?;
            Ok(text(&answer["ssh_key"]["id"]))
        })
    }

    fn registered(&self) -> Ask<'_, Vec<(String, String)>> {
        Box::pin(async move {
            let keys = self.list("/v2/account/keys", "ssh_keys").await?;
            Ok(keys.iter().map(|key| (text(&key["id"]), text(&key["public_key"]))).collect())
        })
    }
}

fn paging(items: &'static str) -> Paging {
    Paging {
        items,
        page: "page",
        size: Some(("per_page", "200")),
        next: |answer, page| {
            answer["links"]["pages"]["next"].as_str().map(|_| (page + 1).to_string())
        },
    }
}

fn is_tag(tag: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"_:-".contains(&byte);
    tag.len() <= TAG_LENGTH_MAX && tag.bytes().all(sound)
}

/// A droplet of ours.
pub(super) fn server(droplet: &Value) -> Option<Server> {
    let tags = items(&droplet["tags"]).filter_map(Value::as_str);
    let networks = &droplet["networks"];
    let public = |version: &str| {
        let all = items(&networks[version]).filter(|network| network["type"] == "public");
        all.filter_map(|network| network["ip_address"].as_str()).collect::<Vec<_>>()
    };
    Some(Server {
        id: text(&droplet["id"]),
        marks: Marks::from_tags(tags)?,
        state: match droplet["status"].as_str()? {
            "active" => State::Running,
            "off" => State::Stopped,
            "archive" => State::Gone,
            _ => State::Starting,
        },
        created: text(&droplet["created_at"]),
        addresses: addresses(public("v4").into_iter().chain(public("v6"))),
    })
}

impl Provider for DigitalOcean {
    fn account(&self) -> Ask<'_, String> {
        Box::pin(async move {
            let answer = self.client.json(Request::get("/v2/account")).await?;
            let account = &answer["account"];
            let (who, limit) = (text(&account["email"]), text(&account["droplet_limit"]));
            Ok(format!("DigitalOcean account {who}, at most {limit} droplets"))
        })
    }

    fn create<'a>(&'a self, order: &'a Order<'a>) -> Ask<'a, String> {
        Box::pin(async move {
            let mut tags = order.marks.tags();
            tags.extend(marks::label_tags(&order.spec.labels, is_tag));
            tags.extend(self.settings.tags.iter().cloned());
            let image = &self.settings.image;
            let mut body = json!({
                "name": order.name,
                "region": self.settings.region,
                "size": self.settings.size,
                "image": number(image),
                "ssh_keys": self.key_ids(&order.spec.authorized_keys).await?,
                "tags": tags,
                "user_data": order.user_data.as_str(),
                "ipv6": self.settings.ipv6,
                // Its console agent would be one more way in.
                "with_droplet_agent": false,
            });
            if let Some(network) = &self.settings.network {
                body["vpc_uuid"] = json!(network);
            }
            let answer = self.client.json(Request::post("/v2/droplets", body)).await?;
            match text(&answer["droplet"]["id"]) {
                id if id.is_empty() => Err(lacks("POST /v2/droplets", "droplet")),
                id => Ok(id),
            }
        })
    }

    fn server<'a>(&'a self, id: &'a str) -> Ask<'a, Option<Server>> {
        Box::pin(async move {
            let answer = self.client.if_there(Request::get(format!("/v2/droplets/{id}"))).await?;
            Ok(answer.and_then(|answer| server(&answer["droplet"])))
        })
    }

    fn marked(&self, mark: Mark) -> Ask<'_, Vec<Server>> {
        Box::pin(async move {
            let request = Request::get("/v2/droplets").query("tag_name", mark.tag());
            let listed = self.client.all(request, &paging("droplets")).await?;
            Ok(listed.iter().filter_map(server).collect())
        })
    }

    fn delete<'a>(&'a self, id: &'a str) -> Ask<'a, bool> {
        Box::pin(async move {
            let request = Request::delete(format!("/v2/droplets/{id}"));
            Ok(self.client.if_there(request).await?.is_some())
        })
    }

    /// Tags outlive what they were put on: those that no other machine can have are removed.
    fn forget<'a>(&'a self, server: &'a Server) -> Ask<'a, ()> {
        Box::pin(async move {
            let own = |tag: &String| {
                ["raptor-intent:", "raptor-key:", "raptor-key-2:"]
                    .iter()
                    .any(|prefix| tag.starts_with(prefix))
            };
            for tag in server.marks.tags().into_iter().filter(own) {
                self.client.if_there(Request::delete(format!("/v2/tags/{tag}"))).await?;
            }
            Ok(())
        })
    }

    fn catalog(&self) -> Ask<'_, Catalog> {
        Box::pin(async move {
            let regions = self.list("/v2/regions", "regions").await?;
            let sizes = self.list("/v2/sizes", "sizes").await?;
            let request = Request::get("/v2/images").query("type", "distribution");
            let images = self.client.all(request, &paging("images")).await?;
            let there = |offer: &&Value| offer["available"] == true;
            Ok(Catalog {
                regions: regions.iter().filter(there).map(|it| offer(it, "name")).collect(),
                sizes: sizes.iter().filter(there).map(size).collect(),
                images: images.iter().map(|it| offer(it, "description")).collect(),
            })
        })
    }
}

fn offer(value: &Value, description: &str) -> Offer {
    Offer { name: text(&value["slug"]), description: text(&value[description]) }
}

pub(super) fn size(value: &Value) -> Size {
    let number = |key: &str| value[key].as_u64().unwrap_or_default();
    let monthly = value["price_monthly"].as_f64();
    Size {
        name: text(&value["slug"]),
        processors: number("vcpus"),
        memory_mb: number("memory"),
        disk_gb: number("disk"),
        price: monthly.map(|monthly| Price { monthly, currency: "USD".to_owned() }),
    }
}

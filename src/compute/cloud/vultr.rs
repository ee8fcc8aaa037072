//! Compute type `vultr`: instances of Vultr. <https://www.vultr.com/api/>
//!
//! Nothing keeps an instance from being made twice; tags tell them apart.

use std::sync::Arc;

use data_encoding::BASE64;
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
use crate::compute::cloud::provider::text;
use crate::compute::cloud::retry::Pace;
use crate::compute::cloud::secret::Environment;
use crate::compute::cloud::settings::CloudSettings;

const API: &str = "https://api.vultr.com/v2";

const TOKEN: TokenSource = TokenSource { variables: &["VULTR_API_KEY"], named: "VULTR_API_KEY" };

pub(super) struct Vultr {
    client: Client,
    settings: CloudSettings,
    keys: Keys,
}

impl Vultr {
    pub(super) fn new(settings: CloudSettings, environment: Arc<Environment>, pace: Pace) -> Self {
        let client = Client::new(API, TOKEN, settings.clone(), environment, pace);
        Self { client, settings, keys: Keys::default() }
    }

    async fn list(&self, path: &str, items: &'static str) -> Result<Vec<Value>, CloudCause> {
        self.client.all(Request::get(path), &paging(items)).await
    }
}

impl KeyRing for Vultr {
    fn register<'a>(&'a self, name: &'a str, key: &'a str) -> Ask<'a, String> {
        Box::pin(async move {
            // The provider keeps as many of one key as it is given: looked for first.
            let known = self.registered().await?;
            if let Some((id, _)) = known.into_iter().find(|(_, other)| other.trim() == key.trim()) {
                return Ok(id);
            }
            let body = json!({"name": name, "ssh_key": key});
            let answer = self.client.json(Request::post("/ssh-keys", body)).await?;
            Ok(text(&answer["ssh_key"]["id"]))
        })
    }

    fn registered(&self) -> Ask<'_, Vec<(String, String)>> {
        Box::pin(async move {
            let keys = self.list("/ssh-keys", "ssh_keys").await?;
            Ok(keys.iter().map(|key| (text(&key["id"]), text(&key["ssh_key"]))).collect())
        })
    }
}

fn paging(items: &'static str) -> Paging {
    Paging {
        items,
        page: "cursor",
        size: Some(("per_page", "500")),
        next: |answer, _| {
            let cursor = answer["meta"]["links"]["next"].as_str()?;
            (!cursor.is_empty()).then(|| cursor.to_owned())
        },
    }
}

/// An instance of ours. `server_status` is not looked at: it may never become `ok`.
pub(super) fn server(instance: &Value) -> Option<Server> {
    let tags = items(&instance["tags"]).filter_map(Value::as_str);
    let (status, power) = (instance["status"].as_str()?, &instance["power_status"]);
    let found = ["main_ip", "v6_main_ip"].map(|key| instance[key].as_str().unwrap_or_default());
    Some(Server {
        id: text(&instance["id"]),
        marks: Marks::from_tags(tags)?,
        state: match status {
            "active" if power == "running" => State::Running,
            "active" | "suspended" => State::Stopped,
            _ => State::Starting,
        },
        created: text(&instance["date_created"]),
        addresses: addresses(found),
    })
}

impl Provider for Vultr {
    fn account(&self) -> Ask<'_, String> {
        Box::pin(async move {
            let answer = self.client.json(Request::get("/account")).await?;
            Ok(format!("Vultr account {}", text(&answer["account"]["email"])))
        })
    }

    fn create<'a>(&'a self, order: &'a Order<'a>) -> Ask<'a, String> {
        Box::pin(async move {
            let mut tags = order.marks.tags();
            tags.extend(marks::label_tags(&order.spec.labels, |_| true));
            tags.extend(self.settings.tags.iter().cloned());
            let mut body = json!({
                "label": order.name,
                "hostname": order.spec.name,
                "region": self.settings.region,
                "plan": self.settings.size,
                "sshkey_id": self.keys.ids(&order.spec.authorized_keys, self).await?,
                "tags": tags,
                "user_data": BASE64.encode(order.user_data.as_bytes()),
                "enable_ipv6": self.settings.ipv6,
                "activation_email": false,
                "backups": "disabled",
            });
            // Operating systems have numbers, and snapshots and applications other ids.
            match self.settings.image.parse::<u64>() {
                Ok(number) => body["os_id"] = json!(number),
                Err(_) => body["image_id"] = json!(self.settings.image),
            }
            if let Some(network) = &self.settings.network {
                body["attach_vpc"] = json!([network]);
            }
            if let Some(firewall) = &self.settings.firewall {
                body["firewall_group_id"] = json!(firewall);
            }
            let answer = self.client.json(Request::post("/instances", body)).await?;
            match text(&answer["instance"]["id"]) {
                id if id.is_empty() => Err(lacks("POST /instances", "instance")),
                id => Ok(id),
            }
        })
    }

    fn server<'a>(&'a self, id: &'a str) -> Ask<'a, Option<Server>> {
        Box::pin(async move {
            let answer = self.client.if_there(Request::get(format!("/instances/{id}"))).await?;
            Ok(answer.and_then(|answer| server(&answer["instance"])))
        })
    }

    fn marked(&self, mark: Mark) -> Ask<'_, Vec<Server>> {
        Box::pin(async move {
            let request = Request::get("/instances").query("tag", mark.tag());
            let listed = self.client.all(request, &paging("instances")).await?;
            Ok(listed.iter().filter_map(server).collect())
        })
    }

    fn delete<'a>(&'a self, id: &'a str) -> Ask<'a, bool> {
        Box::pin(async move {
            let request = Request::delete(format!("/instances/{id}"));
            Ok(self.client.if_there(request).await?.is_some())
        })
    }

    fn catalog(&self) -> Ask<'_, Catalog> {
        Box::pin(async move {
            let regions = self.list("/regions", "regions").await?;
            let sizes = self.list("/plans", "plans").await?;
            let images = self.list("/os", "os").await?;
            let place = |value: &Value| Offer {
                name: text(&value["id"]),
                description: format!("{}, {}", text(&value["city"]), text(&value["country"])),
            };
            let image = |value: &Value| Offer {
                name: text(&value["id"]),
                description: text(&value["name"]),
            };
            Ok(Catalog {
                regions: regions.iter().map(place).collect(),
                sizes: sizes.iter().map(size).collect(),
                images: images.iter().map(image).collect(),
            })
        })
    }
}

pub(super) fn size(value: &Value) -> Size {
    let number = |key: &str| value[key].as_u64().unwrap_or_default();
    let monthly = value["monthly_cost"].as_f64();
    Size {
        name: text(&value["id"]),
        processors: number("vcpu_count"),
        memory_mb: number("ram"),
        disk_gb: number("disk"),
        price: monthly.map(|monthly| Price { monthly, currency: "USD".to_owned() }),
    }
}

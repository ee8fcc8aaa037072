//! Compute type `linode`: instances of Linode (Akamai). <https://techdocs.akamai.com/linode-api/>
//!
//! A label is unique in its account: the provider itself lets only one be made for a wish.

use std::sync::Arc;

use data_encoding::BASE64;
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;
use serde_json::json;
use zeroize::Zeroizing;

use crate::compute::catalog::Catalog;
use crate::compute::catalog::Offer;
use crate::compute::catalog::Price;
use crate::compute::catalog::Size;
use crate::compute::cloud::client::Client;
use crate::compute::cloud::client::Paging;
use crate::compute::cloud::client::Request;
use crate::compute::cloud::client::TokenSource;
use crate::compute::cloud::error::CloudCause;
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

const API: &str = "https://api.linode.com/v4";

const TOKEN: TokenSource = TokenSource { variables: &["LINODE_TOKEN"], named: "LINODE_TOKEN" };

pub(super) struct Linode {
    client: Client,
    settings: CloudSettings,
}

impl Linode {
    pub(super) fn new(settings: CloudSettings, environment: Arc<Environment>, pace: Pace) -> Self {
        let client = Client::new(API, TOKEN, settings.clone(), environment, pace);
        Self { client, settings }
    }
}

/// `paged`: whether the list takes the parameters of a page; two short ones do not.
fn paging(is_paged: bool) -> Paging {
    Paging {
        items: "data",
        page: "page",
        size: is_paged.then_some(("page_size", "200")),
        next: |answer, page| {
            let more = answer["pages"].as_u64().is_some_and(|pages| u64::from(page) < pages);
            more.then(|| (page + 1).to_string())
        },
    }
}

fn is_tag(tag: &str) -> bool {
    (3..=50).contains(&tag.len())
}

/// A password that nobody ever sees: the provider wants one, and keys let us in.
fn password() -> Result<Zeroizing<String>, CloudCause> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice())
        .map_err(|_| CloudCause::Lost { what: "needs a password, and there is no randomness" })?;
    // Its strength is judged by the kinds of characters, too.
    Ok(Zeroizing::new(format!("{}aA1!", BASE64URL_NOPAD.encode(bytes.as_slice()))))
}

/// An instance of ours.
pub(super) fn server(instance: &Value) -> Option<Server> {
    let tags = items(&instance["tags"]).filter_map(Value::as_str);
    let ipv4 = items(&instance["ipv4"]).filter_map(Value::as_str);
    // Private addresses stand in the same list.
    let public = ipv4.filter(|address| !address.starts_with("192.168."));
    Some(Server {
        id: text(&instance["id"]),
        marks: Marks::from_tags(tags)?,
        state: match instance["status"].as_str()? {
            "running" => State::Running,
            "offline" | "stopped" | "billing_suspension" | "shutting_down" => State::Stopped,
            "deleting" => State::Gone,
            _ => State::Starting,
        },
        created: text(&instance["created"]),
        addresses: addresses(public.chain(instance["ipv6"].as_str())),
    })
}

impl Provider for Linode {
    fn account(&self) -> Ask<'_, String> {
        Box::pin(async move {
            let request = Request::get("/linode/instances").query("page_size", "25");
            let answer = self.client.json(request).await?;
            Ok(format!("Linode account with {} instances", text(&answer["results"])))
        })
    }

    fn create<'a>(&'a self, order: &'a Order<'a>) -> Ask<'a, String> {
        Box::pin(async move {
            let mut tags = order.marks.tags();
            tags.extend(marks::label_tags(&order.spec.labels, is_tag));
            tags.extend(self.settings.tags.iter().cloned());
            let password = password()?;
            let mut body = json!({
                "label": order.name,
                "region": self.settings.region,
                "type": self.settings.size,
                "image": self.settings.image,
                "root_pass": password.as_str(),
                "authorized_keys": order.spec.authorized_keys,
                "tags": tags,
                "metadata": {"user_data": BASE64.encode(order.user_data.as_bytes())},
                "booted": true,
            });
            if let Some(firewall) = &self.settings.firewall {
                body["firewall_id"] = number(firewall);
            }
            if let Some(subnet) = &self.settings.network {
                let inside = json!({"purpose": "vpc", "subnet_id": number(subnet)});
                body["interfaces"] = json!([{"purpose": "public"}, inside]);
            }
            let answer = self.client.json(Request::post("/linode/instances", body)).await?;
            match text(&answer["id"]) {
                id if id.is_empty() => Err(lacks("POST /linode/instances", "id")),
                id => Ok(id),
            }
        })
    }

    fn server<'a>(&'a self, id: &'a str) -> Ask<'a, Option<Server>> {
        Box::pin(async move {
            let request = Request::get(format!("/linode/instances/{id}"));
            Ok(self.client.if_there(request).await?.as_ref().and_then(server))
        })
    }

    fn marked(&self, mark: Mark) -> Ask<'_, Vec<Server>> {
        Box::pin(async move {
            let filter = json!({"tags": mark.tag()}).to_string();
            let request = Request::get("/linode/instances").header("x-filter", filter);
            let listed = self.client.all(request, &paging(true)).await?;
            Ok(listed.iter().filter_map(server).collect())
        })
    }

    fn delete<'a>(&'a self, id: &'a str) -> Ask<'a, bool> {
        Box::pin(async move {
            let request = Request::delete(format!("/linode/instances/{id}"));
            Ok(self.client.if_there(request).await?.is_some())
        })
    }

    fn catalog(&self) -> Ask<'_, Catalog> {
        Box::pin(async move {
            let regions = self.client.all(Request::get("/regions"), &paging(false)).await?;
            let sizes = self.client.all(Request::get("/linode/types"), &paging(false)).await?;
            let images = self.client.all(Request::get("/images"), &paging(true)).await?;
            Ok(Catalog {
                regions: regions.iter().map(offer).collect(),
                sizes: sizes.iter().map(size).collect(),
                images: images.iter().map(offer).collect(),
            })
        })
    }
}

fn offer(value: &Value) -> Offer {
    Offer { name: text(&value["id"]), description: text(&value["label"]) }
}

pub(super) fn size(value: &Value) -> Size {
    let number = |key: &str| value[key].as_u64().unwrap_or_default();
    let monthly = value["price"]["monthly"].as_f64();
    Size {
        name: text(&value["id"]),
        processors: number("vcpus"),
        memory_mb: number("memory"),
        disk_gb: number("disk") / 1024,
        price: monthly.map(|monthly| Price { monthly, currency: "USD".to_owned() }),
    }
}

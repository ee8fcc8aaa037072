//! Compute type `ec2`: instances of Amazon EC2. <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/>
//!
//! A client token keeps an instance from being made twice for one request.

pub(crate) mod sigv4;
mod xml;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use data_encoding::BASE64;

use crate::compute::catalog::Catalog;
use crate::compute::catalog::Offer;
use crate::compute::catalog::Size;
use crate::compute::cloud::client::Client;
use crate::compute::cloud::client::TokenSource;
use crate::compute::cloud::ec2::sigv4::Credentials;
use crate::compute::cloud::ec2::sigv4::Signed;
use crate::compute::cloud::error::CloudCause;
use crate::compute::cloud::marks;
use crate::compute::cloud::marks::Mark;
use crate::compute::cloud::provider::Ask;
use crate::compute::cloud::provider::Order;
use crate::compute::cloud::provider::Provider;
use crate::compute::cloud::provider::Server;
use crate::compute::cloud::provider::State;
use crate::compute::cloud::provider::lacks;
use crate::compute::cloud::retry::Pace;
use crate::compute::cloud::secret;
use crate::compute::cloud::secret::Environment;
use crate::compute::cloud::secret::Secret;
use crate::compute::cloud::settings::CloudSettings;
use crate::compute::cloud::web;
use crate::model::machine::IntentId;

const VERSION: &str = "2016-11-15";
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
const NAMED: &str = "AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY";

/// Debian's account, whose images are looked for by name. <https://wiki.debian.org/Cloud/AmazonEC2Image>
const DEBIAN: &str = "136693071363";

/// Pages of one list that are followed.
const PAGES_MAX: u32 = 200;

/// Client tokens that are tried for one wish: each names a machine that was made and destroyed.
const TOKENS_MAX: u32 = 50;

pub(super) struct Ec2 {
    client: Client,
    settings: CloudSettings,
    environment: Arc<Environment>,
    /// Which client token of a wish is next: that of a machine that is gone gives none.
    tokens: Mutex<BTreeMap<IntentId, u32>>,
}

type Parameters = Vec<(String, String)>;

impl Ec2 {
    pub(super) fn new(settings: CloudSettings, environment: Arc<Environment>, pace: Pace) -> Self {
        let api = format!("https://ec2.{}.amazonaws.com", settings.region);
        let source = TokenSource { variables: &[], named: NAMED };
        let client = Client::new(&api, source, settings.clone(), Arc::clone(&environment), pace);
        Self { client, settings, environment, tokens: Mutex::default() }
    }

    /// From the environment, or from a secret or a file with the id, the secret and perhaps a session token,
    /// set apart by blanks.
    fn credentials(&self) -> Result<Credentials, CloudCause> {
        let set = |name: &str| {
            self.environment
                .variable(name)
                .map(|it| it.trim().to_owned())
                .filter(|it| !it.is_empty())
        };
        if let (Some(id), Some(secret)) = (set("AWS_ACCESS_KEY_ID"), set("AWS_SECRET_ACCESS_KEY")) {
            let session_token = set("AWS_SESSION_TOKEN").map(|token| Secret::new(&token));
            return Ok(Credentials {
                access_key_id: id,
                secret: Secret::new(&secret),
                session_token,
            });
        }
        let text = secret::stored(NAMED, &self.settings, &self.environment)?;
        let mut words = text.reveal().split_ascii_whitespace();
        let (Some(id), Some(secret)) = (words.next(), words.next()) else {
            return Err(CloudCause::NoPair);
        };
        let session_token = words.next().map(Secret::new);
        Ok(Credentials { access_key_id: id.to_owned(), secret: Secret::new(secret), session_token })
    }

    /// Asks for an action: the text of its answer.
    async fn act(
        &self,
        action: &str,
        mut parameters: Parameters,
        is_repeatable: bool,
    ) -> Result<String, CloudCause> {
        let credentials = self.credentials()?;
        parameters.insert(0, ("Action".to_owned(), action.to_owned()));
        parameters.push(("Version".to_owned(), VERSION.to_owned()));
        let body = form(&parameters);
        let url = format!("{}/", self.client.base());
        let host = reqwest::Url::parse(&url).map(|url| web::host_of(&url)).unwrap_or_default();
        let build = |http: &reqwest::Client| {
            let date = sigv4::date(web::unix_seconds());
            let mut headers = vec![("content-type", FORM), ("host", &host), ("x-amz-date", &date)];
            if let Some(token) = &credentials.session_token {
                headers.push(("x-amz-security-token", token.reveal()));
            }
            let authorization = sigv4::authorization(
                &credentials,
                &Signed {
                    method: "POST",
                    path: "/",
                    query: "",
                    headers: &headers,
                    body: body.as_bytes(),
                    region: &self.settings.region,
                    service: "ec2",
                    date: &date,
                },
            );
            let mut builder = http.post(&url).body(body.clone());
            for (name, value) in headers.iter().filter(|(name, _)| *name != "host") {
                builder = builder.header(*name, *value);
            }
            builder.header("authorization", authorization)
        };
        let answer = self.client.send(is_repeatable, action, &build).await?;
        String::from_utf8(answer).map_err(|error| CloudCause::Answer {
            request: action.to_owned(),
            why: error.to_string(),
        })
    }

    /// Every page of a list; `read` gives the items of one.
    async fn pages<T>(
        &self,
        action: &str,
        parameters: Parameters,
        read: fn(&roxmltree::Document<'_>) -> Vec<T>,
    ) -> Result<Vec<T>, CloudCause> {
        let mut items = Vec::new();
        let mut next = String::new();
        for _ in 0..PAGES_MAX {
            let mut asked = parameters.clone();
            if !next.is_empty() {
                asked.push(("NextToken".to_owned(), std::mem::take(&mut next)));
            }
            let answer = self.act(action, asked, true).await?;
            let document = xml::document(action, &answer)?;
            items.extend(read(&document));
            xml::text(document.root(), "nextToken").clone_into(&mut next);
            if next.is_empty() {
                break;
            }
        }
        Ok(items)
    }

    /// The image's id: that of the newest of Debian's when a name was configured.
    async fn image(&self) -> Result<String, CloudCause> {
        let name = &self.settings.image;
        if name.starts_with("ami-") {
            return Ok(name.clone());
        }
        let parameters =
            pairs(&[("Owner.1", DEBIAN), ("Filter.1.Name", "name"), ("Filter.1.Value.1", name)]);
        let images = self.pages("DescribeImages", parameters, |document| {
            let items = xml::list(document.root(), "imagesSet");
            let part = |item, key| xml::text(item, key).to_owned();
            items
                .into_iter()
                .map(|item| (part(item, "creationDate"), part(item, "imageId")))
                .collect()
        });
        let newest = images.await?.into_iter().max();
        newest.map(|(_, id)| id).ok_or_else(|| CloudCause::Absent {
            request: "DescribeImages".to_owned(),
            said: format!("there is no image {name:?} of Debian's"),
        })
    }

    fn parameters(&self, order: &Order<'_>, image: &str, token: &str) -> Parameters {
        let user_data = BASE64.encode(order.user_data.as_bytes());
        let mut parameters = pairs(&[
            ("ImageId", image),
            ("InstanceType", &self.settings.size),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("ClientToken", token),
            ("UserData", &user_data),
            // What runs in containers on it does not get at the user data.
            ("MetadataOptions.HttpTokens", "required"),
            ("MetadataOptions.HttpPutResponseHopLimit", "1"),
            ("TagSpecification.1.ResourceType", "instance"),
        ]);
        if let Some(subnet) = &self.settings.network {
            parameters.extend(pairs(&[("SubnetId", subnet)]));
            if self.settings.ipv6 {
                parameters.extend(pairs(&[("Ipv6AddressCount", "1")]));
            }
        }
        if let Some(group) = &self.settings.firewall {
            parameters.extend(pairs(&[("SecurityGroupId.1", group)]));
        }
        let mut tags = order.marks.pairs();
        tags.insert("Name".to_owned(), order.name.clone());
        tags.extend(marks::label_pairs(&order.spec.labels, |_, _| true));
        tags.extend(self.settings.tags.iter().map(|tag| (tag.clone(), String::new())));
        for (number, (key, value)) in tags.into_iter().enumerate() {
            let name = format!("TagSpecification.1.Tag.{}", number + 1);
            parameters.push((format!("{name}.Key"), key));
            parameters.push((format!("{name}.Value"), value));
        }
        parameters
    }

    fn token(&self, intent: IntentId) -> u32 {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(&intent).copied().unwrap_or_default()
    }

    fn spend(&self, intent: IntentId) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        *tokens.entry(intent).or_default() += 1;
    }
}

impl Provider for Ec2 {
    fn account(&self) -> Ask<'_, String> {
        Box::pin(async move {
            let regions = self.pages("DescribeRegions", Vec::new(), regions).await?;
            Ok(format!("EC2 in {}, one of {} regions", self.settings.region, regions.len()))
        })
    }

    fn create<'a>(&'a self, order: &'a Order<'a>) -> Ask<'a, String> {
        Box::pin(async move {
            let image = self.image().await?;
            let intent = order.spec.intent;
            while self.token(intent) < TOKENS_MAX {
                let token = format!("raptor-{intent}-{}", self.token(intent));
                let parameters = self.parameters(order, &image, &token);
                let answer = match self.act("RunInstances", parameters, false).await {
                    Ok(answer) => answer,
                    Err(cause) => {
                        // The token was used with other words: its machine shows, or is gone.
                        if matches!(cause, CloudCause::Taken { .. }) {
                            self.spend(intent);
                        }
                        return Err(cause);
                    }
                };
                let document = xml::document("RunInstances", &answer)?;
                match xml::instances(&document).pop() {
                    Some(gone) if gone.state == State::Gone => self.spend(intent),
                    Some(made) => return Ok(made.id),
                    None => return Err(lacks("RunInstances", "instance")),
                }
            }
            Err(CloudCause::Lost { what: "was made and destroyed too often" })
        })
    }

    fn server<'a>(&'a self, id: &'a str) -> Ask<'a, Option<Server>> {
        Box::pin(async move {
            let asked =
                self.pages("DescribeInstances", pairs(&[("InstanceId.1", id)]), xml::instances);
            match asked.await {
                Ok(mut found) => Ok(found.pop()),
                Err(CloudCause::Absent { .. }) => Ok(None),
                Err(cause) => Err(cause),
            }
        })
    }

    fn marked(&self, mark: Mark) -> Ask<'_, Vec<Server>> {
        Box::pin(async move {
            let key = format!("tag:{}", mark.key());
            let parameters = pairs(&[
                ("Filter.1.Name", &key),
                ("Filter.1.Value.1", &mark.value()),
                ("MaxResults", "1000"),
            ]);
            self.pages("DescribeInstances", parameters, xml::instances).await
        })
    }

    fn delete<'a>(&'a self, id: &'a str) -> Ask<'a, bool> {
        Box::pin(async move {
            match self.act("TerminateInstances", pairs(&[("InstanceId.1", id)]), true).await {
                Ok(_) => Ok(true),
                Err(CloudCause::Absent { .. }) => Ok(false),
                Err(cause) => Err(cause),
            }
        })
    }

    /// Its prices stand in another service of AWS, in files of gigabytes: they are left out.
    fn catalog(&self) -> Ask<'_, Catalog> {
        Box::pin(async move {
            let regions = self.pages("DescribeRegions", Vec::new(), regions).await?;
            let current = [("Filter.1.Name", "current-generation"), ("Filter.1.Value.1", "true")];
            let mut parameters = pairs(&current);
            parameters.push(("MaxResults".to_owned(), "100".to_owned()));
            let sizes = self.pages("DescribeInstanceTypes", parameters, sizes).await?;
            let debian = pairs(&[
                ("Owner.1", DEBIAN),
                ("Filter.1.Name", "name"),
                ("Filter.1.Value.1", "debian-1*"),
            ]);
            let images = self.pages("DescribeImages", debian, images).await?;
            Ok(Catalog { regions, sizes, images })
        })
    }
}

fn regions(document: &roxmltree::Document<'_>) -> Vec<Offer> {
    let items = xml::list(document.root(), "regionInfo").into_iter();
    let part = |item, key| xml::text(item, key).to_owned();
    items
        .map(|item| Offer {
            name: part(item, "regionName"),
            description: part(item, "regionEndpoint"),
        })
        .collect()
}

fn images(document: &roxmltree::Document<'_>) -> Vec<Offer> {
    let items = xml::list(document.root(), "imagesSet").into_iter();
    let part = |item, key| xml::text(item, key).to_owned();
    items
        .map(|item| Offer { name: part(item, "imageId"), description: part(item, "name") })
        .collect()
}

fn sizes(document: &roxmltree::Document<'_>) -> Vec<Size> {
    let number = |item, list, key| {
        let found = xml::first(item, list).map(|found| xml::text(found, key));
        found.and_then(|text| text.parse().ok()).unwrap_or_default()
    };
    let items = xml::list(document.root(), "instanceTypeSet").into_iter();
    items
        .map(|item| Size {
            name: xml::text(item, "instanceType").to_owned(),
            processors: number(item, "vCpuInfo", "defaultVCpus"),
            memory_mb: number(item, "memoryInfo", "sizeInMiB"),
            disk_gb: number(item, "instanceStorageInfo", "totalSizeInGB"),
            price: None,
        })
        .collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Parameters {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Parameters as a form: all but unreserved characters are escaped (RFC 3986, section 2.3).
fn form(parameters: &Parameters) -> String {
    let mut text = String::new();
    for (key, value) in parameters {
        if !text.is_empty() {
            text.push('&');
        }
        for (part, after) in [(key, "="), (value, "")] {
            for byte in part.bytes() {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    text.push(char::from(byte));
                } else {
                    // Writing to a text cannot fail.
                    let _ = write!(text, "%{byte:02X}");
                }
            }
            text.push_str(after);
        }
    }
    text
}

//! The answers of EC2.

use std::collections::BTreeMap;

use roxmltree::Document;
use roxmltree::Node;

use crate::compute::cloud::error::CloudCause;
use crate::compute::cloud::marks::Marks;
use crate::compute::cloud::provider::Server;
use crate::compute::cloud::provider::State;
use crate::compute::cloud::provider::addresses;

/// An answer as a document.
pub(super) fn document<'t>(action: &str, text: &'t str) -> Result<Document<'t>, CloudCause> {
    Document::parse(text)
        .map_err(|error| CloudCause::Answer { request: action.to_owned(), why: error.to_string() })
}

/// The first element of this name below `node`, however deep.
pub(super) fn first<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.descendants().find(|below| below.tag_name().name() == name)
}

/// The text of the first element of this name; empty when there is none.
pub(super) fn text<'a>(node: Node<'a, '_>, name: &str) -> &'a str {
    first(node, name).and_then(|found| found.text()).unwrap_or_default().trim()
}

/// The `item` elements of the first list of this name.
pub(super) fn list<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Vec<Node<'a, 'i>> {
    let found = first(node, name);
    let items = found.into_iter().flat_map(|list| list.children());
    items.filter(|item| item.tag_name().name() == "item").collect()
}

/// All instances of ours in an answer, those that are a mere memory included.
pub(super) fn instances(document: &Document<'_>) -> Vec<Server> {
    let sets = document.descendants().filter(|node| node.tag_name().name() == "instancesSet");
    let items = sets.flat_map(|set| set.children());
    items.filter(|item| item.tag_name().name() == "item").filter_map(instance).collect()
}

fn instance(item: Node<'_, '_>) -> Option<Server> {
    let tags: BTreeMap<String, String> = list(item, "tagSet")
        .into_iter()
        .map(|tag| (text(tag, "key").to_owned(), text(tag, "value").to_owned()))
        .collect();
    let state = first(item, "instanceState").map(|state| text(state, "name"));
    // A network interface repeats the address: the instance's own element comes first.
    let found = [text(item, "ipAddress"), text(item, "ipv6Address")];
    Some(Server {
        id: text(item, "instanceId").to_owned(),
        marks: Marks::from_pairs(&tags)?,
        state: match state? {
            "running" => State::Running,
            "stopping" | "stopped" => State::Stopped,
            "shutting-down" | "terminated" => State::Gone,
            _ => State::Starting,
        },
        created: text(item, "launchTime").to_owned(),
        addresses: addresses(found),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::conformance::spec;

    /// After the example answer of `DescribeInstances` in the EC2 API reference.
    #[test]
    fn a_described_instance_is_read() {
        let spec = spec("web-1", 1, 2);
        let answer = format!(
            r#"<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
  <requestId>8f7724cf-496f-496e-8fe3-example</requestId>
  <reservationSet><item>
    <reservationId>r-1234567890abcdef0</reservationId>
    <instancesSet><item>
      <instanceId>i-1234567890abcdef0</instanceId>
      <imageId>ami-bff32ccc</imageId>
      <instanceState><code>16</code><name>running</name></instanceState>
      <launchTime>2026-11-21T10:33:10.000Z</launchTime>
      <privateIpAddress>192.168.1.88</privateIpAddress>
      <ipAddress>54.194.252.215</ipAddress>
      <tagSet>
        <item><key>Name</key><value>x</value></item>
        <item><key>raptor-intent</key><value>{}</value></item>
        <item><key>raptor-cluster</key><value>{}</value></item>
        <item><key>raptor-name</key><value>web-1</value></item>
      </tagSet>
    </item><item>
      <instanceId>i-2</instanceId><instanceState><name>running</name></instanceState>
    </item></instancesSet>
  </item></reservationSet>
</DescribeInstancesResponse>"#,
            spec.intent, spec.cluster
        );
        let found = instances(&document("DescribeInstances", &answer).unwrap());
        assert_eq!(found.len(), 1, "one without our tags is nobody's: {found:?}");
        assert_eq!(found[0].id, "i-1234567890abcdef0");
        assert_eq!((found[0].state, found[0].marks.intent), (State::Running, spec.intent));
        assert_eq!(found[0].addresses, ["54.194.252.215".parse::<std::net::IpAddr>().unwrap()]);
        assert!(document("X", "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>").is_err());
    }
}

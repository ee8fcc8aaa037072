//! One DNS message answered from the zone (RFC 1035, RFC 2308). Pure.

use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::str::FromStr;

use hickory_proto::op::Edns;
use hickory_proto::op::Message;
use hickory_proto::op::MessageType;
use hickory_proto::op::OpCode;
use hickory_proto::op::Query;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::DNSClass;
use hickory_proto::rr::Name as DomainName;
use hickory_proto::rr::RData;
use hickory_proto::rr::Record;
use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::rdata::AAAA;
use hickory_proto::rr::rdata::PTR;
use hickory_proto::rr::rdata::SOA;

use crate::agent::names::zone::Zone;
use crate::model::name::Name;

/// The domain of the members' names.
pub const DOMAIN: &str = "raptor";

/// The domain of the mesh addresses' names: `fc00::/8` (RFC 3596, section 2.5).
pub const REVERSE_DOMAIN: &str = "c.f.ip6.arpa";

/// Labels of a whole address below `ip6.arpa`, that domain's two included.
const REVERSE_LABELS: usize = 34;

/// Seconds for which an answer, and that there is none, may be kept: members come and go.
const TTL_SECONDS: u32 = 5;

/// Longest answer over UDP to a client that says nothing of it (RFC 1035, section 4.2.1).
const UDP_LENGTH: usize = 512;

/// Longest answer over UDP that reaches everybody in one piece (RFC 9715).
const EDNS_LENGTH: u16 = 1232;

/// Length of a message's header.
const HEADER_LENGTH: usize = 12;

/// How a message came, which bounds its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In one datagram.
    Udp,
    /// On a connection.
    Tcp,
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is answered with these bytes.
    Answer(Vec<u8>),
    /// It asks for names of others; refused with these bytes when nobody else can be asked.
    Foreign(Vec<u8>),
    /// It is no question.
    Drop,
}

/// What a name stands for.
enum Found {
    /// Something with records of these kinds, perhaps none.
    Records(Vec<RData>),
    /// The name of a member at an address of others: all else about it is not ours to say.
    Pointer(RData),
    /// Nothing.
    Nothing,
    /// Not ours to say.
    Foreign,
}

/// Answers one message.
#[must_use]
pub fn answer(zone: &Zone, bytes: &[u8], transport: Transport) -> Verdict {
    let Ok(request) = Message::from_vec(bytes) else { return malformed(bytes) };
    if request.metadata.message_type != MessageType::Query {
        return Verdict::Drop;
    }
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.add_queries(request.queries.iter().cloned());
    if let Some(asked) = &request.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_LENGTH).set_version(0);
        response.set_edns(edns);
        if asked.version() > 0 {
            response.metadata.response_code = ResponseCode::BADVERS;
            return Verdict::Answer(written(&response, &request, transport));
        }
    }
    let mut refused = None;
    match (request.metadata.op_code, request.queries.as_slice()) {
        (OpCode::Query, [query]) => refused = fill(zone, query, &mut response),
        (OpCode::Query, _) => response.metadata.response_code = ResponseCode::FormErr,
        _ => response.metadata.response_code = ResponseCode::NotImp,
    }
    let bytes = written(&response, &request, transport);
    if refused.is_some() { Verdict::Foreign(bytes) } else { Verdict::Answer(bytes) }
}

/// Marks a question that is for others.
struct IsForeign;

fn fill(zone: &Zone, query: &Query, response: &mut Message) -> Option<IsForeign> {
    let class = query.query_class();
    let found = if class == DNSClass::IN || class == DNSClass::ANY {
        find(zone, query.name())
    } else {
        Found::Foreign
    };
    let asked = query.query_type();
    let found = match found {
        Found::Pointer(name) if matches!(asked, RecordType::PTR | RecordType::ANY) => {
            Found::Records(vec![name])
        }
        found => found,
    };
    match found {
        Found::Foreign | Found::Pointer(_) => {
            response.metadata.response_code = ResponseCode::Refused;
            return Some(IsForeign);
        }
        Found::Nothing => {
            response.metadata.authoritative = true;
            response.metadata.response_code = ResponseCode::NXDomain;
        }
        Found::Records(records) => {
            response.metadata.authoritative = true;
            let wanted = records
                .into_iter()
                .filter(|data| asked == RecordType::ANY || data.record_type() == asked);
            let name = query.name().clone();
            response.add_answers(
                wanted.map(|data| Record::from_rdata(name.clone(), TTL_SECONDS, data)),
            );
        }
    }
    if response.answers.is_empty() {
        response.add_authorities(authority(zone, query.name()));
    }
    None
}

fn find(zone: &Zone, name: &DomainName) -> Found {
    let labels: Vec<String> =
        name.iter().map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let member = |node: &str| zone.members.get(node).map(|at| at.iter().map(data).collect());
    let cluster = zone.cluster.as_str();
    match labels.as_slice() {
        [DOMAIN] => Found::Records(soa(zone, DOMAIN).into_iter().collect()),
        // The cluster's own name stands between the domain and its members.
        [node, DOMAIN] if *node == cluster => Found::Records(member(node).unwrap_or_default()),
        [node, DOMAIN] => member(node).map_or(Found::Nothing, Found::Records),
        [node, of, DOMAIN] if *of == cluster => member(node).map_or(Found::Nothing, Found::Records),
        [.., DOMAIN] => Found::Nothing,
        ["c", "f", "ip6", "arpa"] => {
            Found::Records(soa(zone, REVERSE_DOMAIN).into_iter().collect())
        }
        [.., "c", "f", "ip6", "arpa"] => reverse(zone, &labels),
        _ => outer_address(name)
            .and_then(|address| zone.addresses.get(&address))
            .and_then(pointer)
            .map_or(Found::Foreign, Found::Pointer),
    }
}

/// The one address whose reverse name this is (RFC 1035, section 3.5; RFC 3596, section 2.5).
fn outer_address(name: &DomainName) -> Option<IpAddr> {
    let network = name.parse_arpa_name().ok()?;
    (network.prefix_len() == network.max_prefix_len()).then(|| network.addr())
}

fn pointer(member: &Name) -> Option<RData> {
    let target = DomainName::from_str(&format!("{member}.{DOMAIN}.")).ok()?;
    Some(RData::PTR(PTR(target)))
}

fn data(address: &IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(*address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
    }
}

fn reverse(zone: &Zone, labels: &[&str]) -> Found {
    let digits: Vec<&str> = labels.iter().rev().skip(2).copied().collect();
    let is_digit = |digit: &&str| digit.len() == 1 && u8::from_str_radix(digit, 16).is_ok();
    if labels.len() > REVERSE_LABELS || !digits.iter().all(is_digit) {
        return Found::Nothing;
    }
    // The digits that are missing are those of everything below: one step of the way to a member.
    let (digits, count) = (digits.concat(), digits.len());
    let shift = u32::try_from(4 * (32 - count)).unwrap_or_default();
    let Ok(prefix) = u128::from_str_radix(&digits, 16) else { return Found::Nothing };
    let first = prefix.checked_shl(shift).unwrap_or_default();
    let last = first | 1u128.checked_shl(shift).map_or(u128::MAX, |size| size - 1);
    let [first, last] = [first, last].map(|bits| IpAddr::from(Ipv6Addr::from(bits)));
    let mut below = zone.addresses.range(first..=last);
    match below.next() {
        None => Found::Nothing,
        Some((_, name)) if count == 32 => Found::Records(pointer(name).into_iter().collect()),
        Some(_) => Found::Records(Vec::new()),
    }
}

/// What tells a client how long it may remember that there is nothing.
fn authority(zone: &Zone, name: &DomainName) -> Option<Record> {
    let last = name.iter().next_back().map(<[u8]>::to_ascii_lowercase);
    let domain = if last.as_deref() == Some(b"arpa") { REVERSE_DOMAIN } else { DOMAIN };
    let origin = DomainName::from_str(&format!("{domain}.")).ok()?;
    Some(Record::from_rdata(origin, TTL_SECONDS, soa(zone, domain)?))
}

fn soa(zone: &Zone, domain: &str) -> Option<RData> {
    /// How often, and how long, secondary servers would ask: there are none.
    const REFRESH: i32 = 3_600;
    let server = DomainName::from_str(&format!("{domain}.")).ok()?;
    let mailbox = DomainName::from_str(&format!("nobody.{DOMAIN}.")).ok()?;
    let serial = zone.serial;
    Some(RData::SOA(SOA::new(server, mailbox, serial, REFRESH, REFRESH, REFRESH, TTL_SECONDS)))
}

/// The message's bytes, shortened to what its asker can take.
fn written(response: &Message, request: &Message, transport: Transport) -> Vec<u8> {
    let limit = match (transport, &request.edns) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, None) => UDP_LENGTH,
        (Transport::Udp, Some(edns)) => {
            usize::from(edns.max_payload().min(EDNS_LENGTH)).max(UDP_LENGTH)
        }
    };
    // What was just read from bytes, and names of ours, always have a form.
    let bytes = response.to_vec().unwrap_or_default();
    if bytes.len() <= limit {
        return bytes;
    }
    response.truncate().to_vec().unwrap_or_default()
}

/// A question that cannot be read is told so, as far as its header can be.
fn malformed(bytes: &[u8]) -> Verdict {
    let Some(&[high, low, flags]) = bytes.first_chunk::<3>() else { return Verdict::Drop };
    let is_response = flags & 0x80 != 0;
    if bytes.len() < HEADER_LENGTH || is_response {
        return Verdict::Drop;
    }
    let id = u16::from_be_bytes([high, low]);
    let refusal = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
    refusal.to_vec().map_or(Verdict::Drop, Verdict::Answer)
}

#[cfg(test)]
mod tests;

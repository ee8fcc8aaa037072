//! `UPnP` as far as a port of a router needs it (`WANIPConnection:1`, 2.4): the router
//! is found by SSDP, and asked by SOAP over plain HTTP.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::time::Duration;

use roxmltree::Document;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::agent::port_mapping::gateway::Way;

/// Where routers listen to who looks for them (`UPnP` Device Architecture 1.0, 1.2.2).
const SEARCH_ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::new(239, 255, 255, 250), 1_900);

const SEARCH: &str = "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n\
    MAN: \"ssdp:discover\"\r\nMX: 2\r\n\
    ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n";

/// How long the router may take to say that it is there, and to answer a request.
const SEARCH_TIME: Duration = Duration::from_secs(3);
const REQUEST_TIME: Duration = Duration::from_secs(3);

/// Longest answer that is read.
const ANSWER_MAX: u64 = 256 << 10;

/// What the owner of a router reads in its list of ports.
const DESCRIPTION: &str = "raptor";

/// The router's word for a port that leads elsewhere.
const CONFLICT: &str = "718";

/// Other ports that are tried where the own one is taken, and how far they are from it.
const OTHERS: u16 = 3;
const STRIDE: u16 = 1_009;

/// A router that speaks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gateway {
    address: SocketAddr,
    service: String,
    path: String,
}

impl Gateway {
    /// Looks whether the router speaks it.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub(super) async fn find(way: Way) -> Result<Self, String> {
        let socket = UdpSocket::bind((way.client, 0)).await.map_err(|error| error.to_string())?;
        let sent = socket.send_to(SEARCH.as_bytes(), SEARCH_ADDRESS).await;
        sent.map_err(|error| error.to_string())?;
        let found = timeout(SEARCH_TIME, answer(&socket, way.router)).await;
        let (port, path) = found.map_err(|_| "it does not answer")?;
        let address = SocketAddr::new(way.router.into(), port);
        let text = request(address, &format!("GET {path} HTTP/1.0\r\n"), "").await?;
        let (service, path) = service(&text).ok_or("it has no service for ports")?;
        Ok(Self { address, service, path })
    }

    /// Has the router lead `outer` to `inner` for so many seconds, or another port where that
    /// one is taken; where others dial it.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub(super) async fn hold(
        &self,
        inner: SocketAddr,
        outer: u16,
        seconds: u32,
    ) -> Result<SocketAddr, String> {
        let mut refusal = String::new();
        for step in 0..=OTHERS {
            let port = outer.wrapping_add(step * STRIDE).max(1_024);
            let arguments = [
                ("NewRemoteHost", String::new()),
                ("NewExternalPort", port.to_string()),
                ("NewProtocol", "UDP".to_owned()),
                ("NewInternalPort", inner.port().to_string()),
                ("NewInternalClient", inner.ip().to_string()),
                ("NewEnabled", "1".to_owned()),
                ("NewPortMappingDescription", DESCRIPTION.to_owned()),
                ("NewLeaseDuration", seconds.to_string()),
            ];
            match self.ask("AddPortMapping", &arguments).await {
                Ok(_) => return Ok(SocketAddr::new(self.outer_address().await?, port)),
                Err(why) if why.contains(CONFLICT) => refusal = why,
                Err(why) => return Err(why),
            }
        }
        Err(refusal)
    }

    /// Gives a port back.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub(super) async fn release(&self, outer: u16) -> Result<(), String> {
        let arguments = [
            ("NewRemoteHost", String::new()),
            ("NewExternalPort", outer.to_string()),
            ("NewProtocol", "UDP".to_owned()),
        ];
        self.ask("DeletePortMapping", &arguments).await.map(drop)
    }

    async fn outer_address(&self) -> Result<IpAddr, String> {
        let answer = self.ask("GetExternalIPAddress", &[]).await?;
        let address = text_of(&answer, "NewExternalIPAddress").and_then(|text| text.parse().ok());
        address.ok_or_else(|| "it does not know its address".to_owned())
    }

    async fn ask(&self, action: &str, arguments: &[(&str, String)]) -> Result<String, String> {
        let element = |(name, value): &(&str, String)| format!("<{name}>{value}</{name}>");
        let arguments = arguments.iter().map(element).collect::<Vec<_>>().concat();
        let service = &self.service;
        let envelope = "http://schemas.xmlsoap.org/soap";
        let body = format!(
            "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"{envelope}/envelope/\" \
             s:encodingStyle=\"{envelope}/encoding/\"><s:Body><u:{action} xmlns:u=\"{service}\">\
             {arguments}</u:{action}></s:Body></s:Envelope>"
        );
        let head = format!(
            "POST {} HTTP/1.0\r\nContent-Type: text/xml; charset=\"utf-8\"\r\n\
             SOAPAction: \"{service}#{action}\"\r\n",
            self.path
        );
        request(self.address, &head, &body).await
    }
}

/// The router's port and path of its description, once it says them. What others say is not heard.
async fn answer(socket: &UdpSocket, router: Ipv4Addr) -> (u16, String) {
    let mut buffer = [0; 2_048];
    loop {
        let Ok((length, source)) = socket.recv_from(&mut buffer).await else { continue };
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if let Some(found) = location(&text, router).filter(|_| source.ip() == router) {
            return found;
        }
    }
}

/// Port and path of the description that a found router names, if it is at its own address.
fn location(text: &str, router: Ipv4Addr) -> Option<(u16, String)> {
    let (_, url) = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("location"))?;
    let (authority, path) = split(url.trim())?;
    let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
    (host.parse::<Ipv4Addr>() == Ok(router)).then_some(())?;
    Some((port.parse().ok()?, path.to_owned()))
}

/// Authority and path of an `http` URL that is safe to put into a request.
fn split(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://")?;
    let at = rest.find('/')?;
    rest.bytes().all(|byte| byte.is_ascii_graphic()).then(|| rest.split_at(at))
}

/// Name and path of the service for ports in a router's description.
fn service(description: &str) -> Option<(String, String)> {
    let document = Document::parse(description).ok()?;
    let mut services = document.descendants().filter(|node| node.tag_name().name() == "service");
    services.find_map(|service| {
        let child = |name: &str| {
            let mut children = service.children();
            children.find(|child| child.tag_name().name() == name)?.text().map(str::trim)
        };
        let (kind, url) = (child("serviceType")?, child("controlURL")?);
        let is_ours = kind.contains(":WANIPConnection:") || kind.contains(":WANPPPConnection:");
        let is_name =
            kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":-._".contains(&byte));
        let path = split(url).map_or(url, |(_, path)| path);
        let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
        (is_ours && is_name && is_path).then(|| (kind.to_owned(), path.to_owned()))
    })
}

fn text_of(document: &str, name: &str) -> Option<String> {
    let document = Document::parse(document).ok()?;
    let node = document.descendants().find(|node| node.tag_name().name() == name)?;
    node.text().map(|text| text.trim().to_owned())
}

/// One request to the router: `head` is its first lines. The answer's body.
async fn request(address: SocketAddr, head: &str, body: &str) -> Result<String, String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let length = body.len();
        let text = format!("{head}Host: {address}\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(text.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = timeout(REQUEST_TIME, exchange).await.map_err(|_| "it does not answer")?;
    let answer = answer.map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("its answer cannot be read")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if status == "200" {
        return Ok(body.to_owned());
    }
    let said =
        ["errorCode", "errorDescription"].map(|name| text_of(body, name).unwrap_or_default());
    Err(format!("it refuses: {status} {}", said.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_is_heard_at_its_own_address_alone() {
        let router = Ipv4Addr::new(192, 168, 1, 1);
        let found = |url: &str| {
            location(&format!("HTTP/1.1 200 OK\r\nST: x\r\nLocation: {url}\r\n"), router)
        };
        assert_eq!(
            found("http://192.168.1.1:5000/desc.xml"),
            Some((5_000, "/desc.xml".to_owned()))
        );
        assert_eq!(found("http://192.168.1.1/"), Some((80, "/".to_owned())));
        for url in [
            "http://192.168.1.9:5000/desc.xml",
            "https://192.168.1.1/",
            "http://192.168.1.1",
            "http://192.168.1.1:x/",
            "http://192.168.1.1/a b",
        ] {
            assert_eq!(found(url), None, "{url}");
        }
    }

    #[test]
    fn the_service_for_ports_is_found_in_a_description() {
        let description = |kind: &str, url: &str| {
            format!(
                "<root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device><serviceList><service>\
                 <serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType>\
                 <controlURL>/no</controlURL></service><service><serviceType>{kind}</serviceType>\
                 <controlURL>{url}</controlURL></service></serviceList></device></root>"
            )
        };
        let kind = "urn:schemas-upnp-org:service:WANIPConnection:1";
        for url in ["/ctl/IPConn", "http://192.168.1.1:5000/ctl/IPConn"] {
            let expected = Some((kind.to_owned(), "/ctl/IPConn".to_owned()));
            assert_eq!(service(&description(kind, url)), expected);
        }
        assert_eq!(service(&description(kind, "/a b")), None);
        assert_eq!(service(&description("a:WANIPConnection:&quot;", "/ctl")), None);
        assert_eq!(service("<!DOCTYPE a [<!ENTITY b \"c\">]><a/>"), None);
    }
}

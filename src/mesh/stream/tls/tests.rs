use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::sync::Mutex;

use rustls::{AlertDescription, ClientConnection, HandshakeKind, ServerConnection};

use super::*;
use crate::model::identity::testing::key;

/// The members; may change.
#[derive(Default)]
struct Members(Mutex<BTreeSet<NodeId>>);

impl Members {
    fn of(nodes: &[NodeId]) -> Arc<Self> {
        Arc::new(Self(Mutex::new(nodes.iter().copied().collect())))
    }
}

impl Trust for Members {
    fn is_trusted(&self, node: NodeId) -> bool {
        self.0.lock().unwrap().contains(&node)
    }

    fn node_at(&self, _address: Ipv6Addr) -> Option<NodeId> {
        None
    }
}

/// Shakes hands in memory, and returns each side's view of the other, or the first error.
fn handshake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> Result<(NodeId, NodeId, HandshakeKind), Error> {
    let name = ServerName::try_from("raptor").unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name)?;
    let mut server = ServerConnection::new(Arc::clone(server))?;
    while client.is_handshaking() || server.is_handshaking() || server.wants_write() {
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).unwrap();
        }
        let mut rest = flight.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        let mut flight = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut flight).unwrap();
        }
        let mut rest = flight.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    assert_eq!(client.alpn_protocol(), Some(ALPN));
    let seen_by_client = node_of(&client.peer_certificates().unwrap()[0]).unwrap();
    let seen_by_server = node_of(&server.peer_certificates().unwrap()[0]).unwrap();
    Ok((seen_by_client, seen_by_server, server.handshake_kind().unwrap()))
}

#[test]
fn each_side_learns_the_others_key() {
    let (client, server) = (key(1), key(2));
    let trust = Members::of(&[client.node_id()]);
    let server_config = Arc::new(Identity::new(&server).unwrap().server_config(trust).unwrap());
    let client_config =
        Arc::new(Identity::new(&client).unwrap().client_config(server.node_id()).unwrap());
    let expected = (server.node_id(), client.node_id(), HandshakeKind::Full);
    assert_eq!(handshake(&client_config, &server_config), Ok(expected));
    assert_eq!(handshake(&client_config, &server_config), Ok(expected), "nothing is resumed");
}

#[test]
fn a_server_with_another_key_is_refused() {
    let (client, server, other) = (key(1), key(2), key(3));
    let trust = Members::of(&[client.node_id()]);
    let server_config = Arc::new(Identity::new(&server).unwrap().server_config(trust).unwrap());
    let client_config =
        Arc::new(Identity::new(&client).unwrap().client_config(other.node_id()).unwrap());
    assert_eq!(handshake(&client_config, &server_config), Err(refused()));
}

#[test]
fn trust_is_asked_at_each_handshake() {
    let (client, server) = (key(1), key(2));
    let trust = Members::of(&[client.node_id()]);
    let server_trust: Arc<dyn Trust> = Arc::<Members>::clone(&trust);
    let server_config =
        Arc::new(Identity::new(&server).unwrap().server_config(server_trust).unwrap());
    let client_config =
        Arc::new(Identity::new(&client).unwrap().client_config(server.node_id()).unwrap());
    assert!(handshake(&client_config, &server_config).is_ok());
    trust.0.lock().unwrap().clear();
    assert_eq!(handshake(&client_config, &server_config), Err(refused()));
}

#[test]
fn a_client_without_a_key_is_refused() {
    let server = key(2);
    let identity = Identity::new(&server).unwrap();
    let server_config = Arc::new(identity.server_config(Members::of(&[])).unwrap());
    let verifier = Pinned { node: server.node_id(), provider: Arc::clone(&identity.provider) };
    let mut client_config = ClientConfig::builder_with_provider(Arc::clone(&identity.provider))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    client_config.alpn_protocols = vec![ALPN.to_vec()];
    assert!(handshake(&Arc::new(client_config), &server_config).is_err());
}

#[test]
fn a_peer_that_speaks_another_protocol_is_refused() {
    let (client, server) = (key(1), key(2));
    let trust = Members::of(&[client.node_id()]);
    let server_config = Arc::new(Identity::new(&server).unwrap().server_config(trust).unwrap());
    let mut client_config =
        Identity::new(&client).unwrap().client_config(server.node_id()).unwrap();
    client_config.alpn_protocols = vec![b"raptor/0".to_vec()];
    assert_eq!(
        handshake(&Arc::new(client_config), &server_config),
        Err(Error::NoApplicationProtocol)
    );
}

#[test]
fn refusing_a_key_sends_the_alert_that_the_error_room_knows() {
    let Error::InvalidCertificate(error) = refused() else {
        panic!("{:?}", refused());
    };
    assert_eq!(u8::from(AlertDescription::from(error)), 49);
}

#[test]
fn any_bytes_are_a_node_or_none() {
    bolero::check!().with_iterations(2_000).for_each(|bytes: &[u8]| {
        if let Some(node) = node_of(bytes) {
            assert_eq!(public_key_info(node), bytes);
        }
    });
    let node = key(4).node_id();
    assert_eq!(node_of(&public_key_info(node)), Some(node));
}

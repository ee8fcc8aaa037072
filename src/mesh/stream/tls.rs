//! TLS 1.3 with raw public keys (RFC 7250): the node key is the certificate.

use std::fmt;
use std::sync::Arc;

use quinn::Connection;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error,
    PeerMisbehaved, ServerConfig, SignatureScheme,
};
use zeroize::Zeroizing;

use crate::mesh::stream::trust::Trust;
use crate::model::identity::{NodeId, SecretKey};

/// The protocol on top; a peer that speaks another is refused in the handshake.
const ALPN: &[u8] = b"raptor/1";

/// What precedes the 32 bytes of an Ed25519 public key in a `SubjectPublicKeyInfo` (RFC 8410,
/// section 4).
const PUBLIC_KEY_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What precedes the 32 bytes of an Ed25519 seed in a PKCS#8 private key (RFC 8410, section 7).
const SECRET_KEY_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// The node who proved its key on `connection`.
pub(super) fn peer_of(connection: &Connection) -> Option<NodeId> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast_ref::<Vec<CertificateDer<'static>>>()?;
    node_of(chain.first()?)
}

/// The node whose public key this is.
fn node_of(public_key_info: &[u8]) -> Option<NodeId> {
    let key = public_key_info.strip_prefix(PUBLIC_KEY_PREFIX.as_slice())?;
    NodeId::from_bytes(key.try_into().ok()?).ok()
}

fn public_key_info(node: NodeId) -> Vec<u8> {
    [PUBLIC_KEY_PREFIX.as_slice(), node.as_bytes()].concat()
}

/// This machine's key, ready for TLS.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    certified: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
}

impl Identity {
    /// # Errors
    /// TLS does not take the key.
    pub(super) fn new(key: &SecretKey) -> Result<Self, Error> {
        let mut pkcs8 = Zeroizing::new([0u8; SECRET_KEY_PREFIX.len() + 32]);
        let (prefix, seed) = pkcs8.split_at_mut(SECRET_KEY_PREFIX.len());
        prefix.copy_from_slice(&SECRET_KEY_PREFIX);
        seed.copy_from_slice(key.to_seed().as_slice());
        let signer = ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8.as_slice()))?;
        let public_key = CertificateDer::from(public_key_info(key.node_id()));
        Ok(Self {
            certified: Arc::new(CertifiedKey::new(vec![public_key], signer)),
            provider: Arc::new(ring::default_provider()),
        })
    }

    /// Accepts whom `trust` knows. Nothing is remembered of a session: each begins with both keys
    /// and the question.
    ///
    /// # Errors
    /// The provider does not speak TLS 1.3.
    pub(super) fn server_config(&self, trust: Arc<dyn Trust>) -> Result<ServerConfig, Error> {
        let verifier = Trusted { trust, provider: Arc::clone(&self.provider) };
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::clone(
                &self.certified,
            ))));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(config)
    }

    /// Speaks with `node` and nobody else.
    ///
    /// # Errors
    /// The provider does not speak TLS 1.3.
    pub(super) fn client_config(&self, node: NodeId) -> Result<ClientConfig, Error> {
        let verifier = Pinned { node, provider: Arc::clone(&self.provider) };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
                Arc::clone(&self.certified),
            )));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = false;
        Ok(config)
    }
}

/// The error that refuses a key; its alert is `access_denied`.
fn refused() -> Error {
    CertificateError::ApplicationVerificationFailure.into()
}

/// What both verifiers say alike, though each to a trait of its own: Ed25519 keys without a
/// certificate around them. TLS 1.2 is never offered.
macro_rules! raw_public_keys_only {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _public_key: &CertificateDer<'_>,
            _signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(PeerMisbehaved::SelectedUnofferedCipherSuite.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            public_key: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature_with_raw_key(
                message,
                &SubjectPublicKeyInfoDer::from(public_key.as_ref()),
                signature,
                &self.provider.signature_verification_algorithms,
            )
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }

        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    };
}

/// Accepts one server key.
#[derive(Debug)]
struct Pinned {
    node: NodeId,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        public_key: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if others.is_empty() && node_of(public_key) == Some(self.node) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(refused())
        }
    }

    raw_public_keys_only!();
}

/// Accepts the client keys that are trusted at the moment of the handshake.
struct Trusted {
    trust: Arc<dyn Trust>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Trusted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Trusted")
    }
}

impl ClientCertVerifier for Trusted {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        public_key: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let node = node_of(public_key).ok_or_else(refused)?;
        if others.is_empty() && self.trust.is_trusted(node) {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(refused())
        }
    }

    raw_public_keys_only!();
}

#[cfg(test)]
mod tests;

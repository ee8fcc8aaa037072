//! What every HTTP client that leaves this computer has in common.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use reqwest::Client;
use reqwest::ClientBuilder;
use reqwest::Url;
use reqwest::redirect::Policy;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// A client that follows no redirect, since one could lead a credential elsewhere. Its TLS has the
/// roots of Mozilla's programme, which the binary carries: a bare machine has none. One that
/// `stays_here` asks no proxy.
pub(crate) fn client(stays_here: bool) -> Result<ClientBuilder, rustls::Error> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("raptor/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(Policy::none());
    Ok(if stays_here { builder.no_proxy() } else { builder })
}

/// Whether an address leads no further than this computer.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What the `Host` header will say: the port where it is not the usual one.
pub(crate) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The wall clock, as signatures name it.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

//! Asking a router for a port: by PCP (RFC 6887), by NAT-PMP (RFC 6886), by `UPnP`, the first that
//! it understands.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use crab_nat::InternetProtocol;
use crab_nat::MappingFailure;
use crab_nat::PortMapping;
use crab_nat::PortMappingOptions;
use crab_nat::PortMappingType;
use crab_nat::TimeoutConfig;
use crab_nat::natpmp;

use crate::agent::port_mapping::gateway::Way;
use crate::agent::port_mapping::upnp::Gateway;
use crate::mesh::interfaces::is_dialable;

/// For how long a port is asked for: an agent that is killed leaves nothing behind for long.
const LIFETIME_SECONDS: u32 = 1_200;

/// How long a router may take to answer: a first time, and two that are twice as long each.
const ANSWER_TIMES: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(250),
    max_retries: 2,
    max_retry_timeout: None,
};

/// Why there is no port.
#[derive(Debug, thiserror::Error)]
pub(super) enum MappingError {
    /// Nothing to ask.
    #[error("this machine has no router of IPv4 before it")]
    NoRouter,
    /// The router gives none.
    #[error("router {router} gives no port: by PCP and NAT-PMP: {asked}; by UPnP: {upnp}")]
    Refused {
        /// The router.
        router: Ipv4Addr,
        /// What it said to the first two.
        asked: String,
        /// What it said to the third.
        upnp: String,
    },
    /// The router gave one before, and does not any more.
    #[error("router {router} has taken its port back: {why}")]
    Lost {
        /// The router.
        router: Ipv4Addr,
        /// What it said.
        why: String,
    },
    /// It names an address that means nothing to others.
    #[error("router {router} says that it is {endpoint} to others, which nobody can dial")]
    Senseless {
        /// The router.
        router: Ipv4Addr,
        /// What it said.
        endpoint: SocketAddr,
    },
}

/// By what the port was got.
enum By {
    Asking(PortMapping),
    Upnp { gateway: Gateway, inner: SocketAddr },
}

/// A port of a router.
pub(super) struct Held {
    pub(super) way: Way,
    /// Where others dial this machine.
    pub(super) endpoint: SocketAddr,
    by: By,
}

impl Held {
    /// Asks for a port that leads to `port`, the same one where it is free.
    ///
    /// # Errors
    /// [`MappingError`] says what the router said.
    pub(super) async fn ask(way: Way, port: NonZeroU16) -> Result<Self, MappingError> {
        let asked = match by_asking(way, port).await {
            Ok((mapping, endpoint)) => return checked(way, endpoint, By::Asking(mapping)),
            Err(error) => error.to_string(),
        };
        let inner = SocketAddr::new(way.client.into(), port.get());
        match by_upnp(way, inner).await {
            Ok((gateway, endpoint)) => checked(way, endpoint, By::Upnp { gateway, inner }),
            Err(upnp) => Err(MappingError::Refused { router: way.router, asked, upnp }),
        }
    }

    /// Asks for it again; it may be another one afterwards.
    ///
    /// # Errors
    /// [`MappingError`] says what the router said: it is lost then.
    pub(super) async fn renew(&mut self) -> Result<(), MappingError> {
        let way = self.way;
        let endpoint = match &mut self.by {
            By::Asking(mapping) => match mapping.renew().await {
                Ok(()) => outer(mapping).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            },
            By::Upnp { gateway, inner } => {
                gateway.hold(*inner, self.endpoint.port(), LIFETIME_SECONDS).await
            }
        };
        let why = |why| MappingError::Lost { router: way.router, why };
        self.endpoint = dialable(way, endpoint.map_err(why)?)?;
        Ok(())
    }

    /// For how long the router gave it.
    pub(super) fn lifetime(&self) -> Duration {
        match &self.by {
            By::Asking(mapping) => Duration::from_secs(mapping.lifetime().into()),
            By::Upnp { .. } => Duration::from_secs(LIFETIME_SECONDS.into()),
        }
    }

    /// Gives it back.
    pub(super) async fn give_back(self) {
        // A router that does not listen lets go of it by itself.
        match self.by {
            By::Asking(mapping) => drop(mapping.try_drop().await),
            By::Upnp { gateway, .. } => drop(gateway.release(self.endpoint.port()).await),
        }
    }
}

fn checked(way: Way, endpoint: SocketAddr, by: By) -> Result<Held, MappingError> {
    Ok(Held { way, endpoint: dialable(way, endpoint)?, by })
}

fn dialable(way: Way, endpoint: SocketAddr) -> Result<SocketAddr, MappingError> {
    let senseless = MappingError::Senseless { router: way.router, endpoint };
    is_dialable(&endpoint).then_some(endpoint).ok_or(senseless)
}

async fn by_asking(
    way: Way,
    port: NonZeroU16,
) -> Result<(PortMapping, SocketAddr), MappingFailure> {
    let (router, client) = (way.router.into(), way.client.into());
    let options = PortMappingOptions {
        external_port: Some(port),
        lifetime_seconds: Some(LIFETIME_SECONDS),
        timeout_config: Some(ANSWER_TIMES),
    };
    let udp = InternetProtocol::Udp;
    let mapping = match PortMapping::new(router, client, udp, port, options).await {
        // Some that know only the older protocol do not answer the newer one at all.
        Err(MappingFailure::Pcp(_)) => natpmp::port_mapping(router, udp, port, options).await?,
        outcome => outcome?,
    };
    let endpoint = outer(&mapping).await?;
    Ok((mapping, endpoint))
}

/// Where a mapped port is dialled.
async fn outer(mapping: &PortMapping) -> Result<SocketAddr, MappingFailure> {
    let address = match mapping.mapping_type() {
        PortMappingType::Pcp { external_ip, .. } => external_ip.to_canonical(),
        PortMappingType::NatPmp => {
            natpmp::external_address(mapping.gateway(), Some(ANSWER_TIMES)).await?.into()
        }
    };
    Ok(SocketAddr::new(address, mapping.external_port().get()))
}

async fn by_upnp(way: Way, inner: SocketAddr) -> Result<(Gateway, SocketAddr), String> {
    let gateway = Gateway::find(way).await?;
    let endpoint = gateway.hold(inner, inner.port(), LIFETIME_SECONDS).await?;
    Ok((gateway, endpoint))
}

//! The names of an agent, from its start to its end: answered, and found by the system.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use crate::agent::names::resolver;
use crate::agent::names::resolver::Wiring;
use crate::agent::names::server::NameServer;
use crate::agent::names::zone::SharedZone;
use crate::agent::names::zone::Zone;
use crate::model::name::Name;

/// When names are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum When {
    /// Always; what stands in the way is a problem.
    On,
    /// Where this user may, on a machine that does not share its computer.
    Auto,
    /// Never.
    #[default]
    Off,
}

/// How the system's resolver is led here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Leading {
    /// Through systemd-resolved where that runs, else by `resolv.conf`.
    Auto,
    /// Through systemd-resolved where that runs; it forgets us by itself.
    Resolved,
    /// Not at all.
    #[default]
    Off,
}

/// What the configuration says about names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameSettings {
    /// When they are answered.
    pub when: When,
    /// Where they are asked for.
    pub listen: SocketAddr,
    /// How the system's resolver is led here.
    pub resolver: Leading,
}

impl Default for NameSettings {
    fn default() -> Self {
        let listen = ([127, 0, 0, 153], 53).into();
        Self { when: When::default(), listen, resolver: Leading::default() }
    }
}

/// What the rest of the agent needs of its names.
#[derive(Debug, Clone)]
pub struct NameHandle {
    /// Which there are.
    pub zone: Arc<SharedZone>,
    /// Where and how they are answered, or why not, in a line.
    pub summary: String,
    /// What does not hold.
    pub problem: Option<String>,
}

/// Answers until it is closed.
#[derive(Debug)]
pub struct NameService {
    server: Option<NameServer>,
    wiring: Wiring,
}

impl NameService {
    /// Begins to answer where that is wanted and allowed. `interface` is the mesh interface, if
    /// there is one; `is_reachable` tells whether programs reach the members' addresses at all.
    pub async fn start(
        settings: &NameSettings,
        cluster: Name,
        is_local: bool,
        interface: Option<&str>,
        is_reachable: bool,
        agent_folder: &Path,
    ) -> (Self, NameHandle) {
        let zone = Arc::new(SharedZone::new(Zone::new(cluster)));
        let mut handle = NameHandle { zone, summary: String::new(), problem: None };
        let mut service =
            Self { server: None, wiring: Wiring::Nothing { why: "switched off".to_owned() } };
        if let Err(error) = resolver::recover(agent_folder) {
            handle.problem = Some(format!("the original resolv.conf is not put back: {error}"));
        }
        let why_not = match settings.when {
            When::Off => Some("switched off (dns.enabled)"),
            When::Auto if is_local => Some("this machine shares its computer (dns.enabled)"),
            When::Auto | When::On => None,
        };
        if let Some(why) = why_not {
            handle.summary = format!("none: {why}");
            return (service, handle);
        }
        let may_write = settings.resolver == Leading::Auto && is_reachable;
        // Who is asked for everything must ask others.
        let is_asked_for_all = may_write && !resolver::is_resolved_there();
        let upstreams =
            if is_asked_for_all { resolver::upstreams(settings.listen.ip()) } else { Vec::new() };
        let started = NameServer::start(settings.listen, Arc::clone(&handle.zone), upstreams).await;
        match started {
            Err(error) => {
                let why = format!("cannot answer names at {}: {error}", settings.listen);
                handle.summary = format!("none: {why}");
                if settings.when == When::On {
                    handle.problem = Some(why);
                }
            }
            Ok(server) => {
                service.wiring = match (settings.resolver, is_reachable) {
                    (Leading::Off, _) => {
                        Wiring::Nothing { why: "switched off (dns.resolver)".to_owned() }
                    }
                    (_, false) => Wiring::Nothing {
                        why: "without a network interface the addresses lead nowhere".to_owned(),
                    },
                    (_, true) => resolver::wire(server.local, interface, agent_folder, may_write),
                };
                handle.summary = format!("{}; {}", server.local, told(&service.wiring));
                service.server = Some(server);
            }
        }
        tracing::info!(names = handle.summary, "names");
        (service, handle)
    }

    /// Undoes what was done to the system.
    pub fn close(self) {
        if let Err(error) = resolver::unwire(&self.wiring) {
            tracing::error!(%error, "the original resolv.conf is not put back");
        }
    }
}

fn told(wiring: &Wiring) -> String {
    match wiring {
        Wiring::Resolved { interface } => format!("systemd-resolved asks it for {interface}"),
        Wiring::ResolvConf { .. } => "resolv.conf names it".to_owned(),
        Wiring::Nothing { why } => format!("the system does not ask it: {why}"),
    }
}

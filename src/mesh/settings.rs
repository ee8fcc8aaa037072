//! The mesh's times and counts in one place.

use std::time::Duration;

use crate::mesh::plane::suite::Suites;
use crate::model::reach::Reach;

/// How a [`Mesh`](crate::mesh::core::Mesh) behaves. The defaults suit a data centre and the
/// open internet alike; tests shorten the times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshSettings {
    /// Rings over the members: each gives a member two neighbours.
    pub rings: u8,
    /// A neighbour that was silent this long is pinged.
    pub ping_interval: Duration,
    /// While packets go out, the last proof that they arrive may be this old.
    pub proof_interval: Duration,
    /// A neighbour that was silent this long is given up.
    pub link_timeout: Duration,
    /// An endpoint that has not answered yields to the next after this long.
    pub candidate_interval: Duration,
    /// The last endpoint of a list gets this long before the attempt counts as failed.
    pub answer_timeout: Duration,
    /// Pause after the first failed attempt; doubles with every further one.
    pub backoff_min: Duration,
    /// Longest pause between two attempts.
    pub backoff_max: Duration,
    /// Changes of the link state are collected this long before they are sent on.
    pub flood_delay: Duration,
    /// Bad news, a link gone or much worse, waits only this long.
    pub alarm_delay: Duration,
    /// A new link to a member that was in reach before waits this long, for its first answer and for
    /// more of its kind.
    pub detour_delay: Duration,
    /// While link state keeps changing, the pause between two computations of the routes doubles
    /// from [`MeshSettings::flood_delay`] up to this.
    pub route_pause_max: Duration,
    /// Link state that a neighbour has not confirmed is sent again after this long.
    pub flood_retry: Duration,
    /// Own link state is signed anew after this long even when nothing changed.
    pub advertise_interval: Duration,
    /// A link that neither side wants is closed after this long, or up to a third longer.
    pub linger: Duration,
    /// A session key is replaced after this long.
    pub rekey_after: Duration,
    /// A session key is refused after this long.
    pub reject_after: Duration,
    /// A packet for a member whose link is being made waits at most this long.
    pub queue_timeout: Duration,
    /// While living members are out of reach, one more of them is dialled every so often.
    pub explore_interval: Duration,
    /// A knock that nobody completed or answered is forgotten after this long.
    pub knock_timeout: Duration,
    /// The ciphers this machine offers for carried datagrams.
    pub suites: Suites,
    /// Which links this machine has.
    pub reach: Reach,
}

impl Default for MeshSettings {
    fn default() -> Self {
        Self {
            rings: 3,
            ping_interval: Duration::from_millis(800),
            proof_interval: Duration::from_millis(500),
            link_timeout: Duration::from_secs(4),
            candidate_interval: Duration::from_millis(250),
            answer_timeout: Duration::from_millis(500),
            backoff_min: Duration::from_millis(250),
            backoff_max: Duration::from_secs(30),
            flood_delay: Duration::from_millis(50),
            alarm_delay: Duration::from_millis(10),
            detour_delay: Duration::from_millis(500),
            route_pause_max: Duration::from_millis(400),
            flood_retry: Duration::from_millis(500),
            advertise_interval: Duration::from_secs(900),
            linger: Duration::from_secs(30),
            rekey_after: Duration::from_secs(120),
            reject_after: Duration::from_secs(180),
            queue_timeout: Duration::from_millis(500),
            explore_interval: Duration::from_secs(1),
            knock_timeout: Duration::from_secs(60),
            suites: Suites::of_processor(),
            reach: Reach::Full,
        }
    }
}

//! Tickets: signed, expiring invitations that fit on one line.
//!
//! A ticket holds a secret key of its own. Its public half stands in the document, so members
//! answer a knock made with it and nothing else; when it expires, is used up or revoked, the key
//! is as unknown as any stranger's.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::model::cluster::Genesis;
use crate::model::identity::NodeId;
use crate::model::identity::SecretKey;
use crate::model::identity::Signature;
use crate::model::identity::SigningDomain;
use crate::model::time::Timestamp;

/// What every ticket's text starts with; the digit is the version of the format.
const PREFIX: &str = "raptor1-";

/// Longest text that is read, in bytes.
const TEXT_LENGTH_MAX: usize = 4096;

/// Endpoints beyond this many are left out.
pub const ENDPOINTS_MAX: usize = 8;

/// An invitation.
#[derive(Clone)]
pub struct Ticket {
    /// The cluster it leads into.
    pub genesis: Genesis,
    /// The member to knock at.
    pub host: NodeId,
    /// Where that member answers.
    pub endpoints: Vec<SocketAddr>,
    /// Until when it holds.
    pub expires_at: Timestamp,
    /// The key to knock with.
    pub key: SecretKey,
}

#[derive(Serialize, Deserialize)]
struct Body {
    genesis: Genesis,
    host: NodeId,
    endpoints: Vec<SocketAddr>,
    expires_at: Timestamp,
    seed: [u8; 32],
}

/// Why a text is no usable ticket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Not a ticket at all, or not all of it.
    #[error("this is not a whole ticket: it should start with \"raptor1-\" and be copied in full")]
    Malformed,
    /// Changed since it was signed.
    #[error("this ticket was altered: its signature does not match")]
    Forged,
    /// Too late.
    #[error("this ticket expired at {0}")]
    Expired(Timestamp),
}

impl Ticket {
    /// The ticket's id in the document: its public key.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.key.node_id()
    }

    /// The text to hand over, signed by `issuer`, which must be the ticket's host.
    #[must_use]
    pub fn to_text(&self, issuer: &SecretKey) -> String {
        let body = Body {
            genesis: self.genesis.clone(),
            host: self.host,
            endpoints: self.endpoints.iter().copied().take(ENDPOINTS_MAX).collect(),
            expires_at: self.expires_at,
            seed: *self.key.to_seed(),
        };
        // Writing plain fields into memory cannot fail; an empty body would be refused on reading.
        let mut bytes = Zeroizing::new(postcard::to_allocvec(&body).unwrap_or_default());
        let signature = issuer.sign(SigningDomain::Ticket, &bytes);
        bytes.extend_from_slice(&signature.to_bytes());
        format!("{PREFIX}{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
    }

    /// Refuses a ticket that has expired.
    ///
    /// # Errors
    /// [`TicketError::Expired`].
    pub fn check_time(&self, now: Timestamp) -> Result<(), TicketError> {
        if now > self.expires_at { Err(TicketError::Expired(self.expires_at)) } else { Ok(()) }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Ticket({})", self.id().short())
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let digits = text.strip_prefix(PREFIX).ok_or(TicketError::Malformed)?;
        if text.len() > TEXT_LENGTH_MAX {
            return Err(TicketError::Malformed);
        }
        let bytes = Zeroizing::new(
            BASE32_NOPAD
                .decode(digits.to_ascii_uppercase().as_bytes())
                .map_err(|_| TicketError::Malformed)?,
        );
        let (body, signature) = bytes
            .len()
            .checked_sub(Signature::LENGTH)
            .map(|length| bytes.split_at(length))
            .ok_or(TicketError::Malformed)?;
        let signature: [u8; Signature::LENGTH] =
            signature.try_into().map_err(|_| TicketError::Malformed)?;
        let (read, rest): (Body, _) =
            postcard::take_from_bytes(body).map_err(|_| TicketError::Malformed)?;
        if !rest.is_empty() || read.endpoints.len() > ENDPOINTS_MAX {
            return Err(TicketError::Malformed);
        }
        let signature = Signature::from_bytes(signature);
        if !read.host.verify(SigningDomain::Ticket, body, &signature) {
            return Err(TicketError::Forged);
        }
        let seed = Zeroizing::new(read.seed);
        let key = SecretKey::from_seed(&seed).map_err(|_| TicketError::Malformed)?;
        Ok(Self {
            genesis: read.genesis,
            host: read.host,
            endpoints: read.endpoints,
            expires_at: read.expires_at,
            key,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::testing::key;

    fn ticket() -> (SecretKey, Ticket) {
        let issuer = key(1);
        let genesis =
            Genesis { founder: issuer.node_id(), nonce: 7, name: "default".parse().unwrap() };
        let ticket = Ticket {
            genesis,
            host: issuer.node_id(),
            endpoints: vec!["192.0.2.1:4863".parse().unwrap()],
            expires_at: Timestamp::from_millis(1_000),
            key: key(2),
        };
        (issuer, ticket)
    }

    #[test]
    fn a_ticket_survives_being_written_on_a_line() {
        let (issuer, ticket) = ticket();
        let text = ticket.to_text(&issuer);
        let read: Ticket = format!(" {text}\n").parse().unwrap();
        assert_eq!(read.id(), ticket.id());
        assert_eq!(read.genesis, ticket.genesis);
        assert_eq!(read.endpoints, ticket.endpoints);
        assert_eq!(read.check_time(Timestamp::from_millis(1_000)), Ok(()));
        assert_eq!(
            read.check_time(Timestamp::from_millis(1_001)),
            Err(TicketError::Expired(Timestamp::from_millis(1_000)))
        );
    }

    #[test]
    fn every_altered_digit_is_noticed() {
        let (issuer, ticket) = ticket();
        let text = ticket.to_text(&issuer);
        for position in PREFIX.len()..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[position] = if altered[position] == b'a' { b'b' } else { b'a' };
            let altered = String::from_utf8(altered).unwrap();
            assert!(altered.parse::<Ticket>().is_err(), "{position}");
        }
        assert_eq!("raptor1-".parse::<Ticket>().unwrap_err(), TicketError::Malformed);
        assert_eq!("hello".parse::<Ticket>().unwrap_err(), TicketError::Malformed);
    }

    #[test]
    fn any_bytes_can_be_offered_as_a_ticket() {
        bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
            let text = format!("{PREFIX}{}", BASE32_NOPAD.encode(bytes));
            let _ = text.parse::<Ticket>();
            let _ = String::from_utf8_lossy(bytes).parse::<Ticket>();
        });
    }
}

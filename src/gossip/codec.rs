//! How foca writes its packets and reads them: as they travel, but for bytes after the header that make the
//! room for news a whole number of updates.
//!
//! Foca fills a packet to its last byte: while any is left, it looks through all the news it has for a
//! piece that fits. When a cluster is founded that is news of every member, and those looks would cost
//! more than all else. What does not travel costs nothing: a last byte too few for an update is of no use.

use bytes::Buf;
use bytes::BufMut;
use foca::Codec;
use foca::Header;
use foca::Member;
use foca::PostcardCodec;

use crate::gossip::life::Life;
use crate::gossip::packet::SWIM_SIZE_MAX;

/// Bytes of an update: the address, a generation that is a time before the year 2109, an incarnation
/// below 128 and the state. Of another length an update is as good, and found more slowly.
const UPDATE_SIZE: usize = 16 + 6 + 1 + 1;

/// Bytes of the number of updates, before them.
const COUNT_SIZE: usize = 2;

/// Bytes after a header of `length` bytes.
pub(super) fn padding(length: usize) -> usize {
    SWIM_SIZE_MAX.get().saturating_sub(length + COUNT_SIZE) % UPDATE_SIZE
}

/// Postcard with padded headers.
#[derive(Debug)]
pub(super) struct Padded;

impl Codec<Life> for Padded {
    type Error = postcard::Error;

    fn encode_header(
        &mut self,
        header: &Header<Life>,
        mut buffer: impl BufMut,
    ) -> Result<(), Self::Error> {
        let room = buffer.remaining_mut();
        PostcardCodec.encode_header(header, &mut buffer)?;
        let padding = padding(room - buffer.remaining_mut());
        if padding > buffer.remaining_mut() {
            return Err(postcard::Error::SerializeBufferFull);
        }
        buffer.put_bytes(0, padding);
        Ok(())
    }

    fn decode_header(&mut self, mut buffer: impl Buf) -> Result<Header<Life>, Self::Error> {
        let size = buffer.remaining();
        let header = PostcardCodec.decode_header(&mut buffer)?;
        let padding = padding(size - buffer.remaining());
        if padding > buffer.remaining() {
            return Err(postcard::Error::DeserializeUnexpectedEnd);
        }
        buffer.advance(padding);
        Ok(header)
    }

    fn encode_member(
        &mut self,
        member: &Member<Life>,
        buffer: impl BufMut,
    ) -> Result<(), Self::Error> {
        PostcardCodec.encode_member(member, buffer)
    }

    fn decode_member(&mut self, buffer: impl Buf) -> Result<Member<Life>, Self::Error> {
        PostcardCodec.decode_member(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use foca::Message;
    use foca::State;

    use super::*;
    use crate::gossip::packet::Packet;

    fn life(last: u16) -> Life {
        // A time of the year 2026.
        let generation = 1_795_246_200_000;
        Life { address: Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, last), generation }
    }

    #[test]
    fn room_for_news_is_a_whole_number_of_updates_and_padding_does_not_travel() {
        let origin = life(3);
        for message in [
            Message::Ping(7),
            Message::Gossip,
            Message::Feed,
            Message::ForwardedAck { origin, probe_number: 200 },
        ] {
            let header = Header { src: life(1), src_incarnation: 3, dst: life(2), message };
            let mut written = Vec::new().limit(SWIM_SIZE_MAX.get());
            Padded.encode_header(&header, &mut written).unwrap();
            written.put_u16(0);
            let mut updates = 0;
            while written.has_remaining_mut() {
                let update = Member::new(life(updates), 127, State::Down);
                Padded.encode_member(&update, &mut written).unwrap();
                updates += 1;
            }
            let mut body = written.into_inner();
            assert!(updates > 45 && body.len() == SWIM_SIZE_MAX.get());
            let mut rest = body.as_slice();
            assert_eq!(Padded.decode_header(&mut rest).unwrap(), header);
            assert_eq!(rest.len(), COUNT_SIZE + usize::from(updates) * UPDATE_SIZE);
            let place = body.len() - rest.len();
            body[place..place + COUNT_SIZE].copy_from_slice(&updates.to_be_bytes());
            let Some(Packet::Swim(read)) = Packet::decode(&Packet::frame_swim(&body)) else {
                panic!("not read");
            };
            assert_eq!(
                (&read.header, read.updates.as_ref().map(Vec::len)),
                (&header, Some(updates.into()))
            );
            assert_eq!(read.encode().unwrap(), body);
        }
    }
}

//! The bytes that fixed keys must yield, for this implementation and any other: `tests/vectors`.

use data_encoding::HEXLOWER;
use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use serde_json::json;

use super::*;
use crate::mesh::cookie;
use crate::mesh::fixture::cluster;
use crate::mesh::fixture::key;
use crate::mesh::handshake::Handshaker;
use crate::mesh::handshake::LINK_PROLOGUE;
use crate::mesh::handshake::Purpose;
use crate::mesh::handshake::SESSION_PROLOGUE;
use crate::mesh::handshake::mac_key;
use crate::mesh::plane::suite::Suites;
use crate::mesh::session::Session;
use crate::mesh::session_message::SessionMessage;
use crate::mesh::wire::Frame;
use crate::mesh::wire::write_challenge;
use crate::model::identity::SecretKey;

const BOOTS: [u64; 2] = [0x0102_0304_0506_0708, 0x1112_1314_1516_1718];
const TIMESTAMP: u64 = 1_795_246_200_250;
const INDICES: [u32; 2] = [0xa1a2_a3a4, 0xb1b2_b3b4];

fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

fn member(key: &SecretKey) -> Value {
    let id = key.node_id();
    json!({
        "seed": hex(key.to_seed().as_slice()),
        "id": hex(id.as_bytes()),
        "address": id.address().to_string(),
        "static_secret": hex(key.to_x25519().as_slice()),
        "static_public": hex(id.to_x25519()),
    })
}

/// The secret key that a handshake with this seed draws.
fn ephemeral(seed: u8) -> String {
    let mut secret = [0u8; 32];
    StdRng::from_seed([seed; 32]).fill_bytes(&mut secret);
    hex(secret)
}

/// A handshake of member 0 with member 1, and the initiator's keys.
fn handshake(purpose: Purpose, suites: Suites) -> (Value, Keys) {
    let prologue = if purpose == Purpose::Session { SESSION_PROLOGUE } else { LINK_PROLOGUE };
    let seeds = if purpose == Purpose::Session { (1, 2) } else { (3, 4) };
    let side = |index| Handshaker::new(&key(index), cluster(0), prologue, suites).unwrap();
    let remote = key(1).node_id().to_x25519();
    let begun = side(0).initiate(&remote, purpose, TIMESTAMP, BOOTS[0], [seeds.0; 32]);
    let (mut initiated, first) = begun.unwrap();
    let accepted = side(1).accept(&first, [seeds.1; 32]).unwrap();
    let observed = (purpose == Purpose::Link).then_some(endpoint(7));
    let (_, second) = accepted.answer(BOOTS[1], observed).unwrap();
    let (keys, _) = initiated.finish(&second).unwrap();
    let (one, two) = if purpose == Purpose::Session {
        let one = SessionMessage::Initiation { sender: INDICES[0], noise: &first }.to_bytes();
        let (sender, receiver) = (INDICES[1], INDICES[0]);
        (one, SessionMessage::Response { sender, receiver, noise: &second }.to_bytes())
    } else {
        let mac_key = mac_key(&key(1).node_id(), cluster(0));
        let one = crate::mesh::challenge::write_initiation(INDICES[0], &first, &mac_key);
        (one, crate::mesh::wire::write_response(INDICES[1], INDICES[0], &second))
    };
    let value = json!({
        "initiator": { "ephemeral_secret": ephemeral(seeds.0), "index": INDICES[0], "boot": BOOTS[0],
            "suites": suites.to_byte(), "timestamp": TIMESTAMP },
        "responder": { "ephemeral_secret": ephemeral(seeds.1), "index": INDICES[1], "boot": BOOTS[1],
            "suite": keys.suite as u8, "observed": observed.map(|endpoint| endpoint.to_string()) },
        "noise_1": hex(&first),
        "noise_2": hex(&second),
        "initiation": hex(one),
        "response": hex(two),
        "secret_of_initiator": hex(keys.sending.as_slice()),
        "secret_of_responder": hex(keys.receiving.as_slice()),
    });
    (value, keys)
}

/// The third packet under the session and the second over the link.
fn carried(suites: Suites) -> Value {
    let (handshake, session_keys) = handshake(Purpose::Session, suites);
    let (_, link_keys) = self::handshake(Purpose::Link, suites);
    let (own, peer) = (key(0).node_id().address(), key(1).node_id().address());
    let names = Names { peer, local_index: INDICES[0], remote_index: INDICES[1], initiator: true };
    let session = EndSession::new(session_keys.suite, &session_keys, names, NOW).unwrap();
    let hop = HopSender::new(&link_keys.sending, INDICES[1]);
    let payload = b"sixteen and more bytes";
    let mut datagram = Vec::new();
    for _ in 0..3 {
        datagram = vec![0; Sender::HEADROOM];
        datagram.extend_from_slice(payload);
        datagram.resize(datagram.len() + Sender::TAILROOM, 0);
        session.seal(own, InnerProtocol::Ipv6, &mut datagram).unwrap();
    }
    for _ in 0..2 {
        hop.sign(&mut datagram).unwrap();
    }
    json!({
        "session": handshake,
        "link_secret": hex(link_keys.sending.as_slice()),
        "hop_counter": 1,
        "session_counter": 2,
        "protocol": 3,
        "payload": hex(payload),
        "datagram": hex(&datagram),
    })
}

fn vectors() -> Value {
    let (link, keys) = handshake(Purpose::Link, Suites::ALL);
    let mut session = Session::new(&keys, INDICES[0], INDICES[1], true, NOW).unwrap();
    let transport = session.seal(&Frame::KnockHeld(5)).unwrap();
    let responder = key(1).node_id();
    let (salt, first_mac, cookie) = ([5; 16], [6; 16], [7; 16]);
    let sealed = cookie::seal(&responder, cluster(0), &salt, &first_mac, cookie).unwrap();
    json!({
        "cluster": hex(cluster(0).as_bytes()),
        "members": [member(&key(0)), member(&key(1))],
        "link": link,
        "transport": { "counter": 0, "frame": "0800000005", "datagram": hex(transport) },
        "challenge": {
            "salt": hex(salt), "mac_of_initiation": hex(first_mac), "cookie": hex(cookie),
            "datagram": hex(write_challenge(INDICES[0], &salt, &sealed)),
            "proof_over_text_abc": hex(cookie::proof_of(&cookie, b"abc")),
        },
        "carried": [carried(Suites::PORTABLE), carried(Suites::ALL)],
    })
}

#[test]
fn fixed_keys_yield_the_bytes_on_record() {
    let recorded = include_str!("../../../../tests/vectors/mesh.json");
    let recorded: Value = serde_json::from_str(recorded).unwrap();
    let actual = vectors();
    assert!(recorded == actual, "{}", serde_json::to_string_pretty(&actual).unwrap());
}

/// The vector of appendix A of the `SipHash` paper's reference code: no bytes under 00 01 .. 0f.
#[test]
fn the_mac_is_the_siphash_of_its_authors() {
    use std::hash::Hasher;

    use siphasher::sip128::Hasher128;
    let key: [u8; 16] = std::array::from_fn(|index| index.to_be_bytes()[7]);
    let mut hash = siphasher::sip128::SipHasher24::new_with_key(&key);
    hash.write(&[]);
    let expected = "a3817f04ba25a8e66df67214c7550293";
    assert_eq!(hex(hash.finish128().as_u128().to_le_bytes()), expected);
}

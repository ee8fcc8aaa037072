//! What a packet costs one core, without sockets and devices: sealed and signed at one end, passed on
//! by a relay, checked and opened at the other end. The floor is the cipher alone over the
//! same bytes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement ends where it cannot go on")]

mod support;

use std::hint::black_box;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use raptor::mesh::plane::header::InnerProtocol;
use raptor::mesh::plane::hop::{HopReceiver, HopSender};
use raptor::mesh::plane::keys::Keys;
use raptor::mesh::plane::receive::Verdict;
use raptor::mesh::plane::sender::Sender;
use raptor::mesh::plane::session::{EndSession, Names};
use raptor::mesh::plane::suite::{Suite, nonce};
use raptor::mesh::plane::table::{Outbound, Plane};
use raptor::model::time::Moment;
use ring::aead;
use support::Samples;

const SUITES: [Suite; 2] = [Suite::Aes256Gcm, Suite::ChaCha20Poly1305];
const PAYLOADS: [usize; 2] = [1_357, 64];
/// Other members with routes and sessions, so that tables are not empty.
const MEMBERS: u16 = 1_000;
const BATCH: usize = 64;
const ROUNDS: usize = 2_000;
const REPEATS: usize = 5;

fn main() {
    println!(
        "{:<20} {:>7}  {:>9}  {:>9}  {:>11}",
        "", "payload", "a packet", "a second", "one core"
    );
    for suite in SUITES {
        for length in PAYLOADS {
            let planes = row(suite);
            let mut datagrams = Vec::new();
            let mut pass =
                |stage: Stage| Samples::of(REPEATS, || run(&planes, &mut datagrams, length, stage));
            let name = if suite == Suite::Aes256Gcm { "AES-256-GCM" } else { "ChaCha20" };
            print(name, "seal", length, &pass(Stage::Seal));
            print(name, "pass on", length, &pass(Stage::PassOn));
            print(name, "open", length, &pass(Stage::Open));
            print(name, "floor", length, &Samples::of(REPEATS, || floor(suite, length)));
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Seal,
    PassOn,
    Open,
}

fn print(suite: &str, stage: &str, length: usize, samples: &Samples) {
    let seconds =
        samples.median().as_secs_f64() / f64::from(u32::try_from(ROUNDS * BATCH).unwrap());
    let bits = f64::from(u32::try_from(length * 8).unwrap());
    let (nanos, rate, gigabits) = (seconds * 1e9, 1e-6 / seconds, bits / seconds / 1e9);
    println!(
        "{suite:<12} {stage:<7} {length:>7}  {nanos:>6.0} ns  {rate:>7.2} M  {gigabits:>4.1} Gbit/s"
    );
}

fn address(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, number.wrapping_mul(40_503), number)
}

fn endpoint(number: u16) -> SocketAddr {
    SocketAddr::new([192, 0, 2, 1].into(), number)
}

fn link(from: &Plane, to: &Plane, numbers: (u16, u16)) {
    let (here, there) = numbers;
    let secret = |one: u16, other: u16| [u8::try_from(one * 10 + other).unwrap(); 32];
    let index = |number: u16, of: u16| u32::from(number) << 16 | u32::from(of);
    let sender = HopSender::new(&secret(here, there), index(there, here));
    let receiver = HopReceiver::new(&secret(there, here), index(here, there));
    let outbound = Outbound {
        keys: Arc::new(sender),
        endpoint: endpoint(there),
        datagram_max: 1_452,
        traffic: Arc::default(),
    };
    from.set_link(to.own(), Some(outbound), [Arc::new(receiver)]);
}

/// Machines 1, 2 and 3 in a row.
fn row(suite: Suite) -> [Plane; 3] {
    let (rekey_after, reject_after) = (Duration::from_secs(120), Duration::from_secs(180));
    let planes = [1, 2, 3].map(|number| Plane::new(address(number), rekey_after, reject_after));
    let [one, two, three] = &planes;
    link(one, two, (1, 2));
    link(two, one, (2, 1));
    link(two, three, (2, 3));
    link(three, two, (3, 2));
    for (plane, other) in [(one, 3), (two, 1), (three, 1)] {
        let via = if other == 1 && plane.own() == address(2) { 1 } else { 2 };
        let others = (4..MEMBERS).map(|number| (address(number), address(via)));
        plane.set_routes(others.chain([(address(other), address(via)), (address(3), address(3))]));
        for number in (4..MEMBERS).chain([other]) {
            let local_index = u32::from(number) * 77_777 + u32::from(number == other);
            let remote_index = (if number == 3 { 1 } else { 3 }) * 77_777 + 1;
            let peer = address(number);
            let names = Names { peer, local_index, remote_index, initiator: true };
            let forth = number == 3;
            let secrets = if forth { ([1; 32], [3; 32]) } else { ([3; 32], [1; 32]) };
            let keys = Keys { sending: secrets.0.into(), receiving: secrets.1.into(), suite };
            let session = Arc::new(EndSession::new(suite, &keys, names, Moment::START).unwrap());
            plane.set_sessions(peer, Some(Arc::clone(&session)), [session], []);
        }
    }
    one.set_routes((4..MEMBERS).chain([2, 3]).map(|number| (address(number), address(2))));
    planes
}

/// Takes many batches through all stages and says how long `stage` took.
fn run(planes: &[Plane; 3], datagrams: &mut Vec<Vec<u8>>, length: usize, stage: Stage) -> Duration {
    let now = Moment::at(Duration::from_secs(1));
    datagrams.resize_with(BATCH, || vec![0; Sender::HEADROOM + length + Sender::TAILROOM]);
    let mut took = Duration::ZERO;
    for _ in 0..ROUNDS {
        let mut timed = |this: Stage, work: &mut dyn FnMut()| {
            let start = Instant::now();
            work();
            if this == stage {
                took += start.elapsed();
            }
        };
        timed(Stage::Seal, &mut || {
            let sender = planes[0].sender(now, address(3)).unwrap();
            for datagram in &mut *datagrams {
                sender.seal(InnerProtocol::Ipv6, datagram).unwrap();
            }
        });
        timed(Stage::PassOn, &mut || {
            for datagram in &mut *datagrams {
                let verdict = planes[1].receive(now, endpoint(1), datagram);
                assert_eq!(verdict, Verdict::Forward { destination: endpoint(3) });
            }
        });
        timed(Stage::Open, &mut || {
            for datagram in &mut *datagrams {
                let verdict = planes[2].receive(now, endpoint(2), datagram);
                assert!(matches!(verdict, Verdict::Deliver { .. }));
            }
        });
    }
    took
}

/// The cipher alone.
fn floor(suite: Suite, length: usize) -> Duration {
    let key = suite.key(&[7; 32], b"floor").unwrap();
    let mut bytes = vec![0u8; length + 1];
    let start = Instant::now();
    for counter in 0..(ROUNDS * BATCH) as u64 {
        let bound = aead::Aad::from([0u8; 44]);
        let tag = key.seal_in_place_separate_tag(nonce(counter), bound, &mut bytes);
        let _ = black_box(tag.unwrap());
    }
    start.elapsed()
}

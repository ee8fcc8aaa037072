//! What the doorkeeper lets through.

use rand::SeedableRng;

use super::*;
use crate::mesh::fixture::cluster;
use crate::mesh::fixture::key;

fn at(millis: u64) -> Moment {
    Moment::at(Duration::from_millis(millis))
}

fn source(number: u32) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(number.into()), 4_863)
}

struct Door {
    keeper: Doorkeeper,
    random: StdRng,
}

impl Door {
    fn new() -> Self {
        let mut random = StdRng::from_seed([3; 32]);
        Self { keeper: Doorkeeper::new(&mut random, at(0)), random }
    }

    fn admit(&mut self, now: Moment, source: SocketAddr, proof: &[u8]) -> Admission {
        self.keeper.admit(now, &mut self.random, source, b"initiation", proof)
    }

    /// Uses up what is read without a cookie.
    fn load(&mut self, now: Moment) -> usize {
        let flood = (0..10_000).map(|number| self.admit(now, source(number), &[0; 16]));
        flood.filter(|admission| *admission == Admission::Read).count()
    }

    fn challenge(&mut self, now: Moment, source: SocketAddr) -> Cookie {
        let Admission::Challenge(cookie) = self.admit(now, source, &[0; 16]) else {
            panic!("not challenged");
        };
        cookie
    }
}

#[test]
fn a_flood_with_false_addresses_is_challenged_and_the_honest_get_in() {
    let mut door = Door::new();
    assert_eq!(door.load(at(0)), 128);
    let cookie = door.challenge(at(0), source(7));
    let proof = proof_of(&cookie, b"initiation");
    assert_eq!(door.admit(at(0), source(7), &proof), Admission::Read);
    // The cookie of one address is worth nothing at another, nor over another message.
    assert!(matches!(door.admit(at(0), source(8), &proof), Admission::Challenge(_)));
    let other = proof_of(&cookie, b"another");
    assert!(matches!(door.admit(at(0), source(7), &other), Admission::Challenge(_)));
    // A second of flood is read no more often than the rate.
    let read: usize = (1..=100).map(|step| door.load(at(step * 10))).sum();
    assert_eq!(read, 64);
}

#[test]
fn one_address_with_a_cookie_is_bounded_and_does_not_keep_others_out() {
    let mut door = Door::new();
    door.load(at(0));
    let proof = |door: &mut Door, number| {
        let cookie = door.challenge(at(0), source(number));
        proof_of(&cookie, b"initiation")
    };
    let own = proof(&mut door, 7);
    let read = (0..100).filter(|_| door.admit(at(0), source(7), &own) == Admission::Read).count();
    assert_eq!(read, 16);
    let other = proof(&mut door, 8);
    assert_eq!(door.admit(at(0), source(8), &other), Admission::Read);
    assert!(door.keeper.sources.len() <= SOURCES_MAX);
}

#[test]
fn a_cookie_lasts_two_to_four_minutes() {
    let mut door = Door::new();
    let mut reads = |seconds: u64| {
        let mut door_at = Door {
            keeper: Doorkeeper::new(&mut door.random, at(0)),
            random: StdRng::from_seed([4; 32]),
        };
        door_at.load(at(0));
        let cookie = door_at.challenge(at(0), source(7));
        let later = at(seconds * 1_000);
        door_at.load(later);
        door_at.admit(later, source(7), &proof_of(&cookie, b"initiation")) == Admission::Read
    };
    assert!(reads(119) && reads(239));
    assert!(!reads(240));
}

#[test]
fn a_sealed_cookie_is_for_one_initiation_to_one_responder() {
    let (one, two) = (key(0).node_id(), key(1).node_id());
    let sealed = seal(&one, cluster(0), &[5; 16], &[6; 16], [7; 16]).unwrap();
    assert_eq!(open(&one, cluster(0), &[5; 16], &[6; 16], &sealed), Some([7; 16]));
    assert_eq!(open(&two, cluster(0), &[5; 16], &[6; 16], &sealed), None);
    assert_eq!(open(&one, cluster(1), &[5; 16], &[6; 16], &sealed), None);
    assert_eq!(open(&one, cluster(0), &[5; 16], &[8; 16], &sealed), None);
    for place in 0..sealed.len() {
        let mut bent = sealed;
        bent[place] ^= 4;
        assert_eq!(open(&one, cluster(0), &[5; 16], &[6; 16], &bent), None);
    }
}

#[test]
fn sources_remembered_are_bounded_and_networks_count_as_one() {
    let mut door = Door::new();
    for number in 0..5_000u32 {
        door.keeper.take_from_source(at(0), source(number));
    }
    assert_eq!(door.keeper.sources.len(), SOURCES_MAX);
    assert!(door.keeper.take_from_source(at(10_000), source(9_999)));
    let in_network =
        |host: u16| SocketAddr::new(Ipv6Addr::new(0x2001, 1, 1, 1, 0, 0, 0, host).into(), 1);
    let taken = (0..100).filter(|host| door.keeper.take_from_source(at(10_000), in_network(*host)));
    assert_eq!(taken.count(), 16);
}

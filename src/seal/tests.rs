use std::collections::BTreeSet;

use data_encoding::BASE64;
use proptest::prelude::*;

use super::age;
use super::error::SealError;
use super::key::Identity;
use super::key::Recipient;
use super::secret;
use super::secret::Opener;
use crate::model::identity::testing::key;
use crate::model::time::Timestamp;

/// Made with age 1.1.1: a key, a file for it, and an empty one for another and it.
const AGE_KEY: &str = "# created: 2026-11-21T17:42:06Z
# public key: age16kzwh4mp4n3efxl0nc58txhuxpef6asv5w02eu0uxf68e96hkdgsy5sjjj
AGE-SECRET-KEY-1NV5UFRNEFX32MQJGES6VD8WN4UFTAUDNY403UP58W0DYEZTZ7J9SCY3W4Y
";
const AGE_PUBLIC: &str = "age16kzwh4mp4n3efxl0nc58txhuxpef6asv5w02eu0uxf68e96hkdgsy5sjjj";
const AGE_HELLO: &str = "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSBPcWpYb09aNCtxWlkxamlocUNpNEN0cjJaOVhUcTBac29IR0VSZXkwV0VVCkRsNW1VQ1JtMWRMV2RMVG9YYXQzU3BXZ3l2QjlJTmFqallOSVg5M1dQQXMKLS0tIFE1SGZNQ0ZreXhIN2JlYmIvd2liRXJ2S2V1aHFtMTdjZ09QRDZQcnF5R2MKeGdH0YAXAUXak/aV7BN/FioZ8O0YgJSt7qVSi1CUuKBRfzsmJg==";
const AGE_EMPTY: &str = "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSBlNHNWZEsvODBLV3d5U1YwcVpQWEhrRUoyQXQ1ZzdIeVNSRW5yZTkrdFNzCmRIVm9kSndtc1hsNC9sR0V5V3Q5MW5yb00waE53b3gwdlFJVXlqWUpLNncKLT4gWDI1NTE5IGNqdHZacWNFYVNHczFxM1pGb3BGZHVkZEhmUllITHVzZTdheEhKdWVmRDQKMnZld2VzVEpxeEpMczhoOGtGdG8yakc3a0JMRW5nVVRyMXdOTjhsc0RoawotLS0gb2psS25jMTZ5MEFpODNBbXBpWHQvRXdsS05yQWhkU3QvVHRjYUdTbjg5TQoisnQtN65neGys6tAzvLUjGKBcHJ2VejxtkJIk4bGl9Q==";

/// A sealed piece of a payload.
const PIECE: usize = 64 * 1024 + 16;

fn identity(number: u8) -> Identity {
    Identity::draw(&[number; 32])
}

#[test]
fn files_of_age_itself_are_opened() {
    let identity = Identity::from_file(AGE_KEY).unwrap();
    assert_eq!(identity.recipient().to_string(), AGE_PUBLIC);
    assert_eq!(AGE_PUBLIC.parse::<Recipient>().unwrap(), identity.recipient());
    assert!(AGE_KEY.contains(identity.to_text().as_str()));
    let keys = [identity];
    let open = |text: &str| age::open(&BASE64.decode(text.as_bytes()).unwrap(), &keys).unwrap();
    assert_eq!(open(AGE_HELLO).as_slice(), b"hello");
    assert!(open(AGE_EMPTY).is_empty());
}

#[test]
fn keys_that_are_none_are_refused() {
    let secret = AGE_KEY.lines().last().unwrap();
    for text in [
        "",
        "age1",
        &AGE_PUBLIC.to_ascii_uppercase()[..40],
        &AGE_PUBLIC.replace("sjjj", "sjjq"),
        &AGE_PUBLIC.replacen("age1", "Age1", 1),
        secret,
    ] {
        assert!(text.parse::<Recipient>().is_err(), "{text}");
    }
    for text in ["", "# nothing", AGE_PUBLIC, &secret[..60], &format!("{secret}\n{secret}")] {
        assert!(Identity::from_file(text).is_err(), "{text}");
    }
    assert!(!format!("{:?}", identity(1)).contains("SECRET"));
}

#[test]
fn everyone_it_is_sealed_to_opens_it_and_nobody_else() {
    let to = [identity(1).recipient(), identity(2).recipient()];
    for length in [0, 1, 65_535, 65_536, 65_537, 131_072] {
        let text = vec![7u8; length];
        let file = age::seal(&text, &to, &[3; 32]).unwrap();
        for number in [1, 2] {
            assert_eq!(*age::open(&file, &[identity(number)]).unwrap(), text, "{length}");
        }
        assert_eq!(age::open(&file, &[identity(3)]), Err(SealError::WrongKey));
        assert_eq!(age::open(&file, &[]), Err(SealError::WrongKey));
    }
    assert_eq!(age::seal(b"x", &[], &[1; 32]), Err(SealError::NoRecipient));
}

#[test]
fn a_members_key_seals_and_opens() {
    let file = age::seal(b"x", &[Recipient::of(key(1).node_id())], &[1; 32]).unwrap();
    assert_eq!(age::open(&file, &[Identity::of(&key(1))]).unwrap().as_slice(), b"x");
    assert!(age::open(&file, &[Identity::of(&key(2))]).is_err());
}

#[test]
fn no_two_seeds_and_no_two_recipients_give_the_same_bytes() {
    let to = [identity(1).recipient(), identity(1).recipient()];
    let files = [[1; 32], [2; 32]].map(|seed| age::seal(b"x", &to, &seed).unwrap());
    assert_ne!(files[0], files[1]);
    let text = String::from_utf8_lossy(&files[0]).into_owned();
    let stanzas: BTreeSet<&str> = text.lines().filter(|line| line.starts_with("-> ")).collect();
    assert_eq!(stanzas.len(), 2);
}

#[test]
fn stanzas_of_other_kinds_are_passed_over_and_are_covered_by_the_mac() {
    let file = age::seal(b"x", &[identity(1).recipient()], &[1; 32]).unwrap();
    let at = file.windows(3).position(|bytes| bytes == b"-> ").unwrap();
    let with = [&file[..at], b"-> grease a b c\nAAAA\n", &file[at..]].concat();
    assert_eq!(age::open(&with, &[identity(1)]), Err(SealError::Altered));
}

#[test]
fn every_flipped_byte_and_every_cut_is_noticed() {
    let text: Vec<u8> = (0..200).collect();
    let file = age::seal(&text, &[identity(1).recipient()], &[1; 32]).unwrap();
    for place in 0..file.len() {
        for bit in [0x01, 0x20, 0x80] {
            let mut altered = file.clone();
            altered[place] ^= bit;
            assert!(age::open(&altered, &[identity(1)]).is_err(), "byte {place} ^ {bit}");
        }
        assert!(age::open(&file[..place], &[identity(1)]).is_err(), "cut at {place}");
    }
    let mut longer = file;
    longer.push(0);
    assert!(age::open(&longer, &[identity(1)]).is_err());
}

#[test]
fn pieces_cannot_be_left_out_or_exchanged() {
    let text: Vec<u8> = (0..200_000u32).map(|number| number.to_le_bytes()[0]).collect();
    let file = age::seal(&text, &[identity(1).recipient()], &[1; 32]).unwrap();
    let end = file.len();
    let last = end - (200_000 - 3 * 65_536) - 16;
    let cut = &file[..last];
    assert!(age::open(cut, &[identity(1)]).is_err(), "the last piece is missing");
    let first = last - 3 * PIECE;
    let mut exchanged = file.clone();
    exchanged[first..first + 2 * PIECE].rotate_left(PIECE);
    assert!(age::open(&exchanged, &[identity(1)]).is_err(), "two pieces were exchanged");
}

#[test]
fn a_value_is_opened_by_its_holders_and_the_recovery_key() {
    let recovery = identity(9);
    let holders = [key(1).node_id(), key(2).node_id()];
    let sealed = |text: &str| {
        let to = [recovery.recipient()];
        secret::seal(text, holders, &to, Timestamp::from_millis(1), &[4; 32]).unwrap()
    };
    let mut value = sealed("s3cret\n");
    assert!(!serde_json::to_string(&value).unwrap().contains("s3cret"));
    for opener in
        [Opener::member(&key(1)), Opener::member(&key(2)), Opener::Recovery(recovery.clone())]
    {
        assert_eq!(opener.open(&value).unwrap().as_str(), "s3cret\n");
    }
    assert_eq!(Opener::member(&key(3)).open(&value), Err(SealError::WrongKey));
    // A newcomer is given the value's key by whoever holds it.
    let value_key = Opener::member(&key(1)).value_key(&value).unwrap();
    let newcomer = key(3).node_id();
    let sealed = secret::seal_key(&value_key, Recipient::of(newcomer), &[5; 32]).unwrap();
    value.keys.insert(newcomer, sealed);
    assert_eq!(Opener::member(&key(3)).open(&value).unwrap().as_str(), "s3cret\n");
    // Another's line under one's own name opens nothing.
    let stolen = value.keys[&key(1).node_id()].clone();
    value.keys.insert(key(4).node_id(), stolen);
    assert_eq!(Opener::member(&key(4)).open(&value), Err(SealError::WrongKey));
    let nobody = secret::seal("x", [], &[], Timestamp::default(), &[6; 32]);
    assert_eq!(nobody, Err(SealError::NoRecipient));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = age::open(&bytes, &[identity(1)]);
        let text = String::from_utf8_lossy(&bytes);
        let _ = text.parse::<Recipient>();
        let _ = Identity::from_file(&text);
        let with_head = [b"age-encryption.org/v1\n-> X25519 ".as_slice(), &bytes].concat();
        let _ = age::open(&with_head, &[identity(1)]);
    }
}

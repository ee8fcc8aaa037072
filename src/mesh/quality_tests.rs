//! One link measured, doubted and trusted again.

use super::*;

fn at(millis: u64) -> Moment {
    Moment::at(Duration::from_millis(millis))
}

fn settings() -> MeshSettings {
    MeshSettings::default()
}

/// A link that answered its first ping after 20 ms.
fn proved() -> Quality {
    let mut quality = Quality::new(at(0), Suspicion::default());
    quality.pinged(1, at(0));
    assert_eq!(quality.ponged(1, at(20), &settings()), Answered::First);
    quality
}

/// Takes an answer. Returns whether the link is advertised anew, where nothing else keeps from that.
fn is_news(quality: &mut Quality, token: u32, now: Moment) -> bool {
    match quality.ponged(token, now, &settings()) {
        Answered::Nothing => false,
        Answered::CostDiffers => quality.tell_cost(now, &settings()),
        Answered::First | Answered::Changed => true,
    }
}

/// Pings whenever that is due until `end`, answered after 20 ms where `answered` says so.
/// Returns how many went.
fn keep_pinging(
    quality: &mut Quality,
    from: Moment,
    end: Moment,
    answered: impl Fn(Moment) -> bool,
) -> u32 {
    let (mut now, mut heard, mut count) = (from, from, 0);
    loop {
        now = quality.ping_due(heard, &settings()).max(now);
        if now >= end {
            return count;
        }
        quality.doubt(now);
        count += 1;
        quality.pinged(count + 1_000, now);
        if answered(now) {
            heard = now + Duration::from_millis(20);
            quality.ponged(count + 1_000, heard, &settings());
        }
    }
}

#[test]
fn pings_follow_silence_and_use() {
    let mut quality = Quality::new(at(0), Suspicion::default());
    assert_eq!(quality.ping_due(at(0), &settings()), at(0));
    quality.pinged(1, at(0));
    assert_eq!(quality.ping_due(at(0), &settings()), at(250));
    quality.ponged(1, at(20), &settings());
    assert_eq!(quality.ping_due(at(20), &settings()), at(820));
    assert_eq!(quality.ping_due(at(7_900), &settings()), at(8_000), "measured now and then");
    assert!(quality.used(at(100)));
    assert!(!quality.used(at(110)));
    assert_eq!(quality.ping_due(at(20), &settings()), at(500));
    quality.pinged(2, at(500));
    quality.ponged(2, at(520), &settings());
    assert!(quality.used(at(2_000)));
    assert_eq!(quality.ping_due(at(1_900), &settings()), at(2_000), "the proof is old");
}

#[test]
fn silence_is_doubted_quickly_and_stubborn_silence_ends_the_link() {
    let mut quality = proved();
    quality.used(at(30));
    keep_pinging(&mut quality, at(30), at(899), |_| false);
    assert_eq!(quality.suspect_since(), None);
    keep_pinging(&mut quality, at(899), at(1_000), |_| false);
    assert_eq!(quality.suspect_since(), Some(at(910)), "proof, wait for the answer, doubt");
    assert!(quality.metric().is_suspect());
    let pings = keep_pinging(&mut quality, at(1_000), at(4_400), |_| false);
    assert!((14..20).contains(&pings), "{pings} pings to the dead");
    assert!(!quality.is_deaf(at(4_400), &settings()));
    assert!(quality.is_deaf(at(4_500), &settings()));
}

#[test]
fn a_few_lost_pings_cast_no_doubt() {
    let mut quality = proved();
    let lost = |now: Moment| now.elapsed().as_millis() % 1_000 >= 350;
    keep_pinging(&mut quality, at(20), at(600_000), lost);
    assert_eq!(quality.suspect_since(), None);
    assert!(!quality.metric().is_suspect());
}

#[test]
fn a_stall_of_this_machine_is_no_silence_of_the_other() {
    let mut quality = proved();
    quality.pinged(2, at(1_000));
    assert!(!quality.doubt(at(60_000)));
}

#[test]
fn trust_returns_later_every_time() {
    let mut quality = proved();
    let mut now = at(30);
    let mut lasted = Vec::new();
    for _ in 0..4 {
        quality.used(now);
        keep_pinging(&mut quality, now, now + Duration::from_secs(2), |_| false);
        let since = quality.suspect_since().unwrap();
        now = now + Duration::from_secs(2);
        while quality.suspect_since().is_some() {
            let next = now + Duration::from_millis(10);
            keep_pinging(&mut quality, now, next, |_| true);
            now = next;
        }
        lasted.push(now.since(since).as_millis());
    }
    assert!(lasted.windows(2).skip(1).all(|pair| pair[1] > pair[0] * 3 / 2), "{lasted:?}");
    assert!(lasted[3] >= 8_000, "{lasted:?}");
}

#[test]
fn a_link_that_came_back_twice_begins_in_doubt() {
    let mut quality = proved();
    let past = |quality: &mut Quality| {
        keep_pinging(quality, at(30), at(4_000), |_| false);
        quality.suspicion()
    };
    let past_one = past(&mut quality);
    let mut second = Quality::new(at(5_000), past_one);
    assert_eq!(second.suspect_since(), None);
    let past_two = past(&mut second);
    assert_eq!(Quality::new(at(9_000), past_two).suspect_since(), Some(at(9_000)));
}

#[test]
fn loss_is_counted_by_gaps() {
    let mut quality = proved();
    let mut tell = |expected: u64, received: u64| {
        quality.counted(expected, received);
        quality.pinged(9, at(1_000));
        quality.ponged(9, at(1_020), &settings());
        quality.loss()
    };
    for round in 0..200 {
        tell(10, if round % 4 == 0 { 6 } else { 10 });
    }
    let loss = tell(0, 0).unwrap();
    assert!((0.07..0.13).contains(&loss), "{loss}");
    // What comes late fills its gap, in whatever heaps it comes.
    let mut highest = 0.0f64;
    for round in 0..400u32 {
        let (expected, received) = if round % 2 == 0 { (40, 30) } else { (40, 50) };
        let loss = tell(expected, received).unwrap();
        if round >= 40 {
            highest = highest.max(loss);
        }
    }
    assert!(highest < 0.05, "{highest}");
    // The highest number a neighbour can claim.
    assert!(tell(u64::MAX, 1).unwrap() <= 1.0);
    assert!(tell(u64::MAX, u64::MAX).unwrap() <= 1.0);
    assert!(tell(40, u64::MAX).unwrap() <= 1.0);
}

#[test]
fn noise_does_not_change_what_is_advertised_and_a_new_path_does() {
    let mut quality = Quality::new(at(0), Suspicion::default());
    let mut measure = |start: u64, rtt: u64| {
        quality.pinged(7, at(start));
        is_news(&mut quality, 7, at(start + rtt))
    };
    assert!(measure(0, 20));
    assert!(!measure(6_000, 40));
    assert!((1u64..40).any(|step| measure(6_000 + step * 1_000, 80)));
    assert!(!is_news(&mut quality, 99, at(0)));
}

#[test]
fn busy_ends_are_none_of_the_links() {
    let mut quality = proved();
    let mut said = 0;
    for step in 1..3_600u64 {
        // One answer in four finds both ends awake, the others wait for a processor.
        let rtt = if step % 4 == 0 { 2 } else { 15 + step * 7_919 % 90 };
        quality.pinged(1, at(step * 1_000));
        said += u32::from(is_news(&mut quality, 1, at(step * 1_000 + rtt)));
    }
    assert!(said <= 2, "said {said} times in an hour");
}

#[test]
fn a_link_that_keeps_changing_says_so_ever_less_often() {
    let mut quality = proved();
    let mut said = 0;
    for second in 1..3_600u64 {
        let rtt = if second / 20 % 2 == 0 { 10 } else { 300 };
        quality.pinged(1, at(second * 1_000));
        said += u32::from(is_news(&mut quality, 1, at(second * 1_000 + rtt)));
    }
    assert!((20..70).contains(&said), "said {said} times in an hour");
}

#[test]
fn a_path_is_longer_once_every_answer_is() {
    let mut quality = proved();
    let mut is_told = |step: u64, rtt: u64| {
        quality.pinged(1, at(step * 1_000));
        is_news(&mut quality, 1, at(step * 1_000 + rtt))
    };
    // One answer in four finds both ends awake; the others wait long, and all alike.
    let busy = (1..400).filter(|step| is_told(*step, if step % 4 == 0 { 19 } else { 400 })).count();
    assert_eq!(busy, 0);
    let believed = (400..500).position(|step| is_told(step, 400));
    assert!(believed.is_some_and(|count| (RECENT - 4..60).contains(&count)), "{believed:?}");
}

#[test]
fn loss_does_not_wait_for_its_turn() {
    let mut quality = proved();
    let changed = (1..40u64).any(|step| {
        quality.counted(20, 15);
        quality.pinged(1, at(step * 1_000));
        let answered = quality.ponged(1, at(step * 1_000 + 20), &settings());
        assert_ne!(answered, Answered::CostDiffers, "step {step}");
        answered == Answered::Changed
    });
    assert!(changed);
}

//! A thousand members for one hour, simulated: the real membership of each and the planner of some, on
//! simulated time and network, while one dies and one comes back every minute (under 60 s).
//!
//! Every core has its share of the members (`share.rs`). What comes out does not depend on how many
//! there are: packets and plans are the same with any number of cores. `-- --minutes N` simulates another
//! time, `-- --threads N` says how many cores work.
//!
//! Facts are left out: a thousand members verify a thousand signatures each, once, and what that
//! takes is known. Their keys are made before the clock runs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement ends where it cannot go on")]

mod share;
mod world;

use std::time::Duration;
use std::time::Instant;

use raptor::model::identity::NodeId;
use raptor::model::identity::SecretKey;
use raptor::model::member::Status;

use world::World;

const MEMBERS: usize = 1_000;
const MINUTES: u64 = 60;
const AIM: Duration = Duration::from_secs(60);

/// Members that plan every minute: those that nobody's change wakes do so every 15 s to 300 s.
const PLANNERS: usize = 20;

/// Keys take milliseconds each, so all cores make them.
fn ids() -> Vec<NodeId> {
    let threads = cores();
    let make = |number: usize| {
        let mut counter = (number as u64) << 32;
        let key = SecretKey::generate(|seed| {
            counter += 1;
            seed[..8].copy_from_slice(&counter.to_le_bytes());
        });
        (number, key.node_id())
    };
    let mut ids: Vec<(usize, NodeId)> = std::thread::scope(|scope| {
        let share = |share| (0..MEMBERS).filter(move |number| number % threads == share);
        let shares: Vec<_> = (0..threads)
            .map(|number| scope.spawn(move || share(number).map(make).collect::<Vec<_>>()))
            .collect();
        shares.into_iter().flat_map(|share| share.join().unwrap()).collect()
    });
    ids.sort_unstable_by_key(|(number, _)| *number);
    ids.into_iter().map(|(_, id)| id).collect()
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The number after `name` on the command line.
fn argument(name: &str) -> Option<u64> {
    let words: Vec<String> = std::env::args().collect();
    let place = words.iter().position(|word| word == name)?;
    words.get(place + 1)?.parse().ok()
}

fn main() {
    let minutes = argument("--minutes").unwrap_or(MINUTES);
    let threads = argument("--threads").and_then(|threads| usize::try_from(threads).ok());
    let threads = threads.map_or_else(cores, |threads| threads.max(1));
    let mut world = World::new(ids(), threads);
    let started = Instant::now();
    let (mut unseen, mut actions, mut first) = (0, 0, Duration::ZERO);
    for minute in 0..minutes {
        let dead = usize::try_from(minute).unwrap() * 7 % MEMBERS;
        world.kill(dead);
        world.run(Duration::from_secs(50));
        // Nobody that lives takes it for alive any more.
        unseen += world.calling(dead, Status::Alive);
        for planner in 0..PLANNERS {
            actions += world.planned((planner * 53 + dead + 1) % MEMBERS);
        }
        world.start(dead);
        world.run(Duration::from_secs(10));
        if minute == 0 {
            first = started.elapsed();
        }
    }
    let took = started.elapsed();
    let aim = match minutes {
        0..MINUTES => "needs an hour",
        _ if took <= AIM => "met",
        _ => "MISSED",
    };
    println!(
        "members/{MEMBERS} for {minutes} simulated minutes on {threads} cores: {took:.1?}, the first \
         {first:.1?}; {} packets, {actions} actions planned, {unseen} wrong views of the dead; aim \
         {AIM:?}: {aim}",
        world.delivered()
    );
}

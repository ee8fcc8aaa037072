//! End to end: the built binary, driven as a user does. `./runtests.sh` runs these; a plain
//! `cargo test` leaves them out.
//!
//! Where a test lives says what it needs, so that `./runtests.sh` can leave it out by name on a
//! computer that lacks it: `hosts` needs Docker, `loopback` needs an sshd, the rest needs nothing.

mod hosts;
mod local;
mod loopback;

//! End to end: the built binary, driven as a user does. `./runtests.sh` runs these; a plain
//! `cargo test` leaves them out.
//!
//! Where a test lives says what it needs, so that `./runtests.sh` can leave it out by name on a
//! computer that lacks it: `hosts` needs Docker, `loopback` needs an sshd, `namespaces` needs root
//! or user namespaces, `secrets` needs age, the rest needs nothing.

mod artefacts;
mod backups;
mod crash;
mod doors;
mod entering;
mod fleet;
mod hooks;
mod hosts;
mod leaving;
mod local;
mod looking;
mod loopback;
mod modules;
mod moto;
mod names;
mod namespaces;
mod refusals;
mod secrets;
mod settings;
mod survivors;
mod terminal;

use serde_json::Value;

/// The text of a JSON string.
fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

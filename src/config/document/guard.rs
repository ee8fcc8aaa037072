//! A wall around the CRDT's decoders.
//!
//! Their input comes signed from an admitted member, but a member may be broken or turned, and the
//! decoders of loro 1.17 panic on some payloads with a sound checksum (found by the fuzz test
//! `no_payload_of_an_admitted_author_panics`). One member must not stop the others' agents.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `work`; a panic in it becomes an error that says so. What `work` changed must be thrown
/// away then.
pub(super) fn guard<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        format!("its content breaks the decoder ({})", panic_message(payload.as_ref()))
    })
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    text.chars().take(200).collect()
}

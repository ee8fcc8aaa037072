//! Why something failed, out of the layers of an error.

use std::error::Error;

/// The innermost cause: of a library whose outer layers repeat what was asked.
#[must_use]
pub fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

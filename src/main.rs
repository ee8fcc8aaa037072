//! The `raptor` program.

fn main() {}

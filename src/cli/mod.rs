//! Floor 5: one file per command. The only room that prints.

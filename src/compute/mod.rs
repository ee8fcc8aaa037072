//! Floor 1: where machines come from. One file per back-end.

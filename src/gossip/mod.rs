//! Floor 1: who is there. Sans-I/O membership and facts.

//! Floor 1: what must be done to the world for a wish to come true, as a plan. Pure: one file for
//! each wish, each a function of the wish and the [`world::World`] as it is known.

pub mod destroy;
pub mod evict;
pub mod fleet;
mod names;
pub mod prune;
pub mod resolve;
pub mod sealing;
pub mod slave;
pub mod spawn;
pub mod world;

#[cfg(test)]
mod tests;

//! What goes wrong between a client and a provider, drawn from a seed.

use std::time::Duration;

/// A fault of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Too many requests: nothing is done.
    Limited,
    /// The provider fails before it does anything.
    BrokenBefore,
    /// The provider does it and then fails.
    BrokenAfter,
    /// The provider does nothing and never answers.
    SilentBefore,
    /// The provider does it and never answers.
    SilentAfter,
    /// The account may not have more (creates alone).
    Quota,
    /// The size is not to be had (creates alone).
    SoldOut,
}

/// The faults to come.
#[derive(Debug, Clone)]
pub struct Weather {
    state: u64,
    /// Faults in a thousand requests.
    per_mille: u64,
    /// After so many it is fair: every schedule comes to an end.
    left: u32,
    /// The most that a list, a look by id and a boot lag behind.
    lag_max: Duration,
}

impl Weather {
    /// Nothing goes wrong and nothing lags.
    pub fn fair() -> Self {
        Self { state: 1, per_mille: 0, left: 0, lag_max: Duration::ZERO }
    }

    /// Every third request goes wrong, for a while; all lags by up to `lag_max`.
    pub fn rough(seed: u64, lag_max: Duration) -> Self {
        Self { state: seed, per_mille: 330, left: 14, lag_max }
    }

    /// A number below `bound`. SplitMix64 (Steele, Lea, Flood 2014).
    pub fn draw(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// What goes wrong with the next request.
    pub fn fault(&mut self, is_create: bool) -> Option<Fault> {
        if self.left == 0 || self.draw(1000) >= self.per_mille {
            return None;
        }
        self.left -= 1;
        Some(match self.draw(if is_create { 12 } else { 7 }) {
            0 | 1 => Fault::Limited,
            2 => Fault::BrokenBefore,
            3 | 4 | 8 | 9 => Fault::BrokenAfter,
            5 => Fault::SilentBefore,
            6 | 7 => Fault::SilentAfter,
            10 => Fault::Quota,
            _ => Fault::SoldOut,
        })
    }

    /// How far the next thing lags behind.
    pub fn lag(&mut self) -> Duration {
        let most = u64::try_from(self.lag_max.as_millis()).unwrap();
        Duration::from_millis(if most == 0 { 0 } else { self.draw(most + 1) })
    }
}

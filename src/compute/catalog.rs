//! What a back-end has to offer: sizes with their prices, places, images.

use serde::Deserialize;
use serde::Serialize;

/// All that a back-end offers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Catalog {
    /// Places, as `region` takes them.
    pub regions: Vec<Offer>,
    /// Sizes, as `size` takes them.
    pub sizes: Vec<Size>,
    /// Images, as `image` takes them.
    pub images: Vec<Offer>,
}

/// A place or an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Offer {
    /// What the configuration calls it.
    pub name: String,
    /// What it is, for people.
    #[serde(default)]
    pub description: String,
}

/// A size of machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Size {
    /// What the configuration calls it.
    pub name: String,
    /// Processors.
    pub processors: u64,
    /// Memory in MiB.
    pub memory_mb: u64,
    /// Disk in GB; 0 when it has none of its own.
    #[serde(default)]
    pub disk_gb: u64,
    /// What it costs, where the provider says so.
    #[serde(default)]
    pub price: Option<Price>,
}

/// A price for one month, before taxes where the provider gives that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// The amount.
    pub monthly: f64,
    /// The currency's code, such as `USD`.
    pub currency: String,
}

impl Catalog {
    /// Puts everything into the order in which people look for it.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.regions.sort();
        self.images.sort();
        self.sizes.sort_by(|left, right| {
            let monthly = |size: &Size| size.price.as_ref().map_or(f64::MAX, |price| price.monthly);
            monthly(left).total_cmp(&monthly(right)).then_with(|| left.name.cmp(&right.name))
        });
        self
    }
}

//! What machines are to become: options that `spawn` and `slave` share.

use clap::Args;

use crate::model::label::Label;
use crate::model::label::Labels;

/// What machines are to become.
#[derive(Debug, Args)]
pub struct OutfitArguments {
    /// What the machines will be [default: default_server_type of the configuration]
    #[arg(long, value_name = "S")]
    pub server_type: Option<String>,

    /// A label to put on each machine; may be repeated
    #[arg(long = "label", value_name = "K=V")]
    pub labels: Vec<Label>,

    /// Run no provisioning
    #[arg(long)]
    pub no_provision: bool,

    /// Do not make them members
    #[arg(long)]
    pub no_join: bool,
}

impl OutfitArguments {
    /// The labels by their keys; of two values the later one holds.
    #[must_use]
    pub fn labels(&self) -> Labels {
        self.labels.iter().map(|label| (label.key.clone(), label.value.clone())).collect()
    }
}

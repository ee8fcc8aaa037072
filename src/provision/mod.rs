//! Floor 2: server type -> steps (pure); steps -> Host.

//! How long work tells what it is doing, without knowing a screen.

/// Receives the stages of long work. Implemented by the command line (one line a machine), and by
/// tests as a recorder.
pub trait Progress: Send + Sync {
    /// `machine` has begun `stage`: a few words such as `copying raptor`.
    fn stage(&self, machine: &str, stage: &str);
    /// `machine` is done; `summary` says what it became.
    fn done(&self, machine: &str, summary: &str);
    /// `machine` failed; the whole error follows in the report.
    fn failed(&self, machine: &str, summary: &str);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn stage(&self, _machine: &str, _stage: &str) {}
    fn done(&self, _machine: &str, _summary: &str) {}
    fn failed(&self, _machine: &str, _summary: &str) {}
}

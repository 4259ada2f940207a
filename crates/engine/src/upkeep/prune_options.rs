//! The options of pruning.

/// Options of pruning.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PruneOptions {
    /// Days for which images without a tag, uploaded files and records of operations must be unused
    /// to be removed.
    pub older_than_days: u32,
    /// Only report, and remove nothing.
    pub dry_run: bool,
    /// Also remove layers that have no record. They are all that is left of their images if the
    /// database was lost.
    pub unrecorded_layers: bool,
}

impl PruneOptions {
    /// Options to remove data that was unused for `older_than_days` days.
    #[must_use]
    pub fn new(older_than_days: u32) -> Self {
        Self {
            older_than_days,
            dry_run: false,
            unrecorded_layers: false,
        }
    }
}

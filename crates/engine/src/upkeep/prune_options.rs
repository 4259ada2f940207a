//! The options of pruning.

use std::time::Duration;

use crate::rows::clock::DAY;

/// How long new data is kept, whatever the options say. A client may be about to use it.
const MIN_AGE: Duration = Duration::from_secs(60);

/// Options of pruning.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PruneOptions {
    /// Days for which images without a tag, uploaded files and records of operations must be unused
    /// to be removed.
    pub older_than_days: u32,
    /// How long new data is kept, even if `older_than_days` is 0. The default is one minute.
    pub min_age: Duration,
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
            min_age: MIN_AGE,
            dry_run: false,
            unrecorded_layers: false,
        }
    }

    /// How long removed data was unused, in microseconds.
    pub(super) fn min_age_micros(&self) -> i64 {
        let days = i64::from(self.older_than_days).saturating_mul(DAY);
        days.max(i64::try_from(self.min_age.as_micros()).unwrap_or(i64::MAX))
    }
}

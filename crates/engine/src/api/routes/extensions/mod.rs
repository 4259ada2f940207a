//! Routes that the embedded engine has beyond the Contree API, with one file for each.

mod delete;
mod diff;
mod log;
mod output;
mod snapshot;

pub(super) use delete::delete;
pub(super) use diff::diff;
pub(super) use log::log;
pub(super) use output::output;
pub(super) use snapshot::snapshot;

/// The names of the extensions, as `whoami` lists them.
pub(super) const NAMES: [&str; 8] = [
    "delete", "diff", "limits", "live", "log", "network", "output", "snapshot",
];

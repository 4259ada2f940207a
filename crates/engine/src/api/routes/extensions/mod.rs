//! Routes that the embedded engine has beyond the Contree API, with one file for each.

mod delete;
mod diff;
mod log;
mod output;
mod push;
mod snapshot;

pub(super) use delete::delete;
pub(super) use diff::diff;
pub(super) use log::log;
pub(super) use output::output;
pub(super) use push::push;
pub(super) use snapshot::snapshot;

/// The names of the extensions, as `whoami` lists them.
///
/// `files` has no route: it is the fields of `files` in a run's request that begin with `x-`.
pub(super) const NAMES: [&str; 10] = [
    "delete", "diff", "files", "limits", "live", "log", "network", "output", "push", "snapshot",
];

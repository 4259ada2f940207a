//! Routes that the embedded engine has beyond the Contree API, with one file for each.

mod delete;
mod diff;
mod log;

pub(super) use delete::delete;
pub(super) use diff::diff;
pub(super) use log::log;

/// The names of the extensions, as `whoami` lists them.
///
/// `files` has no route: it is the fields of `files` in a run's request that begin with `x-`.
pub(super) const NAMES: [&str; 4] = ["delete", "diff", "files", "log"];

//! Routes that the embedded engine has beyond the Contree API, with one file for each.

mod delete;
mod diff;
mod log;
mod push;

pub(super) use delete::delete;
pub(super) use diff::diff;
pub(super) use log::log;
pub(super) use push::push;

/// The names of the extensions, as `whoami` lists them.
pub(super) const NAMES: [&str; 4] = ["delete", "diff", "log", "push"];

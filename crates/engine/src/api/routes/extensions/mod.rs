//! Routes that the embedded engine has beyond the Contree API, with one file for each.

mod delete;
mod diff;
mod log;
mod output;
mod ports;
mod push;
mod snapshot;
mod terminal;

pub(super) use delete::delete;
pub(super) use diff::diff;
pub(super) use log::log;
pub(super) use output::output;
pub(super) use ports::{list_ports, publish_port};
pub(super) use push::push;
pub(super) use snapshot::snapshot;
pub(super) use terminal::{resize_terminal, terminal_output};

/// The names of the extensions, as `whoami` lists them.
///
/// `codes` and `files` have no routes: they are fields that begin with `x-`, of errors and of
/// `files` in a run's request.
pub(super) const NAMES: [&str; 13] = [
    "codes", "delete", "diff", "files", "limits", "live", "log", "network", "output", "ports",
    "push", "snapshot", "terminal",
];

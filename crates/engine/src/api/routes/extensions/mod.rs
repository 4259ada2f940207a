//! Routes that the embedded engine has beyond the Contree API, with one file for each.

mod delete;
mod diff;
mod log;
mod ports;
mod terminal;

pub(super) use delete::delete;
pub(super) use diff::diff;
pub(super) use log::log;
pub(super) use ports::{list_ports, publish_port};
pub(super) use terminal::{resize_terminal, terminal_output};

/// The names of the extensions, as `whoami` lists them.
pub(super) const NAMES: [&str; 5] = ["delete", "diff", "log", "ports", "terminal"];

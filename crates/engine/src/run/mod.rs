//! Running commands in sandboxes: processes, their streams, and committing the result.

pub(crate) mod commit;
pub(crate) mod diagnostics;
pub(crate) mod ending;
mod hints;
mod host_names;
pub(crate) mod live_output;
pub(crate) mod runner;
pub(crate) mod running_sandbox;
pub(crate) mod signals;
pub(crate) mod snapshot;
pub(crate) mod streams;
pub(crate) mod terminal;

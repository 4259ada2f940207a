//! Running commands in sandboxes: processes, their streams, and the image that a run leaves.

pub(crate) mod commit;
pub(crate) mod diagnostics;
pub(crate) mod ending;
pub(crate) mod instance;
pub(crate) mod runner;
pub(crate) mod signals;
pub(crate) mod streams;

//! The event log of an operation: a file with one JSON line for each event.
//!
//! The owner appends lines while the operation runs, and the file stays afterwards. The last event
//! is the completion event. A line without its newline is not an event: its writer was killed.
//!
//! A follower reads the file. In the owner's process a [`tokio::sync::watch`] channel announces
//! growth; in another process the follower reads the file again every [`POLL`].

mod line;
mod log;
mod process;
mod reader;

use std::time::Duration;

pub(crate) use line::{EventLine, stream, timestamp, unrecorded_input};
pub(crate) use log::{EventLog, complete_abandoned};
pub(crate) use process::{RecordedProcess, read_process};
pub(crate) use reader::EventReader;

/// How often a follower reads the log of another process's operation.
pub(crate) const POLL: Duration = Duration::from_millis(100);

/// The `spid` of events of the engine itself.
pub(crate) const SYSTEM: u64 = 0;

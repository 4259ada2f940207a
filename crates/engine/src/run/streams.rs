//! A process's standard streams: writing its input, and recording and keeping its output.

mod input;
mod output;

use crate::api::types::{EventDataTruncated, EventDataTruncatedStream, OperationEventType};
use crate::operation::events::EventLog;

pub(crate) use input::{InputSink, ProcessInput};
pub(crate) use output::{record_output, record_terminal};

/// Logs how much of a stream is missing from the log, if anything is.
fn append_truncated(
    log: &EventLog,
    spid: u64,
    stream: EventDataTruncatedStream,
    emitted: u64,
    dropped: u64,
) {
    if dropped > 0 {
        let data = EventDataTruncated {
            stream,
            bytes_emitted: emitted,
            bytes_dropped: dropped,
        };
        log.append(spid, OperationEventType::Truncated, data);
    }
}

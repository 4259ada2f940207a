//! A process as the event log records it.

use std::io;
use std::path::Path;

use serde_json::Value;

use super::EventReader;
use super::line::stream_bytes;

/// A process with the output and the exit that the log has of it.
#[derive(Default)]
pub(crate) struct RecordedProcess {
    /// Its process id in the sandbox, if it was started.
    pub(crate) pid: Option<i64>,
    /// The data of its exit event, if it has ended.
    pub(crate) exit: Option<Value>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) stdout_truncated: bool,
    pub(crate) stderr_truncated: bool,
    /// The bytes of each stream that the log lacks, once the process has ended.
    pub(crate) stdout_dropped: u64,
    pub(crate) stderr_dropped: u64,
}

impl RecordedProcess {
    /// Notes that the log lacks bytes of a stream.
    fn add_truncation(&mut self, data: &Value) {
        let dropped = data.get("bytes_dropped").and_then(Value::as_u64);
        let dropped = dropped.unwrap_or_default();
        match data.get("stream").and_then(Value::as_str) {
            Some("stdout") => {
                self.stdout_truncated = true;
                self.stdout_dropped += dropped;
            }
            Some("stderr") => {
                self.stderr_truncated = true;
                self.stderr_dropped += dropped;
            }
            _ => {}
        }
    }
}

/// Collects the events of one process from a log.
pub(crate) fn read_process(path: &Path, spid: u64) -> io::Result<RecordedProcess> {
    let mut reader = EventReader::open(path)?;
    let mut process = RecordedProcess::default();
    loop {
        let events = reader.next()?;
        if events.is_empty() {
            return Ok(process);
        }
        for event in events.into_iter().filter(|event| event.spid == spid) {
            match event.kind.as_str() {
                "stdout" => process
                    .stdout
                    .extend(stream_bytes(&event.data()).unwrap_or_default()),
                "stderr" => process
                    .stderr
                    .extend(stream_bytes(&event.data()).unwrap_or_default()),
                "spawn" => process.pid = event.data().get("pid").and_then(Value::as_i64),
                "exit" => process.exit = Some(event.data()),
                "truncated" => process.add_truncation(&event.data()),
                _ => {}
            }
        }
    }
}

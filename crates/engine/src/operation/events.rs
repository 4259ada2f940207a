//! The log of an operation: one JSON line an event, appended while it runs and kept after it.
//!
//! A log is followed by reading its file; a [`watch`] channel tells followers in this process that it grew. Followers of
//! another process's operation look at the file again every [`POLL`]. A line without its newline was cut by the end of
//! the process that wrote it and is not an event.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::api::types::{EventDataStream, StreamEncoding};
pub(crate) use crate::api::types::{OperationEvent, OperationEventType};

/// How often the log of another process's operation is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(100);

/// How much of a log is read at once.
const CHUNK: usize = 256 * 1024;

/// A line of the log. Ids count from 1, without gaps; `spid` is 0 for the engine, 1 for the main process.
impl OperationEvent {
    /// An event of now.
    pub(crate) fn now(id: u64, spid: u64, kind: OperationEventType, data: Value) -> Self {
        Self {
            id,
            ts: timestamp(Utc::now()),
            spid: Some(spid),
            r#type: kind.as_str().to_owned(),
            data,
        }
    }

    /// Whether this is the last event of its log.
    pub(crate) fn is_completion(&self) -> bool {
        self.r#type == OperationEventType::Completion.as_str()
    }
}

/// A time as the API writes it: RFC 3339 in UTC, with microseconds.
pub(crate) fn timestamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Bytes as text if they are ASCII, else in base64.
pub(crate) fn stream(bytes: &[u8]) -> EventDataStream {
    let (value, encoding) = match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => (text.to_owned(), StreamEncoding::Ascii),
        _ => (STANDARD.encode(bytes), StreamEncoding::Base64),
    };
    EventDataStream {
        value,
        encoding,
        truncated: None,
    }
}

/// The bytes of a `StreamRepr`; none if it is not one.
pub(crate) fn stream_bytes(data: &Value) -> Option<Vec<u8>> {
    let value = data.get("value")?.as_str()?;
    match data.get("encoding").and_then(Value::as_str) {
        Some("base64") => STANDARD.decode(value).ok(),
        _ => Some(value.as_bytes().to_vec()),
    }
}

/// The writing end of a log.
pub(crate) struct Log {
    path: PathBuf,
    end: Mutex<End>,
    grown: watch::Sender<bool>,
}

struct End {
    file: File,
    /// How many events there are, which is the last one's id.
    events: u64,
    /// How long they are, in bytes.
    length: u64,
}

impl Log {
    /// Begins a new log.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        Ok(Self {
            path: path.to_owned(),
            end: Mutex::new(End {
                file,
                events: 0,
                length: 0,
            }),
            grown: watch::Sender::new(false),
        })
    }

    /// Appends an event. A full disk must not end a sandbox: then the event is lost as a whole, and the answer false.
    pub(crate) fn append(&self, spid: u64, kind: OperationEventType, data: impl Serialize) -> bool {
        let data = serde_json::to_value(data).unwrap_or_default();
        let mut guard = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let End {
            file,
            events,
            length,
        } = &mut *guard;
        let record = OperationEvent::now(*events + 1, spid, kind, data);
        let mut line = serde_json::to_vec(&record).unwrap_or_default();
        line.push(b'\n');
        let written = file.write_all(&line);
        match &written {
            Ok(()) => {
                *events += 1;
                *length += line.len() as u64;
            }
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "cannot append to an operation's log");
                // Half a line would take the next event with it.
                let _ = file.set_len(*length);
            }
        }
        drop(guard);
        self.grown.send_modify(|_| {});
        written.is_ok()
    }

    /// Says that no event will follow.
    pub(crate) fn close(&self) {
        self.grown.send_replace(true);
    }

    /// Tells of growth; the value is whether the log is complete.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.grown.subscribe()
    }
}

/// The reading end of a log.
pub(crate) struct Reader {
    file: Option<File>,
    /// Where the first line begins that was not read whole.
    position: u64,
}

impl Reader {
    /// A reader from the beginning. A log that is not there is empty.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = match File::open(path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self { file, position: 0 })
    }

    /// The next complete events, none if the log has not grown. Reads a bounded amount.
    pub(crate) fn next(&mut self) -> io::Result<Vec<OperationEvent>> {
        let Some(file) = &mut self.file else {
            return Ok(Vec::new());
        };
        // The half of a line is read again the next time: it may be cut off, and be followed by another line.
        file.seek(SeekFrom::Start(self.position))?;
        let (mut lines, mut buffer) = (Vec::new(), vec![0; CHUNK]);
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(Vec::new());
            }
            let before = lines.len();
            lines.extend_from_slice(&buffer[..read]);
            let Some(end) = buffer[..read].iter().rposition(|byte| *byte == b'\n') else {
                continue;
            };
            let whole = before + end + 1;
            self.position += whole as u64;
            let records: Vec<OperationEvent> = lines[..whole]
                .split(|byte| *byte == b'\n')
                .filter_map(|line| serde_json::from_slice(line).ok())
                .collect();
            if !records.is_empty() {
                return Ok(records);
            }
            lines.drain(..whole);
        }
    }
}

/// A process, as far as the log has it.
#[derive(Default)]
pub(crate) struct Folded {
    /// Its process id inside, if it was started.
    pub(crate) pid: Option<i64>,
    /// The data of its exit, if it has ended.
    pub(crate) exit: Option<Value>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) stdout_truncated: bool,
    pub(crate) stderr_truncated: bool,
}

/// Folds a log into one process.
pub(crate) fn fold(path: &Path, spid: u64) -> io::Result<Folded> {
    let mut reader = Reader::open(path)?;
    let mut folded = Folded::default();
    loop {
        let records = reader.next()?;
        if records.is_empty() {
            return Ok(folded);
        }
        for record in records
            .into_iter()
            .filter(|record| record.spid == Some(spid))
        {
            match record.r#type.as_str() {
                "stdout" => folded
                    .stdout
                    .extend(stream_bytes(&record.data).unwrap_or_default()),
                "stderr" => folded
                    .stderr
                    .extend(stream_bytes(&record.data).unwrap_or_default()),
                "spawn" => folded.pid = record.data.get("pid").and_then(Value::as_i64),
                "exit" => folded.exit = Some(record.data),
                "truncated" => match record.data.get("stream").and_then(Value::as_str) {
                    Some("stdout") => folded.stdout_truncated = true,
                    Some("stderr") => folded.stderr_truncated = true,
                    _ => {}
                },
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    #[test]
    fn what_is_appended_is_read_in_order() {
        let folder = folder();
        let path = folder.path().join("log");
        let log = Log::create(&path).expect("create");
        let mut reader = Reader::open(&path).expect("open");
        assert!(reader.next().expect("read").is_empty());
        log.append(1, OperationEventType::Stdout, stream(b"one"));
        log.append(1, OperationEventType::Stdout, stream(&[0xff, b'\n']));
        let ids: Vec<u64> = reader.next().expect("read").iter().map(|r| r.id).collect();
        assert_eq!(ids, [1, 2]);
        log.append(0, OperationEventType::Completion, serde_json::json!({}));
        assert!(reader.next().expect("read")[0].is_completion());
        assert_eq!(fold(&path, 1).expect("fold").stdout, b"one\xff\n");
    }

    #[test]
    fn a_cut_line_is_no_event() {
        let folder = folder();
        let path = folder.path().join("log");
        let log = Log::create(&path).expect("create");
        log.append(1, OperationEventType::Stdout, stream(b"whole"));
        let mut text = std::fs::read(&path).expect("read");
        text.extend_from_slice(br#"{"id":2,"ts":"","spid":1,"type":"std"#);
        std::fs::write(&path, text).expect("write");
        let mut reader = Reader::open(&path).expect("open");
        assert_eq!(reader.next().expect("read").len(), 1);
        assert!(reader.next().expect("read").is_empty());
    }

    #[test]
    fn what_a_full_disk_refuses_takes_nothing_else_with_it() {
        let folder = folder();
        let path = folder.path().join("log");
        let log = Log::create(&path).expect("create");
        assert!(log.append(1, OperationEventType::Stdout, stream(b"one")));
        let writable = {
            // A file that cannot be written stands for a disk that takes no more.
            let mut end = log.end.lock().expect("lock");
            std::mem::replace(&mut end.file, File::open(&path).expect("open"))
        };
        assert!(!log.append(1, OperationEventType::Stdout, stream(b"lost")));
        log.end.lock().expect("lock").file = writable;
        assert!(log.append(1, OperationEventType::Stdout, stream(b"two")));
        let mut reader = Reader::open(&path).expect("open");
        let ids: Vec<u64> = reader.next().expect("read").iter().map(|r| r.id).collect();
        assert_eq!(ids, [1, 2]);
        assert_eq!(fold(&path, 1).expect("fold").stdout, b"onetwo");
    }

    #[test]
    fn a_half_line_that_is_cut_off_again_hides_nothing() {
        let folder = folder();
        let path = folder.path().join("log");
        let log = Log::create(&path).expect("create");
        log.append(1, OperationEventType::Stdout, stream(b"one"));
        let mut reader = Reader::open(&path).expect("open");
        assert_eq!(reader.next().expect("read").len(), 1);
        // Shorter than what follows in its place, and longer.
        for (half, id) in [(10, 2), (1000, 3)] {
            let mut end = OpenOptions::new().append(true).open(&path).expect("open");
            end.write_all(&vec![b'x'; half]).expect("write");
            assert!(reader.next().expect("read").is_empty());
            log.end
                .lock()
                .expect("lock")
                .file
                .set_len(reader.position)
                .expect("cut");
            log.append(1, OperationEventType::Stdout, stream(b"more"));
            let next = reader.next().expect("read");
            assert_eq!((next.len(), next[0].id), (1, id), "after {half} bytes");
        }
        assert_eq!(fold(&path, 1).expect("fold").stdout, b"onemoremore");
    }

    #[test]
    fn an_event_larger_than_a_read_is_whole() {
        let folder = folder();
        let path = folder.path().join("log");
        let log = Log::create(&path).expect("create");
        log.append(
            1,
            OperationEventType::Stderr,
            stream(&vec![b'x'; CHUNK * 3]),
        );
        assert_eq!(fold(&path, 1).expect("fold").stderr.len(), CHUNK * 3);
    }

    #[test]
    fn streams_survive_the_trip() {
        for bytes in [&b"plain"[..], "ä".as_bytes(), &[0, 255, 10], b""] {
            assert_eq!(
                stream_bytes(&serde_json::json!(stream(bytes))).expect("bytes"),
                bytes
            );
        }
    }
}

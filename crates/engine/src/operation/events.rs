//! The log of an operation: one JSON line an event, appended while it runs and kept after it.
//!
//! A log is followed by reading its file; a [`watch`] channel tells followers in this process that it grew. Followers of
//! another process's operation look at the file again every [`POLL`]. A line without its newline was cut by the end of
//! the process that wrote it and is not an event. The last event is the completion; nothing follows it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use crate::api::types::{EventDataStream, OperationEvent, OperationEventType, StreamEncoding};

/// How often the log of another process's operation is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(100);

/// How much of a log is read at once.
const CHUNK: usize = 256 * 1024;

/// The engine itself, as the events' `spid`.
pub(crate) const SYSTEM: u64 = 0;

/// An event as it stands in the log, and what it is chosen by.
#[derive(Clone, Debug)]
pub(crate) struct EventLine {
    pub(crate) id: u64,
    pub(crate) spid: u64,
    pub(crate) kind: String,
    text: String,
}

impl EventLine {
    /// The line of a new event.
    fn new(
        id: u64,
        at: DateTime<Utc>,
        spid: u64,
        kind: OperationEventType,
        data: &impl Serialize,
    ) -> Self {
        // Ids count from 1, without gaps. `spid` is 0 for the engine, and 1 for the main process.
        let event = OperationEvent {
            id,
            ts: timestamp(at),
            spid: Some(spid),
            r#type: kind.as_str().to_owned(),
            data: serde_json::to_value(data).unwrap_or_default(),
        };
        Self {
            id,
            spid,
            kind: kind.as_str().to_owned(),
            text: serde_json::to_string(&event).unwrap_or_default(),
        }
    }

    /// The completion that an engine owed, for a log that takes no line any more.
    pub(crate) fn completion(id: u64, at: DateTime<Utc>, data: &impl Serialize) -> Self {
        Self::new(id, at, SYSTEM, OperationEventType::Completion, data)
    }

    /// Reads a line of a log, without its newline. `None` if it is no event.
    fn read(line: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Head {
            id: u64,
            spid: u64,
            #[serde(rename = "type")]
            kind: String,
            #[serde(rename = "ts")]
            _ts: IgnoredAny,
            #[serde(rename = "data")]
            _data: IgnoredAny,
        }
        let text = std::str::from_utf8(line).ok()?;
        let head: Head = serde_json::from_str(text).ok()?;
        Some(Self {
            id: head.id,
            spid: head.spid,
            kind: head.kind,
            text: text.to_owned(),
        })
    }

    /// The line as it stands in the log, without its newline.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What the event tells.
    pub(crate) fn data(&self) -> Value {
        #[derive(Deserialize)]
        struct Data {
            data: Value,
        }
        serde_json::from_str::<Data>(&self.text).map_or(Value::Null, |event| event.data)
    }

    /// Whether this is the last event of its log.
    pub(crate) fn is_completion(&self) -> bool {
        self.kind == OperationEventType::Completion.as_str()
    }

    fn with_newline(&self) -> Vec<u8> {
        [self.text.as_bytes(), b"\n"].concat()
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

/// The writing end of a log. Only the engine that runs the operation has it.
pub(crate) struct EventLog {
    path: PathBuf,
    end: Mutex<LogEnd>,
    grown: watch::Sender<bool>,
}

/// Where the next event goes.
struct LogEnd {
    file: File,
    /// How many events there are, which is the last one's id.
    events: u64,
    /// How long they are, in bytes.
    length: u64,
    /// Whether the completion had its turn.
    complete: bool,
}

impl EventLog {
    /// Begins a new log.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        Ok(Self {
            path: path.to_owned(),
            end: Mutex::new(LogEnd {
                file,
                events: 0,
                length: 0,
                complete: false,
            }),
            grown: watch::Sender::new(false),
        })
    }

    /// Appends an event of now. A full disk must not end a sandbox: then the event is lost as a whole, and the answer false.
    pub(crate) fn append(&self, spid: u64, kind: OperationEventType, data: impl Serialize) -> bool {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        // Streams that outlive their sandbox have nothing more to say.
        let written = !end.complete && self.write(&mut end, Utc::now(), spid, kind, &data);
        drop(end);
        self.grown.send_modify(|_| {});
        written
    }

    /// Appends the last event, which happened at `at`. Nothing is appended after it, even if it was lost.
    pub(crate) fn complete(&self, at: DateTime<Utc>, data: &impl Serialize) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        if !end.complete {
            self.write(&mut end, at, SYSTEM, OperationEventType::Completion, data);
            end.complete = true;
        }
        drop(end);
        self.grown.send_replace(true);
    }

    fn write(
        &self,
        end: &mut LogEnd,
        at: DateTime<Utc>,
        spid: u64,
        kind: OperationEventType,
        data: &impl Serialize,
    ) -> bool {
        let line = EventLine::new(end.events + 1, at, spid, kind, data).with_newline();
        match end.file.write_all(&line) {
            Ok(()) => {
                end.events += 1;
                end.length += line.len() as u64;
                true
            }
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "cannot append to an operation's log");
                // Half a line would take the next event with it.
                let _ = end.file.set_len(end.length);
                false
            }
        }
    }

    /// Tells of growth; the value is whether the log is complete.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.grown.subscribe()
    }
}

/// Appends the completion to a log that nobody writes to any more, if it has none. Several engines may try at once: one of
/// them writes, and the others find what it wrote. A log that is not there stays so.
pub(crate) fn complete_abandoned(
    path: &Path,
    at: DateTime<Utc>,
    data: &impl Serialize,
) -> io::Result<()> {
    let mut file = match OpenOptions::new().read(true).append(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    file.lock()?;
    let mut reader = EventReader::new(Some(file.try_clone()?));
    let mut last = 0;
    loop {
        let lines = reader.next()?;
        if lines.iter().any(EventLine::is_completion) {
            return Ok(());
        }
        match lines.last() {
            None => break,
            Some(line) => last = line.id,
        }
    }
    // Half a line may stand there, where the engine was killed.
    file.set_len(reader.position)?;
    let line = EventLine::completion(last + 1, at, data).with_newline();
    file.write_all(&line).inspect_err(|_| {
        let _ = file.set_len(reader.position);
    })
}

/// The reading end of a log.
pub(crate) struct EventReader {
    file: Option<File>,
    /// Where the first line begins that was not read whole.
    position: u64,
}

impl EventReader {
    /// A reader from the beginning. A log that is not there is empty.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = match File::open(path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self::new(file))
    }

    fn new(file: Option<File>) -> Self {
        Self { file, position: 0 }
    }

    /// The next complete events, none if the log has not grown. Reads a bounded amount.
    pub(crate) fn next(&mut self) -> io::Result<Vec<EventLine>> {
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
            let records: Vec<EventLine> = lines[..whole]
                .split(|byte| *byte == b'\n')
                .filter_map(EventLine::read)
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
    let mut reader = EventReader::open(path)?;
    let mut folded = Folded::default();
    loop {
        let records = reader.next()?;
        if records.is_empty() {
            return Ok(folded);
        }
        for record in records.into_iter().filter(|record| record.spid == spid) {
            match record.kind.as_str() {
                "stdout" => folded
                    .stdout
                    .extend(stream_bytes(&record.data()).unwrap_or_default()),
                "stderr" => folded
                    .stderr
                    .extend(stream_bytes(&record.data()).unwrap_or_default()),
                "spawn" => folded.pid = record.data().get("pid").and_then(Value::as_i64),
                "exit" => folded.exit = Some(record.data()),
                "truncated" => match record.data().get("stream").and_then(Value::as_str) {
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
        let log = EventLog::create(&path).expect("create");
        let mut reader = EventReader::open(&path).expect("open");
        assert!(reader.next().expect("read").is_empty());
        log.append(1, OperationEventType::Stdout, stream(b"one"));
        log.append(1, OperationEventType::Stdout, stream(&[0xff, b'\n']));
        let ids: Vec<u64> = reader.next().expect("read").iter().map(|r| r.id).collect();
        assert_eq!(ids, [1, 2]);
        log.complete(Utc::now(), &serde_json::json!({}));
        assert!(reader.next().expect("read")[0].is_completion());
        assert_eq!(fold(&path, 1).expect("fold").stdout, b"one\xff\n");
    }

    #[test]
    fn nothing_follows_the_completion() {
        let folder = folder();
        let path = folder.path().join("log");
        let log = EventLog::create(&path).expect("create");
        let mut grown = log.watch();
        log.append(1, OperationEventType::Stdout, stream(b"one"));
        assert!(!*grown.borrow_and_update());
        log.complete(Utc::now(), &serde_json::json!({"status": "SUCCESS"}));
        assert!(*grown.borrow_and_update());
        let whole = std::fs::read(&path).expect("read");
        assert!(!log.append(1, OperationEventType::Stdout, stream(b"late")));
        log.complete(Utc::now(), &serde_json::json!({"status": "FAILED"}));
        complete_abandoned(&path, Utc::now(), &serde_json::json!({"status": "FAILED"}))
            .expect("complete");
        assert_eq!(std::fs::read(&path).expect("read"), whole);
    }

    #[test]
    fn of_several_that_complete_an_abandoned_log_one_writes() {
        let folder = folder();
        let path = folder.path().join("log");
        let log = EventLog::create(&path).expect("create");
        log.append(1, OperationEventType::Stdout, stream(b"one"));
        drop(log);
        let half = OpenOptions::new().append(true).open(&path);
        half.expect("open").write_all(b"{\"id\":").expect("write");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    complete_abandoned(path, Utc::now(), &serde_json::json!({"by": number}))
                        .expect("complete");
                });
            }
        });
        let text = std::fs::read_to_string(&path).expect("read");
        let mut reader = EventReader::open(&path).expect("open");
        let lines = reader.next().expect("read");
        assert_eq!(lines.iter().map(|line| line.id).collect::<Vec<_>>(), [1, 2]);
        assert!(lines[1].is_completion(), "{text}");
        assert_eq!(text, format!("{}\n{}\n", lines[0].text(), lines[1].text()));
        let missing = folder.path().join("none");
        complete_abandoned(&missing, Utc::now(), &serde_json::json!({}))
            .expect("nothing to complete");
        assert!(!missing.exists());
    }

    #[test]
    fn a_cut_line_is_no_event() {
        let folder = folder();
        let path = folder.path().join("log");
        let log = EventLog::create(&path).expect("create");
        log.append(1, OperationEventType::Stdout, stream(b"whole"));
        let mut text = std::fs::read(&path).expect("read");
        text.extend_from_slice(br#"{"id":2,"ts":"","spid":1,"type":"std"#);
        std::fs::write(&path, text).expect("write");
        let mut reader = EventReader::open(&path).expect("open");
        assert_eq!(reader.next().expect("read").len(), 1);
        assert!(reader.next().expect("read").is_empty());
    }

    #[test]
    fn what_a_full_disk_refuses_takes_nothing_else_with_it() {
        let folder = folder();
        let path = folder.path().join("log");
        let log = EventLog::create(&path).expect("create");
        assert!(log.append(1, OperationEventType::Stdout, stream(b"one")));
        let writable = {
            // A file that cannot be written stands for a disk that takes no more.
            let mut end = log.end.lock().expect("lock");
            std::mem::replace(&mut end.file, File::open(&path).expect("open"))
        };
        assert!(!log.append(1, OperationEventType::Stdout, stream(b"lost")));
        log.end.lock().expect("lock").file = writable;
        assert!(log.append(1, OperationEventType::Stdout, stream(b"two")));
        let mut reader = EventReader::open(&path).expect("open");
        let ids: Vec<u64> = reader.next().expect("read").iter().map(|r| r.id).collect();
        assert_eq!(ids, [1, 2]);
        assert_eq!(fold(&path, 1).expect("fold").stdout, b"onetwo");
    }

    #[test]
    fn a_half_line_that_is_cut_off_again_hides_nothing() {
        let folder = folder();
        let path = folder.path().join("log");
        let log = EventLog::create(&path).expect("create");
        log.append(1, OperationEventType::Stdout, stream(b"one"));
        let mut reader = EventReader::open(&path).expect("open");
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
        let log = EventLog::create(&path).expect("create");
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

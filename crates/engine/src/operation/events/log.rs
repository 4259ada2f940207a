//! Appending to an event log.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::sync::watch;

use super::{EventLine, EventReader, SYSTEM};
use crate::api::types::OperationEventType;

/// How long an engine waits for another one that completes an abandoned log.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// The event log of a running operation, for appending. Only the owner has it.
pub(crate) struct EventLog {
    path: PathBuf,
    end: Mutex<LogEnd>,
    /// Announces growth. The value is whether the log is complete.
    grown: watch::Sender<bool>,
}

/// The file and the position of the next event.
struct LogEnd {
    file: File,
    /// The number of events, which is the id of the last one.
    events: u64,
    /// The length of all events, in bytes.
    length: u64,
    /// True once a process wrote to its standard error.
    has_errors: bool,
    /// True once the completion event was appended, or could not be written.
    complete: bool,
}

impl EventLog {
    /// Creates a log.
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
                has_errors: false,
                complete: false,
            }),
            grown: watch::Sender::new(false),
        })
    }

    /// Appends an event with the current time. False if it could not be written.
    ///
    /// A full disk must not end a sandbox, so the whole of an event that cannot be written is
    /// dropped.
    pub(crate) fn append(&self, spid: u64, kind: OperationEventType, data: impl Serialize) -> bool {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        // A stream may outlive its sandbox. Output after the completion event is dropped.
        let written = !end.complete && self.write(&mut end, Utc::now(), spid, kind, &data);
        end.has_errors |= kind == OperationEventType::Stderr;
        drop(end);
        self.grown.send_modify(|_| {});
        written
    }

    /// Returns true if a process wrote to its standard error.
    pub(crate) fn has_errors(&self) -> bool {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.has_errors
    }

    /// Appends the completion event, with the time `at`. Nothing is appended after it, even if it
    /// could not be written.
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
                tracing::error!(path = %self.path.display(), %error, "cannot append to an operation's event log");
                // The rest of a partial line would make the next event unreadable.
                let _ = end.file.set_len(end.length);
                false
            }
        }
    }

    /// Subscribes to growth. The value is whether the log is complete.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.grown.subscribe()
    }
}

/// Appends the completion event to a log whose owner is gone, unless the log has one.
///
/// Several engines may try at once: one of them writes, and the others find its event. A missing
/// log is not created.
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
    contree_sqlite::lock_file(&file, path, LOCK_TIMEOUT)?;
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
    // The killed owner may have left a partial line.
    file.set_len(reader.position())?;
    let line = EventLine::completion(last + 1, at, data).with_newline();
    file.write_all(&line).inspect_err(|_| {
        let _ = file.set_len(reader.position());
    })
}

#[cfg(test)]
mod tests {
    use super::super::{read_process, stream};
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    #[test]
    fn events_are_read_in_the_order_of_appending() {
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
        assert_eq!(read_process(&path, 1).expect("read").stdout, b"one\xff\n");
    }

    #[test]
    fn nothing_is_appended_after_the_completion() {
        let folder = folder();
        let path = folder.path().join("log");
        let log = EventLog::create(&path).expect("create");
        let mut grown = log.watch();
        log.append(1, OperationEventType::Stdout, stream(b"one"));
        assert!(!*grown.borrow_and_update());
        log.complete(Utc::now(), &serde_json::json!({"status": "SUCCESS"}));
        assert!(*grown.borrow_and_update());
        let complete = std::fs::read(&path).expect("read");
        assert!(!log.append(1, OperationEventType::Stdout, stream(b"late")));
        log.complete(Utc::now(), &serde_json::json!({"status": "FAILED"}));
        complete_abandoned(&path, Utc::now(), &serde_json::json!({"status": "FAILED"}))
            .expect("complete");
        assert_eq!(std::fs::read(&path).expect("read"), complete);
    }

    #[test]
    fn only_one_of_several_engines_completes_an_abandoned_log() {
        let folder = folder();
        let path = folder.path().join("log");
        let log = EventLog::create(&path).expect("create");
        log.append(1, OperationEventType::Stdout, stream(b"one"));
        drop(log);
        let partial = OpenOptions::new().append(true).open(&path);
        partial
            .expect("open")
            .write_all(b"{\"id\":")
            .expect("write");
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
    fn an_event_that_a_full_disk_refuses_leaves_the_others_readable() {
        let folder = folder();
        let path = folder.path().join("log");
        let log = EventLog::create(&path).expect("create");
        assert!(log.append(1, OperationEventType::Stdout, stream(b"one")));
        let writable = {
            // A read-only file stands for a full disk.
            let mut end = log.end.lock().expect("lock");
            std::mem::replace(&mut end.file, File::open(&path).expect("open"))
        };
        assert!(!log.append(1, OperationEventType::Stdout, stream(b"lost")));
        log.end.lock().expect("lock").file = writable;
        assert!(log.append(1, OperationEventType::Stdout, stream(b"two")));
        let mut reader = EventReader::open(&path).expect("open");
        let ids: Vec<u64> = reader.next().expect("read").iter().map(|r| r.id).collect();
        assert_eq!(ids, [1, 2]);
        assert_eq!(read_process(&path, 1).expect("read").stdout, b"onetwo");
    }
}

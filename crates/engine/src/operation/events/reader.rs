//! Reading an event log.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::EventLine;

/// Bytes that are read at once.
const CHUNK: usize = 256 * 1024;

/// A reader of an event log.
pub(crate) struct EventReader {
    file: Option<File>,
    /// The start of the first line that is not read yet.
    position: u64,
}

impl EventReader {
    /// Opens a log for reading from the beginning. A missing log counts as empty.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = match File::open(path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self::new(file))
    }

    pub(super) fn new(file: Option<File>) -> Self {
        Self { file, position: 0 }
    }

    /// The start of the first line that is not read yet.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Reads the next events: none if the log has not grown, and a bounded number otherwise.
    pub(crate) fn next(&mut self) -> io::Result<Vec<EventLine>> {
        let Some(file) = &mut self.file else {
            return Ok(Vec::new());
        };
        // A partial line is read again next time: its writer may remove it and write another line.
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
            let complete = before + end + 1;
            self.position += complete as u64;
            let events: Vec<EventLine> = lines[..complete]
                .split(|byte| *byte == b'\n')
                .filter_map(EventLine::parse)
                .collect();
            if !events.is_empty() {
                return Ok(events);
            }
            lines.drain(..complete);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;

    use super::super::{EventLog, read_process, stream};
    use super::*;
    use crate::api::types::OperationEventType;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    #[test]
    fn a_partial_line_is_not_an_event() {
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
    fn a_partial_line_that_its_writer_removes_hides_no_event() {
        let folder = folder();
        let path = folder.path().join("log");
        let log = EventLog::create(&path).expect("create");
        log.append(1, OperationEventType::Stdout, stream(b"one"));
        let mut reader = EventReader::open(&path).expect("open");
        assert_eq!(reader.next().expect("read").len(), 1);
        // A partial line that is shorter than the next event, and one that is longer.
        for (partial, id) in [(10, 2), (1000, 3)] {
            let mut end = OpenOptions::new().append(true).open(&path).expect("open");
            end.write_all(&vec![b'x'; partial]).expect("write");
            assert!(reader.next().expect("read").is_empty());
            end.set_len(reader.position()).expect("truncate");
            log.append(1, OperationEventType::Stdout, stream(b"more"));
            let next = reader.next().expect("read");
            assert_eq!((next.len(), next[0].id), (1, id), "after {partial} bytes");
        }
        assert_eq!(read_process(&path, 1).expect("read").stdout, b"onemoremore");
    }

    #[test]
    fn an_event_longer_than_one_read_is_complete() {
        let folder = folder();
        let path = folder.path().join("log");
        let log = EventLog::create(&path).expect("create");
        log.append(
            1,
            OperationEventType::Stderr,
            stream(&vec![b'x'; CHUNK * 3]),
        );
        assert_eq!(
            read_process(&path, 1).expect("read").stderr.len(),
            CHUNK * 3
        );
    }
}

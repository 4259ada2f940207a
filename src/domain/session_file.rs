//! The files of sessions: one entry in each line, which is never changed.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use backon::{BlockingRetryable as _, ConstantBuilder};
use serde::{Deserialize, Serialize};

use super::step::{Settings, Step};
use crate::{
    Error, ImageRef,
    config::{Directories, Environment},
};

/// How often, and after which pause, the lock of a session is tried again. A process that has just
/// been started holds the locks of the one that started it, until it executes its program. So a
/// session may be locked for some milliseconds after its handle is dropped, or its process killed.
const LOCK_ATTEMPTS: LockAttempts = LockAttempts {
    count: 50,
    pause: Duration::from_millis(10),
};

#[derive(Clone, Copy)]
struct LockAttempts {
    count: usize,
    pause: Duration,
}

/// The version of the format.
const VERSION: u32 = 1;

/// The first line of a file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    version: u32,
    /// The identity of the backend that has the images.
    backend: String,
    pub(super) image: ImageRef,
    pub(super) settings: Settings,
}

/// A further line of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Entry {
    Step(Step),
    Rollback { count: usize },
    Settings(Settings),
}

impl Header {
    pub(super) fn new(backend: String, image: ImageRef, settings: Settings) -> Self {
        Self {
            version: VERSION,
            backend,
            image,
            settings,
        }
    }
}

/// The open file of a session, which is locked until the last clone is dropped.
#[derive(Clone)]
pub(super) struct SessionFile {
    path: PathBuf,
    file: Arc<File>,
    /// The length of the file with whole entries alone.
    length: Arc<Mutex<u64>>,
}

impl SessionFile {
    /// Creates the file of a session with all entries. May block.
    pub(super) fn create(name: &Path, header: &Header, entries: &[Entry]) -> Result<Self, Error> {
        let path = path_of(name)?;
        if let Some(directory) = path.parent().filter(|path| !path.as_os_str().is_empty()) {
            create_directory(directory).map_err(Error::io(directory))?;
        }
        let mut options = OpenOptions::new();
        options.read(true).append(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::InvalidArgument(format!(
                "the session {} exists; open it with `Client::session`, or choose another name",
                path.display()
            )),
            _ => Error::io(&path)(error),
        })?;
        let mut lines = line(header);
        for entry in entries {
            lines.extend(line(entry));
        }
        let created = Self::new(path, file);
        let written = created
            .lock(LOCK_ATTEMPTS)
            .and_then(|()| created.write(&lines))
            .and_then(|_| created.sync());
        if written.is_err() {
            // A file without all of its entries would be another session.
            let _ = std::fs::remove_file(&created.path);
        }
        written.map(|()| created)
    }

    /// Opens the file of a session of this backend. May block.
    pub(super) fn open(name: &Path, backend: &str) -> Result<(Self, Header, Vec<Entry>), Error> {
        Self::open_within(LOCK_ATTEMPTS, name, backend)
    }

    fn open_within(
        attempts: LockAttempts,
        name: &Path,
        backend: &str,
    ) -> Result<(Self, Header, Vec<Entry>), Error> {
        let path = path_of(name)?;
        let file = OpenOptions::new().read(true).append(true).open(&path);
        let file = file.map_err(Error::io(&path))?;
        let opened = Self::new(path, file);
        opened.lock_complete(attempts)?;
        let mut text = Vec::new();
        let read = (&*opened.file).read_to_end(&mut text);
        read.map_err(Error::io(&opened.path))?;
        // A line without an end is one that was being written when the process was killed.
        let complete = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        if complete < text.len() {
            let shortened = opened.file.set_len(complete as u64);
            shortened.map_err(Error::io(&opened.path))?;
            text.truncate(complete);
        }
        *opened.length() = complete as u64;
        let mut lines = text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let header: Header = opened.parse(lines.next().unwrap_or_default())?;
        if header.version != VERSION {
            return Err(Error::InvalidArgument(format!(
                "{} has version {} of the format, and this release knows version {VERSION}; use a newer release",
                opened.path.display(),
                header.version
            )));
        }
        if header.backend != backend {
            return Err(Error::InvalidArgument(format!(
                "the session {} belongs to the backend {}, and the client uses {backend}",
                opened.path.display(),
                header.backend
            )));
        }
        let entries = lines
            .map(|line| opened.parse(line))
            .collect::<Result<_, _>>()?;
        Ok((opened, header, entries))
    }

    /// The same file, without the right to write.
    #[cfg(all(test, unix, feature = "testing"))]
    pub(super) fn unwritable(&self) -> std::io::Result<Self> {
        Ok(Self {
            path: self.path.clone(),
            file: Arc::new(File::open(&self.path)?),
            length: Arc::clone(&self.length),
        })
    }

    fn new(path: PathBuf, file: File) -> Self {
        Self {
            path,
            file: Arc::new(file),
            length: Arc::default(),
        }
    }

    fn length(&self) -> std::sync::MutexGuard<'_, u64> {
        self.length.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds entries, all or none of them. Returns the length from before, for
    /// [`shorten`](Self::shorten). It does not wait for the disk; see [`sync`](Self::sync).
    pub(super) fn append(&self, entries: &[Entry]) -> Result<u64, Error> {
        self.write(&entries.iter().flat_map(line).collect::<Vec<u8>>())
    }

    /// Waits until the entries are on the disk. May block.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(Error::io(&self.path))
    }

    /// Removes the entries beyond a length.
    pub(super) fn shorten(&self, length: u64) {
        *self.length() = length;
        // If it fails, the next entries try it again.
        let _ = self.file.set_len(length);
    }

    fn write(&self, lines: &[u8]) -> Result<u64, Error> {
        let mut length = self.length();
        let written = self.file.metadata().and_then(|found| {
            // A part of an entry may be left from a failure.
            if found.len() != *length {
                self.file.set_len(*length)?;
            }
            (&*self.file).write_all(lines)
        });
        let before = *length;
        match written {
            Ok(()) => *length += lines.len() as u64,
            Err(error) => {
                let _ = self.file.set_len(before);
                return Err(Error::io(&self.path)(error));
            }
        }
        Ok(before)
    }

    fn lock(&self, attempts: LockAttempts) -> Result<(), Error> {
        self.retry_lock(attempts, || self.file.try_lock())
    }

    /// Locks the file when it has a header. A process that makes the session creates the file
    /// first, and locks and writes it then.
    fn lock_complete(&self, attempts: LockAttempts) -> Result<(), Error> {
        let has_header = || self.file.metadata().map(|about| about.len() > 0);
        let locked = self.retry_lock(attempts, || {
            self.file.try_lock()?;
            if has_header().map_err(TryLockError::Error)? {
                return Ok(());
            }
            self.file.unlock().map_err(TryLockError::Error)?;
            Err(TryLockError::WouldBlock)
        });
        // A file that stays empty has been damaged, which its reader reports.
        match has_header() {
            Ok(false) => self.lock(attempts),
            _ => locked,
        }
    }

    fn retry_lock(
        &self,
        attempts: LockAttempts,
        try_lock: impl Fn() -> Result<(), TryLockError>,
    ) -> Result<(), Error> {
        let attempts = ConstantBuilder::new()
            .with_delay(attempts.pause)
            .with_max_times(attempts.count);
        let locked = try_lock
            .retry(attempts)
            .sleep(std::thread::sleep)
            .when(|error| matches!(error, TryLockError::WouldBlock))
            .call();
        match locked {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err(Error::InvalidArgument(format!(
                "the session {} is in use by another handle or process; end that one first",
                self.path.display()
            ))),
            Err(TryLockError::Error(error)) => Err(Error::io(&self.path)(error)),
        }
    }

    fn parse<'a, T: Deserialize<'a>>(&self, line: &'a [u8]) -> Result<T, Error> {
        serde_json::from_slice(line).map_err(|error| {
            let invalid = io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it is not the file of a session ({error})"),
            );
            Error::io(&self.path)(invalid)
        })
    }
}

/// An entry as a line.
fn line(entry: &impl Serialize) -> Vec<u8> {
    // Types with text keys alone can always be written.
    let mut line = serde_json::to_vec(entry).unwrap_or_default();
    line.push(b'\n');
    line
}

/// The path of a session's file.
fn path_of(name: &Path) -> Result<PathBuf, Error> {
    let mut parts = name.components();
    let is_name = matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(_)), None)
    ) && !name.as_os_str().to_string_lossy().ends_with('/');
    if !is_name {
        return Ok(name.to_owned());
    }
    let directories = Directories::find(&Environment::of_process());
    let directories = directories.map_err(|error| Error::InvalidArgument(error.to_string()))?;
    let mut file = name.as_os_str().to_owned();
    file.push(".jsonl");
    Ok(directories.state.join("sessions").join(file))
}

/// Creates a directory with mode 0700.
fn create_directory(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More attempts, for a machine that is busy with something else.
    const PATIENT: LockAttempts = LockAttempts {
        count: 6000,
        ..LOCK_ATTEMPTS
    };

    #[test]
    fn a_part_of_an_entry_is_not_joined_to_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.jsonl");
        let file = SessionFile::create(&path, &header(), &[]).unwrap();
        file.append(&[Entry::Rollback { count: 1 }]).unwrap();
        // A failed write leaves the beginning of an entry.
        (&*file.file).write_all(b"{\"rollb").unwrap();
        let before = file.append(&[Entry::Rollback { count: 2 }]).unwrap();
        file.append(&[Entry::Rollback { count: 3 }]).unwrap();
        file.shorten(before);
        file.append(&[Entry::Rollback { count: 4 }]).unwrap();
        drop(file);
        let (_, _, entries) = SessionFile::open(&path, "b").unwrap();
        let counts: Vec<usize> = entries
            .iter()
            .map(|entry| match entry {
                Entry::Rollback { count } => *count,
                _ => 0,
            })
            .collect();
        assert_eq!(counts, [1, 4]);
    }

    fn header() -> Header {
        let image = ImageRef::Tag("x".to_owned());
        Header::new("b".to_owned(), image, Settings::default())
    }

    /// Opens the session, which cannot be opened yet, and makes it possible meanwhile.
    fn opens_after(path: &Path, expected: &str, make_possible: impl FnOnce()) {
        let error = SessionFile::open(path, "b").err().unwrap();
        assert!(error.to_string().contains(expected), "{error}");
        // The two begin at once. Whichever is first, the session is opened.
        let both = std::sync::Barrier::new(2);
        let opened = std::thread::scope(|scope| {
            let opening = scope.spawn(|| {
                both.wait();
                SessionFile::open_within(PATIENT, path, "b").map(|_| ())
            });
            both.wait();
            std::thread::sleep(PATIENT.pause);
            make_possible();
            opening.join().unwrap()
        });
        opened.unwrap();
    }

    #[test]
    fn a_lock_that_is_about_to_be_released_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.jsonl");
        drop(SessionFile::create(&path, &header(), &[]).unwrap());
        let held = File::open(&path).unwrap();
        held.lock().unwrap();
        opens_after(&path, "is in use by another", || drop(held));
    }

    #[test]
    fn a_session_that_is_being_made_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.jsonl");
        let mut file = File::create(&path).unwrap();
        opens_after(&path, "not the file of a session", || {
            file.write_all(&line(&header())).unwrap();
        });
    }
}

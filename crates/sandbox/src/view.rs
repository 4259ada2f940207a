//! Reads files of an image without running anything from it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::launch::classify::plain_error;
use crate::launch::handshake::InitProcess;
use crate::layers::LayerStore;
use crate::protocol::boot::Boot;
use crate::protocol::entry::Entry;
use crate::protocol::reply::Reply;
use crate::protocol::request::{PathQuery, ViewRequest};
use crate::protocol::spec::LayerId;
use crate::protocol::wire::{self, WireError, payload};

/// The time-out for an answer, long enough for the longest listing. A slower helper is stuck and is
/// killed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A read-only view of a chain of layers. Nothing of the image runs, and nothing in it can make the
/// caller hang.
#[derive(Debug)]
pub struct View {
    init: Mutex<InitProcess>,
    timeout: Duration,
}

/// The error of reading a path of an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// The path does not exist.
    #[error("no such file or directory")]
    NotFound,
    /// The path, or one of its parents, is not a directory.
    #[error("not a directory")]
    NotADirectory,
    /// The path is not a regular file.
    #[error("not a regular file")]
    NotAFile,
    /// The path leads through too many symbolic links, as in a loop.
    #[error("too many levels of symbolic links")]
    TooManyLinks,
    /// The directory has more entries than a listing may hold.
    #[error("too many entries to list")]
    TooMany,
    /// A kernel call failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The view could not be opened, or its helper is gone.
    #[error(transparent)]
    Sandbox(#[from] Error),
}

impl View {
    /// Opens a view of an image. `layers` is its chain, topmost first.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if this machine cannot open views.
    pub fn open(store: &LayerStore, layers: &[LayerId]) -> Result<Self, Error> {
        let boot = Boot::View {
            lowers: store.lowers(layers)?,
            old_mount: store.layout().old_mount(),
        };
        Ok(Self {
            init: Mutex::new(InitProcess::start(store.layout(), &boot)?),
            timeout: ANSWER_TIMEOUT,
        })
    }

    /// Describes a path. Symbolic links in its parents are followed inside the image; a link at the
    /// path itself is not followed.
    ///
    /// # Errors
    /// When the path does not exist.
    pub fn stat(&self, path: &Path) -> Result<Entry, ViewError> {
        match self.ask(PathQuery::Stat, path)? {
            (Reply::Entry { entry }, _) => Ok(entry),
            _ => Err(Error::Gone.into()),
        }
    }

    /// Describes the file that a path leads to. Symbolic links are followed inside the image, also
    /// at the path itself.
    ///
    /// # Errors
    /// When the path does not exist.
    pub fn find(&self, path: &Path) -> Result<Entry, ViewError> {
        match self.ask(PathQuery::Follow, path)? {
            (Reply::Entry { entry }, _) => Ok(entry),
            _ => Err(Error::Gone.into()),
        }
    }

    /// Lists a directory, sorted by name. Symbolic links are followed inside the image.
    ///
    /// # Errors
    /// When the directory does not exist or has more than 250,000 entries.
    pub fn list(&self, path: &Path) -> Result<Vec<Entry>, ViewError> {
        match self.ask(PathQuery::List, path)? {
            (Reply::Listed, files) => {
                let [entries] = wire::exact_files(files).map_err(Error::from)?;
                Ok(payload::read(entries).map_err(Error::from)?)
            }
            _ => Err(Error::Gone.into()),
        }
    }

    /// Opens a regular file for reading. Symbolic links are followed inside the image.
    ///
    /// # Errors
    /// When the file does not exist or is not a regular file.
    pub fn open_file(&self, path: &Path) -> Result<(File, Entry), ViewError> {
        match self.ask(PathQuery::Open, path)? {
            (Reply::Entry { entry }, files) => {
                let [file] = wire::exact_files(files).map_err(Error::from)?;
                Ok((file.into(), entry))
            }
            _ => Err(Error::Gone.into()),
        }
    }

    fn ask(&self, query: PathQuery, path: &Path) -> Result<(Reply, Vec<OwnedFd>), ViewError> {
        let path = checked_path(path)?;
        self.request(&ViewRequest::Query { query, path })
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn request(
        &self,
        request: &ViewRequest,
    ) -> Result<(Reply, Vec<OwnedFd>), ViewError> {
        let init = self.init.lock().unwrap_or_else(PoisonError::into_inner);
        wire::send(init.socket(), request, &[]).map_err(wire_error)?;
        let answer = init.receive(Instant::now() + self.timeout);
        read_answer(&init, answer)
    }
}

/// Reads the answer of a helper that looks into layers. A helper without an answer is killed.
pub(crate) fn read_answer(
    init: &InitProcess,
    answer: Result<(Reply, Vec<OwnedFd>), WireError>,
) -> Result<(Reply, Vec<OwnedFd>), ViewError> {
    let answer = answer.map_err(|error| {
        init.kill();
        wire_error(error)
    })?;
    match answer {
        (Reply::ViewFailed { errno }, _) => Err(lookup_error(errno)),
        (Reply::Failed(failure), _) => Err(plain_error(failure).into()),
        other => Ok(other),
    }
}

/// Checks that a path can be sent. An empty path stands for the root.
pub(crate) fn checked_path(path: &Path) -> Result<PathBuf, ViewError> {
    let bytes = path.as_os_str().as_encoded_bytes();
    // The connection would cut longer paths, and the kernel refuses them.
    if bytes.len() > libc::PATH_MAX.unsigned_abs() as usize || bytes.contains(&0) {
        return Err(ViewError::NotFound);
    }
    Ok(if bytes.is_empty() {
        PathBuf::from("/")
    } else {
        path.to_owned()
    })
}

fn wire_error(error: WireError) -> ViewError {
    let error = match error {
        WireError::Closed => Error::Gone,
        WireError::TimedOut => Error::TimedOut("look into the image"),
        other => other.into(),
    };
    error.into()
}

fn lookup_error(errno: i32) -> ViewError {
    match errno {
        libc::ENOENT | libc::ENAMETOOLONG => ViewError::NotFound,
        libc::ENOTDIR => ViewError::NotADirectory,
        libc::EISDIR | libc::ENXIO => ViewError::NotAFile,
        libc::ELOOP => ViewError::TooManyLinks,
        libc::E2BIG => ViewError::TooMany,
        other => ViewError::Io(io::Error::from_raw_os_error(other)),
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Pid, Signal, kill_process};

    use super::*;
    use crate::options::StoreOptions;
    use crate::protocol::entry::EntryKind;

    #[test]
    fn a_helper_that_is_stuck_is_killed_and_reported() {
        let base = std::env::var_os("CONTREE_TEST_DIR").map_or_else(std::env::temp_dir, Into::into);
        let directory = tempfile::tempdir_in(base).unwrap();
        let store = LayerStore::open(directory.path(), StoreOptions::default()).unwrap();
        store.stage_host_layer(LayerId(1)).unwrap();
        let mut view = View::open(&store, &[LayerId(1)]).unwrap();
        assert_eq!(
            view.find("/usr/..".as_ref()).unwrap().kind,
            EntryKind::Directory
        );
        view.timeout = Duration::from_millis(50);
        let pid = view.init.lock().unwrap().pid();
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        let error = view.find("/".as_ref()).unwrap_err();
        assert!(
            matches!(error, ViewError::Sandbox(Error::TimedOut(_))),
            "{error:?}"
        );
        let gone = view
            .init
            .lock()
            .unwrap()
            .wait(Instant::now() + ANSWER_TIMEOUT);
        assert!(gone);
        store.remove_layer(LayerId(1)).unwrap();
    }
}

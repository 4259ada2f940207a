//! The caller's side of comparing two chains of layers.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::launch::handshake::InitProcess;
use crate::layers::LayerStore;
use crate::protocol::boot::Boot;
use crate::protocol::compare::{CompareBoot, CompareRequest, ComparedSide, Difference};
use crate::protocol::reply::Reply;
use crate::protocol::spec::LayerId;
use crate::protocol::wire::{self, payload};
use crate::view::{ViewError, checked_path, read_answer};

/// The time-out for an answer, long enough to compare two files of hundreds of gigabytes. A slower
/// helper is stuck and is killed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);

/// Two chains of layers to compare, split at their nearest common layer. Each list is topmost
/// first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ComparedLayers {
    /// The layers of the chain with the changes, above the common ones.
    pub after: Vec<LayerId>,
    /// The layers of the base, above the common ones.
    pub before: Vec<LayerId>,
    /// The layers that both chains share.
    pub common: Vec<LayerId>,
}

/// A comparison of two chains of layers.
///
/// It reads the layers above the common ones, and looks up the touched names in the common ones. So
/// it costs what the change costs, whatever the size of the images. Times and extended attributes
/// do not count, and sockets and devices count as absent.
#[derive(Debug)]
pub struct Comparison {
    init: InitProcess,
    done: bool,
}

impl Comparison {
    /// Starts a comparison below a path, which is absolute. Symbolic links are not followed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if this machine cannot start the helper.
    pub fn start(
        store: &LayerStore,
        layers: &ComparedLayers,
        path: &Path,
    ) -> Result<Self, ViewError> {
        let boot = Boot::Compare(CompareBoot {
            after: store.links(&layers.after)?,
            before: store.links(&layers.before)?,
            common: store.links(&layers.common)?,
            path: checked_path(path)?,
        });
        Ok(Self {
            init: InitProcess::start(store.layout(), &boot)?,
            done: false,
        })
    }

    /// Reads the next differences, in no particular order. `None` at the end. The list may be
    /// empty before the end.
    ///
    /// # Errors
    /// [`ViewError::NotFound`] if neither chain has the path. [`ViewError::TooManyLinks`] if the
    /// path leads through a symbolic link.
    pub fn next_batch(&mut self) -> Result<Option<Vec<Difference>>, ViewError> {
        if self.done {
            return Ok(None);
        }
        match self.request(&CompareRequest::Next)? {
            (Reply::Differences { done }, files) => {
                self.done = done;
                let [list] = wire::exact_files(files).map_err(Error::from)?;
                Ok(Some(payload::read(list).map_err(Error::from)?))
            }
            _ => Err(Error::Gone.into()),
        }
    }

    /// Opens a regular file of one side. The path is from the root of the comparison.
    ///
    /// # Errors
    /// When the side has no regular file there.
    pub fn open_file(&self, side: ComparedSide, path: &Path) -> Result<File, ViewError> {
        let request = CompareRequest::Open {
            side,
            path: path.to_owned(),
        };
        match self.request(&request)? {
            (Reply::Entry { .. }, files) => {
                let [file] = wire::exact_files(files).map_err(Error::from)?;
                Ok(file.into())
            }
            _ => Err(Error::Gone.into()),
        }
    }

    fn request(
        &self,
        request: &CompareRequest,
    ) -> Result<(Reply, Vec<std::os::fd::OwnedFd>), ViewError> {
        let sent = wire::send(self.init.socket(), request, &[]);
        let answer = sent.and_then(|()| self.init.receive(Instant::now() + ANSWER_TIMEOUT));
        read_answer(&self.init, answer)
    }
}

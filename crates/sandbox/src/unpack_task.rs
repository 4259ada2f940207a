//! Unpacking an archive into a layer.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::launch::classify::plain_error;
use crate::launch::handshake::InitProcess;
use crate::layers::LayerStore;
use crate::os::error::CallContext;
use crate::protocol::boot::{Boot, UnpackBoot};
use crate::protocol::reply::Reply;
use crate::protocol::request::FirstStageRequest;
use crate::protocol::spec::LayerId;
use crate::protocol::unpack::{UnpackLimits, UnpackReport};
use crate::protocol::wire::{self, WireError};
use crate::store::runs::RunDir;

/// How long [`UnpackTask::wait`] waits before it gives up.
const UNPACK_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// An archive that is being unpacked. Dropping the task stops the unpacking.
#[derive(Debug)]
pub struct UnpackTask {
    init: InitProcess,
}

impl LayerStore {
    /// Starts to unpack a tar archive into the unfinished layer of a run directory.
    /// [`LayerStore::commit`] then turns it into a layer. `below` lists the layers below it,
    /// topmost first; it is empty for the bottom of an image. An unfinished layer that is already
    /// in the run directory is removed first.
    ///
    /// The caller writes the whole archive into the returned stream and drops it.
    /// [`UnpackTask::wait`] then returns the result. No member of the archive can be written
    /// outside the layer.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if this machine has no user namespaces.
    pub fn unpack(
        &self,
        run: &RunDir,
        below: &[LayerId],
        limits: UnpackLimits,
    ) -> Result<(UnpackTask, UnixStream), Error> {
        let target = self.new_layer(run)?;
        let boot = UnpackBoot {
            lowers: match below {
                [] => Vec::new(),
                below => self.lowers(below)?,
            },
            target,
            limits,
            single: self.id_map().is_single(),
            old_mount: self.layout().old_mount(),
        };
        let init = InitProcess::start(self.layout(), &Boot::Unpack(boot))?;
        let (ours, theirs) = UnixStream::pair().context("make a socket pair")?;
        let theirs = OwnedFd::from(theirs);
        wire::send(init.socket(), &FirstStageRequest::Unpack, &[theirs.as_fd()])?;
        Ok((UnpackTask { init }, ours))
    }
}

impl UnpackTask {
    /// Waits until the archive is unpacked.
    ///
    /// # Errors
    /// [`Error::Archive`] with the reason if the archive is refused, [`Error::Gone`] if the
    /// unpacking was stopped.
    pub fn wait(&self) -> Result<UnpackReport, Error> {
        match self.init.receive(Instant::now() + UNPACK_TIMEOUT) {
            Ok((Reply::Unpacked(unpacked), _)) => Ok(unpacked),
            Ok((Reply::Refused { reason }, _)) => Err(Error::Archive(reason)),
            Ok((Reply::Failed(failure), _)) => Err(plain_error(failure)),
            Ok(_) | Err(WireError::Closed) => Err(Error::Gone),
            Err(WireError::TimedOut) => Err(Error::TimedOut("unpack the archive")),
            Err(error) => Err(error.into()),
        }
    }

    /// Stops the unpacking. [`UnpackTask::wait`] then returns an error, and writing into the stream
    /// fails.
    pub fn stop(&self) {
        self.init.kill();
    }
}

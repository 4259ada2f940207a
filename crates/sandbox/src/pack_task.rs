//! Writing layers as an archive.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::launch::classify::plain_error;
use crate::launch::handshake::InitProcess;
use crate::layers::LayerStore;
use crate::os::error::CallContext;
use crate::protocol::boot::{Boot, PackBoot};
use crate::protocol::pack::PackReport;
use crate::protocol::reply::Reply;
use crate::protocol::request::FirstStageRequest;
use crate::protocol::spec::LayerId;
use crate::protocol::wire::{self, WireError};

/// How long [`PackTask::wait`] waits for the report, which follows the archive at once.
const REPORT_TIMEOUT: Duration = Duration::from_secs(60);

/// Layers that are being written as an archive. Dropping the task stops the writing.
#[derive(Debug)]
pub struct PackTask {
    init: InitProcess,
}

impl LayerStore {
    /// Starts to write layers (topmost first) as one tar archive in the form of an OCI layer (OCI
    /// image-spec, layer.md). `below` lists the layers below them, topmost first.
    ///
    /// Removed files of `below` become whiteouts. Owners are those inside sandboxes. The archive
    /// depends on nothing but the files: names are sorted, and there are neither access times nor
    /// names of users. Sockets are left out.
    ///
    /// The caller reads the returned stream to its end. [`PackTask::wait`] then says whether the
    /// archive is complete.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if this machine has no user namespaces.
    pub fn pack(
        &self,
        layers: &[LayerId],
        below: &[LayerId],
    ) -> Result<(PackTask, UnixStream), Error> {
        let boot = Boot::Pack(PackBoot {
            layers: self.links(layers)?,
            below: self.links(below)?,
        });
        let init = InitProcess::start(self.layout(), &boot)?;
        let (ours, theirs) = UnixStream::pair().context("make a socket pair")?;
        let theirs = OwnedFd::from(theirs);
        wire::send(init.socket(), &FirstStageRequest::Pack, &[theirs.as_fd()])?;
        Ok((PackTask { init }, ours))
    }
}

impl PackTask {
    /// Waits for the report about an archive that was read to its end.
    ///
    /// # Errors
    /// If a file cannot be read, or [`Error::Gone`] if the packing was stopped. The archive is then
    /// incomplete.
    pub fn wait(&self) -> Result<PackReport, Error> {
        match self.init.receive(Instant::now() + REPORT_TIMEOUT) {
            Ok((Reply::Packed(report), _)) => Ok(report),
            Ok((Reply::Failed(failure), _)) => Err(plain_error(failure)),
            Ok(_) | Err(WireError::Closed) => Err(Error::Gone),
            Err(WireError::TimedOut) => Err(Error::TimedOut("pack the layer")),
            Err(error) => Err(error.into()),
        }
    }

    /// Stops the packing. The stream then ends, and [`PackTask::wait`] returns an error.
    pub fn stop(&self) {
        self.init.kill();
    }
}

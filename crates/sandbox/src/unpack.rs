//! Unpacking an archive into a layer.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error};
use crate::launch::{Init, lowers};
use crate::protocol::{Boot, Reply, Request, UnpackBoot};
use crate::spec::LayerId;
use crate::store::{LayerStore, RunDir};
use crate::wire::{self, WireError};

/// How long an answer is waited for before the caller may look up again.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// Bounds of what is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpackLimits {
    /// Most members of the archive.
    pub entries: u64,
    /// Most bytes of all its files together, holes among them.
    pub bytes: u64,
}

/// What was unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Unpacked {
    /// Members of the archive.
    pub entries: u64,
    /// Disk space of the layer.
    pub bytes: u64,
    /// Device nodes, which are left out.
    pub devices: u64,
    /// Files of users other than root that belong to root now, since the store has one id alone.
    pub all_root: u64,
    /// Files whose owner the store's range of ids does not have; they belong to nobody (65534) now.
    pub unknown_owners: u64,
}

/// An archive that is being unpacked. Dropping it stops that.
#[derive(Debug)]
pub struct Unpacking {
    init: Init,
}

impl LayerStore {
    /// Starts to unpack a tar archive into the layer that a run directory is to become ([`LayerStore::commit`]), on top of these layers
    /// (topmost first; none for the bottom of an image). What the run directory holds of a layer is cleared away before.
    ///
    /// The archive is written into the stream that is answered, to its end, and the stream dropped; [`Unpacking::wait`] then says what
    /// came of it. Nothing of the archive can get out of the layer.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where this machine has no user namespaces.
    pub fn unpack(
        &self,
        run: &RunDir,
        below: &[LayerId],
        limits: UnpackLimits,
    ) -> Result<(Unpacking, UnixStream), Error> {
        let target = self.new_layer(run)?;
        let boot = UnpackBoot {
            lowers: match below {
                [] => Vec::new(),
                below => lowers(self, below)?,
            },
            target,
            limits,
            single: self.id_map().single(),
            old_mount: self.old_mount(),
        };
        let init = Init::start(self, &Boot::Unpack(boot))?;
        let (ours, theirs) = UnixStream::pair().doing("make a socket pair")?;
        let theirs = OwnedFd::from(theirs);
        wire::send(init.socket(), &Request::Unpack, &[theirs.as_fd()])?;
        Ok((Unpacking { init }, ours))
    }
}

impl Unpacking {
    /// Waits until the archive is unpacked.
    ///
    /// # Errors
    /// [`Error::Archive`] with the reason when it is refused, [`Error::Gone`] when it was stopped.
    pub fn wait(&self) -> Result<Unpacked, Error> {
        match self.init.receive(Instant::now() + PATIENCE) {
            Ok((Reply::Unpacked(unpacked), _)) => Ok(unpacked),
            Ok((Reply::Refused { reason }, _)) => Err(Error::Archive(reason)),
            Ok(_) | Err(WireError::Closed) => Err(Error::Gone),
            Err(WireError::TimedOut) => Err(Error::TimedOut("unpack the archive")),
            Err(error) => Err(error.into()),
        }
    }

    /// Stops it; [`Unpacking::wait`] then ends with an error, and writing into the stream fails.
    pub fn stop(&self) {
        self.init.kill();
    }
}

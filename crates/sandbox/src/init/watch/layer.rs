//! Measures the writable layer of a sandbox.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::unnamed::{self, UnnamedFiles};
use crate::os::error::errno;
use crate::os::tree::{DiskUse, disk_use_while};

/// The writable layer, and the processes that may hold files of it.
pub(super) struct WatchedLayer {
    pub directory: OwnedFd,
    /// The sandbox's pid namespace, as the link in /proc names it.
    namespace: Option<PathBuf>,
    /// The overlay's device. `None` until the sandbox is set up.
    pub device: Option<u64>,
}

/// The result of a measurement.
pub(super) struct LayerUse {
    pub found: DiskUse,
    /// True if sockets hold descriptors, whose files cannot be measured.
    pub in_flight: bool,
}

impl WatchedLayer {
    /// Opens the layer of a run. The caller's next child is the first process of the pid namespace.
    pub(super) fn open(store: &OwnedFd, run: &Path) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self {
            directory: openat(store, run.join("L/d"), flags, Mode::empty())?,
            namespace: fs::read_link("/proc/self/ns/pid_for_children").ok(),
            device: None,
        })
    }

    /// Measures the layer, and calls `proceed` at every file. Returns `None` if that returns false,
    /// or if the layer changes during the walk.
    pub(super) fn measure(
        &self,
        mut proceed: impl FnMut() -> bool,
    ) -> Result<Option<LayerUse>, Errno> {
        let named = match disk_use_while(&self.directory, &mut proceed) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(error) => match errno(&error) {
                Errno::NOENT | Errno::NOTDIR | Errno::STALE | Errno::LOOP => return Ok(None),
                other => return Err(other),
            },
        };
        let unnamed = match (&self.namespace, self.device) {
            (Some(namespace), Some(device)) => unnamed::find(namespace, device, proceed),
            _ => Some(UnnamedFiles::default()),
        };
        Ok(unnamed.map(|unnamed| LayerUse {
            found: DiskUse {
                bytes: named.bytes + unnamed.usage.bytes,
                inodes: named.inodes + unnamed.usage.inodes,
                names: named.names,
            },
            in_flight: unnamed.in_flight,
        }))
    }
}

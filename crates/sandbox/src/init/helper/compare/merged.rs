//! Looks up names in directories of several layers, as overlayfs does.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

use crate::init::helper::marks::{is_opaque, is_whiteout};
use crate::os::tree::is_dot;

pub(super) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The directory of one layer.
#[derive(Clone)]
struct LayerDirectory {
    /// The number of the layer. Layers that both sides share have the same number.
    layer: usize,
    directory: Rc<OwnedFd>,
}

/// The directories that overlayfs merges at one path, topmost first. There is at least one.
#[derive(Clone)]
pub(super) struct MergedDirectory {
    parts: Vec<LayerDirectory>,
}

/// The file that a name stands for.
pub(super) enum Found {
    Absent,
    Directory(MergedDirectory, Stat),
    /// Any other file, with the directory that has it.
    Other(Rc<OwnedFd>, Stat),
}

impl MergedDirectory {
    /// Opens the root of a chain. `layers` are the numbers and the short links of its layers,
    /// topmost first.
    pub(super) fn open_root<'a>(
        store: &OwnedFd,
        layers: impl Iterator<Item = (usize, &'a PathBuf)>,
    ) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parts: Result<Vec<LayerDirectory>, Errno> = layers
            .map(|(layer, path)| {
                let directory = Rc::new(openat(store, path, flags, Mode::empty())?);
                Ok(LayerDirectory { layer, directory })
            })
            .collect();
        let parts = parts?;
        if parts.is_empty() {
            return Err(Errno::INVAL);
        }
        Ok(Self { parts })
    }

    /// The description of the directory, which is that of the topmost layer.
    pub(super) fn stat(&self) -> Result<Stat, Errno> {
        fstat(&self.parts[0].directory)
    }

    /// Looks up a name.
    pub(super) fn find(&self, name: &CStr) -> Result<Found, Errno> {
        let mut found: Vec<LayerDirectory> = Vec::new();
        let mut top = None;
        for part in &self.parts {
            let stat = match statat(&part.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error),
            };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                if top.is_none() && !is_whiteout(&stat) {
                    return Ok(Found::Other(Rc::clone(&part.directory), stat));
                }
                // It hides the entries below it.
                break;
            }
            let directory = openat(&part.directory, name, DIRECTORY, Mode::empty())?;
            let opaque = is_opaque(&directory)?;
            top.get_or_insert(stat);
            found.push(LayerDirectory {
                layer: part.layer,
                directory: Rc::new(directory),
            });
            if opaque {
                break;
            }
        }
        Ok(match top {
            Some(stat) => Found::Directory(Self { parts: found }, stat),
            None => Found::Absent,
        })
    }

    /// Adds the names in the directories of the layers before `end`, with those of whiteouts.
    pub(super) fn add_names(&self, end: usize, names: &mut BTreeSet<CString>) -> Result<(), Errno> {
        for part in self.parts.iter().filter(|part| part.layer < end) {
            for item in Dir::read_from(&part.directory)? {
                let item = item?;
                if !is_dot(item.file_name()) {
                    names.insert(item.file_name().to_owned());
                }
            }
        }
        Ok(())
    }

    /// Returns true if both merge the same directories.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.layers().eq(other.layers())
    }

    /// Returns true if both merge the same directories of the layers from `start` on.
    pub(super) fn shares_layers_from(&self, start: usize, other: &Self) -> bool {
        let shared = |layer: &usize| *layer >= start;
        self.layers()
            .filter(shared)
            .eq(other.layers().filter(shared))
    }

    fn layers(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().map(|part| part.layer)
    }

    /// The number of open directories.
    pub(super) fn count(&self) -> usize {
        self.parts.len()
    }
}

//! Disk space that is set aside for the ways out of a full disk.
//!
//! SQLite needs two small files to open a database, and space in its log to delete rows. So the
//! data directory has files without content in `reserve/`. An engine removes the small ones if it
//! cannot open the database without their space, and pruning removes all of them.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// The use of a part of the reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReserveUse {
    /// Opening the database.
    Open,
    /// Deleting records and files.
    Upkeep,
}

/// The files of the reserve: their names, sizes in bytes and uses.
const FILES: [(&str, u64, ReserveUse); 6] = [
    ("open-1", 128 << 10, ReserveUse::Open),
    ("open-2", 128 << 10, ReserveUse::Open),
    ("upkeep-1", 1 << 20, ReserveUse::Upkeep),
    ("upkeep-2", 1 << 20, ReserveUse::Upkeep),
    ("upkeep-3", 1 << 20, ReserveUse::Upkeep),
    ("upkeep-4", 1 << 20, ReserveUse::Upkeep),
];

/// The free space that a file system must have for the reserve to be made there, in bytes.
const MIN_FREE_TO_FILL: u64 = 32 << 20;

/// The free inodes that a file system must have for the reserve to be made there.
const MIN_INODES_TO_FILL: u64 = 100;

/// The free space below which a file system counts as full, in bytes.
const MIN_FREE: u64 = 2 << 20;

/// The free inodes below which a file system counts as full.
const MIN_INODES: u64 = 16;

/// The reserve of a data directory.
#[derive(Debug)]
pub(crate) struct Reserve {
    directory: PathBuf,
}

impl Reserve {
    /// The reserve of the data directory `root`, whether it exists or not.
    pub(crate) fn of(root: &Path) -> Self {
        Self {
            directory: root.join("reserve"),
        }
    }

    /// Makes the missing files, if the file system has plenty of space.
    pub(crate) fn fill(&self) {
        if self.is_below(MIN_FREE_TO_FILL, MIN_INODES_TO_FILL) {
            return;
        }
        for (name, size, _) in FILES {
            self.make(name, size);
        }
    }

    /// Returns whether the file system is full, or almost.
    pub(crate) fn is_disk_full(&self) -> bool {
        self.is_below(MIN_FREE, MIN_INODES)
    }

    /// Removes the files for a use. They are made again when the result is dropped.
    pub(crate) fn release(self, needed_for: ReserveUse) -> ReleasedReserve {
        let files = FILES
            .into_iter()
            .filter(|(name, _, used_for)| {
                *used_for == needed_for && fs::remove_file(self.directory.join(name)).is_ok()
            })
            .map(|(name, size, _)| (name, size))
            .collect();
        ReleasedReserve {
            reserve: self,
            files,
        }
    }

    fn is_below(&self, bytes: u64, inodes: u64) -> bool {
        let root = self.directory.parent().unwrap_or(&self.directory);
        statvfs(root).is_ok_and(|stat| {
            // A file system that makes inodes as needed reports 0 of 0.
            stat.f_bavail.saturating_mul(stat.f_frsize) < bytes
                || (stat.f_files > 0 && stat.f_favail < inodes)
        })
    }

    fn make(&self, name: &str, size: u64) {
        let path = self.directory.join(name);
        if let Err(error) = make_file(&path, size) {
            // Without its space, the file is of no use.
            let _ = fs::remove_file(&path);
            tracing::debug!(path = %path.display(), %error, "cannot set disk space aside");
        }
    }
}

/// Makes a file with allocated space, unless it exists.
fn make_file(path: &Path, size: u64) -> io::Result<()> {
    if let Some(directory) = path.parent()
        && !directory.is_dir()
    {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let file: File = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    };
    Ok(fallocate(&file, FallocateFlags::empty(), 0, size)?)
}

/// Files of the reserve that were removed. Dropping this makes them again, if there is space.
#[derive(Debug)]
pub(crate) struct ReleasedReserve {
    reserve: Reserve,
    files: Vec<(&'static str, u64)>,
}

impl Drop for ReleasedReserve {
    fn drop(&mut self) {
        for (name, size) in &self.files {
            self.reserve.make(name, *size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path) -> Vec<String> {
        let entries = fs::read_dir(root.join("reserve")).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_part_of_the_reserve_is_released_and_made_again() {
        use std::os::unix::fs::MetadataExt as _;
        let root = tempfile::tempdir().unwrap();
        let reserve = || Reserve::of(root.path());
        if reserve().is_below(MIN_FREE_TO_FILL, MIN_INODES_TO_FILL) {
            // The machine itself is almost full.
            return;
        }
        reserve().fill();
        assert_eq!(names(root.path()).len(), FILES.len());
        for (name, size, _) in FILES {
            let metadata = fs::metadata(root.path().join("reserve").join(name)).unwrap();
            assert!(metadata.blocks() * 512 >= size, "{name}");
        }
        let released = reserve().release(ReserveUse::Open);
        assert_eq!(
            names(root.path()),
            ["upkeep-1", "upkeep-2", "upkeep-3", "upkeep-4"]
        );
        drop(released);
        assert_eq!(names(root.path()).len(), FILES.len());
    }
}

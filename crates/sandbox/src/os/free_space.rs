//! The used and free space of a file system, and how much of it sandboxes leave to others.

use std::os::fd::AsFd;

use rustix::fs::{fstatfs, fstatvfs};
use rustix::io::Errno;

/// The free bytes that sandboxes leave. A busy machine writes about this much in the time in which
/// a sandbox is ended, and databases and logs of other programs continue with it.
const FREE_BYTES: u64 = 256 << 20;
/// The free inodes that sandboxes leave.
const FREE_INODES: u64 = 10_000;
/// On a small file system, sandboxes leave this part of it.
const SMALL_FILE_SYSTEM_PART: u64 = 20;

/// The types of file systems whose count of free blocks includes all data that was written. Others
/// count a block when they write it to the disk.
const EXACT_TYPES: [u64; 3] = [
    0xef53,      // ext4
    0x5846_5342, // xfs
    0x0102_1994, // tmpfs
];

/// The space of a file system, for all its users together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileSystemSpace {
    pub used_bytes: u64,
    pub free_bytes: u64,
    total_bytes: u64,
    pub used_inodes: u64,
    pub free_inodes: u64,
    /// 0 if the file system has no fixed number of inodes.
    total_inodes: u64,
}

/// The amount that is free, and the amount below which sandboxes are ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FreeAmount {
    pub free: u64,
    pub floor: u64,
}

impl FileSystemSpace {
    /// Reads the space of the file system of an open file. It takes about a microsecond.
    pub(crate) fn read(file: impl AsFd) -> Result<Self, Errno> {
        let stats = fstatvfs(file)?;
        Ok(Self {
            used_bytes: stats.f_blocks.saturating_sub(stats.f_bfree) * stats.f_frsize,
            free_bytes: stats.f_bavail * stats.f_frsize,
            total_bytes: stats.f_blocks * stats.f_frsize,
            used_inodes: stats.f_files.saturating_sub(stats.f_ffree),
            free_inodes: stats.f_favail,
            total_inodes: stats.f_files,
        })
    }

    pub(crate) fn bytes(&self) -> FreeAmount {
        FreeAmount {
            free: self.free_bytes,
            floor: FREE_BYTES.min(self.total_bytes / SMALL_FILE_SYSTEM_PART),
        }
    }

    /// The inodes. `None` if the file system has no fixed number.
    pub(crate) fn inodes(&self) -> Option<FreeAmount> {
        (self.total_inodes > 0).then(|| FreeAmount {
            free: self.free_inodes,
            floor: FREE_INODES.min(self.total_inodes / SMALL_FILE_SYSTEM_PART),
        })
    }
}

impl FreeAmount {
    /// The amount that may still be taken before the floor is reached.
    pub(crate) fn above_floor(&self) -> u64 {
        self.free.saturating_sub(self.floor)
    }

    pub(crate) fn is_below_floor(&self) -> bool {
        self.free < self.floor
    }
}

/// Returns true if the counts of [`FileSystemSpace`] show everything that was written.
pub(crate) fn has_exact_counts(file: impl AsFd) -> bool {
    fstatfs(file).is_ok_and(|stats| {
        let kind = u64::try_from(stats.f_type).unwrap_or_default();
        stats.f_files > 0 && EXACT_TYPES.contains(&kind)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: FileSystemSpace = FileSystemSpace {
        used_bytes: 0,
        free_bytes: 1 << 30,
        total_bytes: 1 << 40,
        used_inodes: 0,
        free_inodes: 9_999,
        total_inodes: 1_000_000,
    };

    #[test]
    fn a_small_file_system_has_a_lower_floor() {
        assert_eq!(SPACE.bytes().floor, 256 << 20);
        assert_eq!(SPACE.bytes().above_floor(), 768 << 20);
        let small = FileSystemSpace {
            total_bytes: 100 << 20,
            total_inodes: 1000,
            ..SPACE
        };
        assert_eq!(small.bytes().floor, 5 << 20);
        assert_eq!(small.inodes().map(|inodes| inodes.floor), Some(50));
    }

    #[test]
    fn a_file_system_without_a_number_of_inodes_has_no_floor_for_them() {
        assert!(SPACE.inodes().is_some_and(|inodes| inodes.is_below_floor()));
        let dynamic = FileSystemSpace {
            total_inodes: 0,
            ..SPACE
        };
        assert_eq!(dynamic.inodes(), None);
    }

    #[test]
    fn the_space_of_a_real_directory_is_read() {
        let directory = std::fs::File::open(std::env::temp_dir()).unwrap();
        let space = FileSystemSpace::read(&directory).unwrap();
        assert!(space.total_bytes >= space.used_bytes, "{space:?}");
        assert!(space.total_bytes > 0, "{space:?}");
    }
}

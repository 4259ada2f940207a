//! The parts of a file that have space on the disk.

use std::os::fd::{AsRawFd, OwnedFd};

/// The request of ioctl that lists the extents of a file.
const FS_IOC_FIEMAP: u32 = 0xc020_660b;
/// The flag of the last extent of a file.
const LAST: u32 = 1;
const EXTENTS: usize = 128;
/// The most requests for one range. A file with more extents counts as if it had no others.
const MAX_REQUESTS: usize = 64;

/// `struct fiemap` of the kernel, with its extents.
#[repr(C)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
    extents: [Extent; EXTENTS],
}

/// `struct fiemap_extent` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

/// The bytes from `start` to `end` that have space already. 0 if the file system does not tell.
pub(crate) fn allocated_bytes(file: &OwnedFd, start: u64, end: u64) -> u64 {
    let mut bytes = 0;
    let mut from = start;
    for _ in 0..MAX_REQUESTS {
        if from >= end {
            break;
        }
        let mut map = Fiemap {
            start: from,
            length: end - from,
            flags: 0,
            mapped_extents: 0,
            extent_count: EXTENTS as u32,
            reserved: 0,
            extents: [Extent::default(); EXTENTS],
        };
        // SAFETY: the structure is alive, of the type that this ioctl reads and fills, and has room
        // for the stated number of extents.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP as _, &raw mut map) };
        let found = map.extents.get(..map.mapped_extents as usize);
        let (0, Some(found @ [.., last])) = (result, found) else {
            break;
        };
        for extent in found {
            let (first, next) = (
                extent.logical.max(start),
                extent.logical.saturating_add(extent.length).min(end),
            );
            bytes += next.saturating_sub(first);
        }
        let next = last.logical.saturating_add(last.length);
        if last.flags & LAST != 0 || next <= from {
            break;
        }
        from = next;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::{FileExt, MetadataExt};

    #[test]
    fn only_the_allocated_part_of_a_range_counts() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 64 * 1024]).unwrap();
        file.write_all_at(&[1; 64 * 1024], 1 << 20).unwrap();
        file.sync_all().unwrap();
        let blocks = file.metadata().unwrap().blocks() * 512;
        let file = OwnedFd::from(file);
        let all = allocated_bytes(&file, 0, u64::MAX >> 1);
        if all == 0 {
            println!("not tried: this file system does not list extents");
            return;
        }
        assert!(all.abs_diff(blocks) <= 64 * 1024, "{all} of {blocks}");
        assert_eq!(allocated_bytes(&file, 0, 4096), 4096);
        assert_eq!(allocated_bytes(&file, 512 * 1024, 900 * 1024), 0);
        assert_eq!(allocated_bytes(&file, 1 << 20, 2 << 20), 64 * 1024);
    }
}

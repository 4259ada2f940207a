//! Copies the upper directory of a running sandbox, whose processes are paused meanwhile.
//!
//! The copy has the whiteouts and opaque marks of the original, so on top of the image's layers it
//! shows the same files. Files share their blocks where the file system can clone them. Otherwise
//! the copy costs what the sandbox has written, without the holes of files.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid, chownat,
    copy_file_range, ioctl_ficlone, linkat, mkdirat, mknodat, openat, readlinkat, seek, statat,
    symlinkat, utimensat,
};
use rustix::io::Errno;

use super::changed;
use super::marks::{is_opaque, is_whiteout};
use super::squash::copy_metadata;
use crate::os::tree::{DiskUse, identity, is_dot};
use crate::protocol::boot::SnapshotBoot;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The most bytes that are copied through memory at once.
const CHUNK: usize = 128 * 1024;
/// The longest path that the kernel takes, with the zero at its end (`PATH_MAX`).
const MAX_PATH_BYTES: usize = 4096;
/// Bytes of memory for the paths of files with several names. Beyond it, every name of a file gets
/// a full copy.
const MAX_LINK_BYTES: usize = 64 << 20;

/// Copies the upper directory, takes temporary lines out of the copy, and compares the copy with
/// the image. The current directory is the store.
pub(crate) fn take(store: &OwnedFd, boot: &SnapshotBoot) -> io::Result<(Option<String>, DiskUse)> {
    let source = openat(store, &boot.source, DIRECTORY, Mode::empty())?;
    let target = openat(store, &boot.target, DIRECTORY, Mode::empty())?;
    let mut copy = TreeCopy {
        target: target.as_fd(),
        linked: HashMap::new(),
        link_bytes: 0,
        clones: true,
        spare_bytes: boot.max_bytes,
    };
    copy.copy_tree(&source)?;
    changed::inspect(store, &boot.target, &boot.lowers, &boot.temporary_lines)
}

/// The state of copying a tree.
struct TreeCopy<'a> {
    target: BorrowedFd<'a>,
    /// The copies of files with several names, by inode, as paths from the target.
    linked: HashMap<u64, CString>,
    /// The bytes of these paths.
    link_bytes: usize,
    /// False once the file system has refused to clone a file.
    clones: bool,
    /// The bytes that may still be written.
    spare_bytes: u64,
}

impl TreeCopy<'_> {
    /// Copies everything in a directory, and its own metadata. Trees may be deeper than the stack
    /// and the longest path allow.
    fn copy_tree(&mut self, source: &OwnedFd) -> io::Result<()> {
        let mut from = openat(source, c".", DIRECTORY, Mode::empty())?;
        let mut to = openat(self.target, c".", DIRECTORY, Mode::empty())?;
        let mut path: Vec<CString> = Vec::new();
        // The directories that are to be copied at each level, and the identity of the level.
        let mut levels: Vec<(Vec<CString>, (u64, u64))> = Vec::new();
        loop {
            let here = identity(from.as_fd())?;
            levels.push((self.copy_entries(&from, &to, &path)?, here));
            loop {
                let Some((pending, _)) = levels.last_mut() else {
                    return Ok(());
                };
                if let Some(child) = pending.pop() {
                    from = openat(&from, &child, DIRECTORY, Mode::empty())?;
                    to = openat(&to, &child, DIRECTORY, Mode::empty())?;
                    path.push(child);
                    break;
                }
                // Last, because new entries change the times.
                copy_metadata(&from, &to, is_opaque(&from)?)?;
                levels.pop();
                path.pop();
                let Some((_, above)) = levels.last() else {
                    return Ok(());
                };
                from = parent(&from, *above)?;
                to = openat(&to, c"..", DIRECTORY, Mode::empty())?;
            }
        }
    }

    /// Copies the entries of one directory. Returns the names of its directories, which are empty
    /// in the copy.
    fn copy_entries(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        path: &[CString],
    ) -> io::Result<Vec<CString>> {
        let mut directories = Vec::new();
        for entry in Dir::read_from(from)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_dot(name) {
                continue;
            }
            let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                mkdirat(to, name, Mode::RWXU)?;
                directories.push(name.to_owned());
            } else if is_whiteout(&stat) {
                mknodat(to, name, FileType::CharacterDevice, Mode::empty(), 0)?;
            } else if stat.st_nlink > 1 {
                self.copy_linked(from, to, name, &stat, path)?;
            } else {
                self.copy_file(from, to, name, &stat)?;
            }
        }
        Ok(directories)
    }

    /// Copies a file with several names. Further names become links to the first copy.
    fn copy_linked(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &CStr,
        stat: &Stat,
        path: &[CString],
    ) -> io::Result<()> {
        if let Some(first) = self.linked.get(&stat.st_ino)
            && linkat(self.target, first, to, name, AtFlags::empty()).is_ok()
        {
            return Ok(());
        }
        self.copy_file(from, to, name, stat)?;
        let above: usize = path.iter().map(|part| part.as_bytes().len() + 1).sum();
        let length = above + name.to_bytes().len();
        if length >= MAX_PATH_BYTES || self.link_bytes + length > MAX_LINK_BYTES {
            return Ok(());
        }
        self.link_bytes += length;
        let names = path.iter().map(CString::as_c_str).chain([name]);
        let whole = names.map(CStr::to_bytes).collect::<Vec<_>>().join(&b'/');
        if let Ok(whole) = CString::new(whole) {
            self.linked.insert(stat.st_ino, whole);
        }
        Ok(())
    }

    /// Copies anything but a directory.
    fn copy_file(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &CStr,
        stat: &Stat,
    ) -> io::Result<()> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        match kind {
            FileType::RegularFile => {
                // A FIFO in place of the file must not block.
                let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let source = openat(from, name, flags | OFlags::RDONLY, Mode::empty())?;
                let new = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                let target = openat(to, name, new, Mode::RUSR | Mode::WUSR)?;
                let (source, target) = (File::from(source), File::from(target));
                self.copy_content(&source, &target, u64::try_from(stat.st_size).unwrap_or(0))?;
                copy_metadata(&source.into(), &target.into(), false)?;
                return Ok(());
            }
            FileType::Symlink => symlinkat(readlinkat(from, name, Vec::new())?, to, name)?,
            FileType::Fifo | FileType::Socket => mknodat(to, name, kind, mode, 0)?,
            _ => return Err(Errno::OPNOTSUPP.into()),
        }
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(utimensat(
            to,
            name,
            &times(stat),
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    /// Copies the content of a file. Holes stay holes.
    fn copy_content(&mut self, from: &File, to: &File, length: u64) -> io::Result<()> {
        if self.clones && length > 0 {
            if ioctl_ficlone(to, from).is_ok() {
                return Ok(());
            }
            self.clones = false;
        }
        to.set_len(length)?;
        let mut position = 0;
        while position < length {
            let start = match seek(from, SeekFrom::Data(position)) {
                Ok(start) => start,
                // The rest is a hole.
                Err(Errno::NXIO) => break,
                Err(error) => return Err(error.into()),
            };
            let end = seek(from, SeekFrom::Hole(start))?.min(length);
            self.spare_bytes = self
                .spare_bytes
                .checked_sub(end.saturating_sub(start))
                .ok_or(Errno::NOSPC)?;
            copy_range(from, to, start, end)?;
            position = end;
        }
        Ok(())
    }
}

/// Opens the parent of a directory. A process that a timer's signal wakes may have moved the
/// directory; the copy must not leave the tree.
fn parent(directory: &OwnedFd, expected: (u64, u64)) -> io::Result<OwnedFd> {
    let parent = openat(directory, c"..", DIRECTORY, Mode::empty())?;
    if identity(parent.as_fd())? != expected {
        return Err(Errno::STALE.into());
    }
    Ok(parent)
}

/// Copies a range inside the kernel. If the kernel cannot, it copies the rest through memory.
fn copy_range(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut read, mut written) = (start, start);
    while read < end {
        let rest = usize::try_from(end - read).unwrap_or(usize::MAX);
        match copy_file_range(from, Some(&mut read), to, Some(&mut written), rest) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(Errno::NOSPC) => return Err(Errno::NOSPC.into()),
            Err(_) => break,
        }
    }
    let mut buffer = vec![0; CHUNK];
    while read < end {
        let most = usize::try_from(end - read).unwrap_or(CHUNK).min(CHUNK);
        let count = from.read_at(&mut buffer[..most], read)?;
        if count == 0 {
            break;
        }
        to.write_all_at(&buffer[..count], read)?;
        read += count as u64;
    }
    Ok(())
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::path::Path;

    fn open(path: &Path) -> OwnedFd {
        rustix::fs::open(path, DIRECTORY, Mode::empty()).unwrap()
    }

    fn copy(source: &Path, target: &Path, max_bytes: u64) -> io::Result<()> {
        fs::create_dir(target).unwrap();
        let target = open(target);
        let mut copy = TreeCopy {
            target: target.as_fd(),
            linked: HashMap::new(),
            link_bytes: 0,
            clones: true,
            spare_bytes: max_bytes,
        };
        copy.copy_tree(&open(source))
    }

    #[test]
    fn a_copy_has_every_kind_of_file_with_its_metadata() {
        let directory = tempfile::tempdir().unwrap();
        let (source, target) = (directory.path().join("a"), directory.path().join("b"));
        fs::create_dir_all(source.join("d/e")).unwrap();
        fs::write(source.join("d/file"), "content").unwrap();
        fs::set_permissions(source.join("d/file"), fs::Permissions::from_mode(0o751)).unwrap();
        fs::hard_link(source.join("d/file"), source.join("d/e/second")).unwrap();
        std::os::unix::fs::symlink("../nowhere", source.join("link")).unwrap();
        let fifo = FileType::Fifo;
        mknodat(open(&source), "fifo", fifo, Mode::from_raw_mode(0o640), 0).unwrap();
        let sparse = File::create(source.join("sparse")).unwrap();
        sparse.write_all_at(b"end", 1 << 20).unwrap();
        copy(&source, &target, u64::MAX).unwrap();
        for name in ["d", "d/e", "d/file", "d/e/second", "link", "fifo", "sparse"] {
            let [before, after] = [&source, &target].map(|root| {
                let found = fs::symlink_metadata(root.join(name)).unwrap();
                (found.mode(), found.uid(), found.mtime_nsec(), found.nlink())
            });
            assert_eq!(before, after, "{name}");
        }
        assert_eq!(fs::read(target.join("d/e/second")).unwrap(), b"content");
        assert_eq!(
            fs::metadata(target.join("d/file")).unwrap().ino(),
            fs::metadata(target.join("d/e/second")).unwrap().ino()
        );
        let sparse = fs::metadata(target.join("sparse")).unwrap();
        assert_eq!(sparse.len(), (1 << 20) + 3);
        assert!(sparse.blocks() * 512 < 1 << 20, "{}", sparse.blocks());
    }

    #[test]
    fn a_copy_that_needs_too_much_space_fails() {
        let directory = tempfile::tempdir().unwrap();
        let (source, target) = (directory.path().join("a"), directory.path().join("b"));
        fs::create_dir(&source).unwrap();
        fs::write(source.join("file"), vec![1; 8192]).unwrap();
        fs::create_dir(&target).unwrap();
        let target = open(&target);
        let mut copy = TreeCopy {
            target: target.as_fd(),
            linked: HashMap::new(),
            link_bytes: 0,
            // As on a file system without clones.
            clones: false,
            spare_bytes: 4096,
        };
        let error = copy.copy_tree(&open(&source)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    }

    #[test]
    fn a_deep_tree_is_copied() {
        let directory = tempfile::tempdir().unwrap();
        let (source, target) = (directory.path().join("a"), directory.path().join("b"));
        fs::create_dir(&source).unwrap();
        let name = c"a-name-that-makes-the-path-longer-than-the-kernel-takes";
        let mut deepest = open(&source);
        for _ in 0..200 {
            mkdirat(&deepest, name, Mode::RWXU).unwrap();
            deepest = openat(&deepest, name, DIRECTORY, Mode::empty()).unwrap();
        }
        openat(
            &deepest,
            c"one",
            OFlags::CREATE | OFlags::WRONLY,
            Mode::RUSR,
        )
        .unwrap();
        linkat(&deepest, c"one", &deepest, c"two", AtFlags::empty()).unwrap();
        copy(&source, &target, u64::MAX).unwrap();
        let mut deepest = open(&target);
        for _ in 0..200 {
            deepest = openat(&deepest, name, DIRECTORY, Mode::empty()).unwrap();
        }
        // Their path is too long for a link.
        for file in [c"one", c"two"] {
            let stat = statat(&deepest, file, AtFlags::SYMLINK_NOFOLLOW).unwrap();
            assert_eq!(stat.st_nlink, 1);
        }
    }

    #[test]
    fn a_directory_that_was_moved_leads_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::create_dir_all(path.join("a/b/c")).unwrap();
        let (above, moved) = (open(&path.join("a/b")), open(&path.join("a/b/c")));
        let expected = identity(above.as_fd()).unwrap();
        parent(&moved, expected).unwrap();
        fs::rename(path.join("a/b/c"), path.join("c")).unwrap();
        let error = parent(&moved, expected).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESTALE));
    }
}

//! Makes the files that members describe.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
    chmodat, chownat, fchmod, fchown, fsetxattr, futimens, mkdirat, mknodat, openat, readlinkat,
    statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::error::UnpackError;
use super::layer::{DIRECTORY, Layer, PreviousEntry, modification_time};
use super::path::{directory_of, file_name, or_dot};
use crate::init::helper::marks::{is_whiteout, make_opaque};
use crate::protocol::unpack::UnpackReport;
use crate::tar::{Archive, Member, Sparse, TarError};

/// The size of the copy buffer in bytes.
const CHUNK: usize = 256 * 1024;
/// The owner of files whose own owner does not exist in the sandbox.
const NOBODY: u32 = 65_534;

impl Layer {
    pub(super) fn make_directory(
        &mut self,
        path: &[u8],
        member: &Member,
        report: &mut UnpackReport,
    ) -> Result<(), UnpackError> {
        let single = self.single;
        let target = if path.is_empty() {
            Ok(LayerDirectory {
                directory: self
                    .open(b"")
                    .map_err(|error| UnpackError::call("open", path, error))?,
                opaque: false,
            })
        } else {
            let name = file_name(path);
            let above = self.parent(path)?;
            let make = || {
                let found = Self::remove_existing(above, name, true)?;
                if found != PreviousEntry::Directory {
                    mkdirat(above, name, Mode::RWXU)?;
                }
                let directory = openat(above, name, DIRECTORY, Mode::empty())?;
                let opaque = found == PreviousEntry::Whiteout;
                Ok::<_, std::io::Error>(LayerDirectory { directory, opaque })
            };
            make().map_err(|error| UnpackError::call("make the directory", path, error))
        }?;
        // The member sets this directory's time. Restore any pending time now, so that it is not
        // restored afterwards.
        self.restore_time();
        let mut finish = || {
            if target.opaque {
                make_opaque(&target.directory)?;
            }
            apply_metadata(&target.directory, member, single, report)
        };
        finish().map_err(|error| UnpackError::call("make the directory", path, error))
    }

    pub(super) fn make_file(
        &mut self,
        path: &[u8],
        member: &Member,
        archive: &mut Archive<File>,
        report: &mut UnpackReport,
    ) -> Result<(), UnpackError> {
        let single = self.single;
        let name = file_name(path);
        let above = self.parent(path)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut make = || {
            Self::remove_existing(above, name, false)?;
            let mut file = File::from(openat(above, name, flags, Mode::RUSR | Mode::WUSR)?);
            match &member.sparse {
                None => copy(archive, &mut file)?,
                Some(sparse) => copy_pieces(archive, &file, sparse)?,
            }
            apply_metadata(&OwnedFd::from(file), member, single, report)?;
            Ok::<_, std::io::Error>(())
        };
        make().map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => TarError::from(error).into(),
            _ => UnpackError::call("write", path, error),
        })
    }

    pub(super) fn make_symlink(
        &mut self,
        path: &[u8],
        member: &Member,
        report: &mut UnpackReport,
    ) -> Result<(), UnpackError> {
        if member.link.is_empty() || member.link.contains(&0) {
            return Err(UnpackError::member(
                path,
                "is a symbolic link without a target",
            ));
        }
        let single = self.single;
        let name = file_name(path);
        let above = self.parent(path)?;
        let mut make = || {
            Self::remove_existing(above, name, false)?;
            symlinkat(member.link.as_slice(), above, name)?;
            change_owner_at(above, name, member, single, report)?;
            utimensat(above, name, &times(member), AtFlags::SYMLINK_NOFOLLOW)?;
            Ok::<_, std::io::Error>(())
        };
        make().map_err(|error| UnpackError::call("make the symbolic link", path, error))
    }

    pub(super) fn make_fifo(
        &mut self,
        path: &[u8],
        member: &Member,
        report: &mut UnpackReport,
    ) -> Result<(), UnpackError> {
        let single = self.single;
        let name = file_name(path);
        let above = self.parent(path)?;
        let mut make = || {
            Self::remove_existing(above, name, false)?;
            mknodat(above, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
            change_owner_at(above, name, member, single, report)?;
            // It was just made as a FIFO, and no other process can reach it.
            chmodat(
                above,
                name,
                Mode::from_raw_mode(member.mode),
                AtFlags::empty(),
            )?;
            utimensat(above, name, &times(member), AtFlags::SYMLINK_NOFOLLOW)?;
            Ok::<_, std::io::Error>(())
        };
        make().map_err(|error| UnpackError::call("make the named pipe", path, error))
    }

    /// Makes a hard link to a file of this layer. A file that only the image below has is copied up
    /// first. A link to a device node is left out like the node itself.
    pub(super) fn make_link(
        &mut self,
        path: &[u8],
        target: &[u8],
        report: &mut UnpackReport,
    ) -> Result<(), UnpackError> {
        if path == target {
            return Ok(());
        }
        if !self.has_link_target(path, target)? {
            if self.left_out_devices.contains(target) {
                report.devices += 1;
                return self.left_out_devices.insert(path);
            }
            self.copy_up(path, target)?;
        }
        let name = file_name(path);
        self.parent(path)?;
        let Some(above) = self.current_directory() else {
            return Err(UnpackError::member(path, "has no parent directory"));
        };
        Self::remove_existing(above, name, false)
            .and_then(|_| Ok(self.link(target, above, name)?))
            .map_err(|error| UnpackError::call("make the hard link", path, error))
    }

    /// Returns true if this layer has the target of a hard link.
    fn has_link_target(&self, path: &[u8], target: &[u8]) -> Result<bool, UnpackError> {
        let directory = match self.open(directory_of(target)) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
            Err(Errno::LOOP) => {
                return Err(UnpackError::member(
                    path,
                    "is a hard link through a symbolic link",
                ));
            }
            Err(error) => return Err(UnpackError::call("inspect", target, error)),
        };
        match statat(&directory, file_name(target), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat)
                if is_whiteout(&stat)
                    || FileType::from_raw_mode(stat.st_mode) == FileType::Directory =>
            {
                Err(UnpackError::member(
                    path,
                    "is a hard link to something that is not a file",
                ))
            }
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(UnpackError::call("inspect", target, error)),
        }
    }

    /// Copies a file, symbolic link or named pipe of the image below into this layer.
    fn copy_up(&mut self, path: &[u8], target: &[u8]) -> Result<(), UnpackError> {
        let missing =
            || UnpackError::member(path, "is a hard link to a file that is not in the image");
        let Some(below) = self.open_below(directory_of(target))? else {
            return Err(missing());
        };
        let name = file_name(target);
        // Check the type before opening: opening a FIFO would block.
        let Ok(stat) = statat(&below, or_dot(name), AtFlags::SYMLINK_NOFOLLOW) else {
            return Err(missing());
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if !matches!(
            kind,
            FileType::RegularFile | FileType::Symlink | FileType::Fifo
        ) {
            return Err(missing());
        }
        self.copied_up.insert(target)?;
        self.parent(target)?;
        let Some(above) = self.current_directory() else {
            return Err(missing());
        };
        let copy = || match kind {
            FileType::RegularFile => self.copy_file(&below, above, name),
            _ => Ok(copy_special(&below, above, name, &stat)?),
        };
        copy().map_err(|error| UnpackError::call("copy", target, error))
    }

    fn copy_file(
        &self,
        below: &OwnedFd,
        above: BorrowedFd<'_>,
        name: &[u8],
    ) -> std::io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut source = File::from(openat(below, name, flags, Mode::empty())?);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(above, name, flags, Mode::RUSR | Mode::WUSR)?);
        std::io::copy(&mut source, &mut file)?;
        Ok(self.copy_metadata(&source.into(), &file.into())?)
    }
}

/// Copies a symbolic link or a named pipe, with its owner, mode and time.
fn copy_special(
    below: &OwnedFd,
    above: BorrowedFd<'_>,
    name: &[u8],
    stat: &Stat,
) -> Result<(), Errno> {
    let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    if is_link {
        symlinkat(readlinkat(below, name, Vec::new())?.as_c_str(), above, name)?;
    } else {
        mknodat(above, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    }
    chownat(
        above,
        name,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    if !is_link {
        // It was just made as a FIFO, and no other process can reach it.
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        chmodat(above, name, mode, AtFlags::empty())?;
    }
    utimensat(
        above,
        name,
        &modification_time(stat),
        AtFlags::SYMLINK_NOFOLLOW,
    )
}

struct LayerDirectory {
    directory: OwnedFd,
    /// True if it replaces a whiteout of the same layer.
    opaque: bool,
}

fn copy(archive: &mut Archive<File>, file: &mut File) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match archive.read_data(&mut buffer)? {
            0 => return Ok(()),
            read => file.write_all(&buffer[..read])?,
        }
    }
}

fn copy_pieces(archive: &mut Archive<File>, file: &File, sparse: &Sparse) -> std::io::Result<()> {
    file.set_len(sparse.length)?;
    let mut buffer = vec![0; CHUNK];
    for &(mut offset, mut remaining) in &sparse.pieces {
        while remaining > 0 {
            let wanted = usize::try_from(remaining).unwrap_or(CHUNK).min(CHUNK);
            let read = archive.read_data(&mut buffer[..wanted])?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            file.write_all_at(&buffer[..read], offset)?;
            offset += read as u64;
            remaining -= read as u64;
        }
    }
    Ok(())
}

/// Sets the owner, extended attributes, mode and time, in this order. Changing the owner clears
/// set-user-id bits and capabilities.
fn apply_metadata(
    file: &OwnedFd,
    member: &Member,
    single: bool,
    report: &mut UnpackReport,
) -> Result<(), std::io::Error> {
    change_owner(member, single, report, |uid, gid| fchown(file, uid, gid))?;
    for (name, value) in &member.xattrs {
        if !is_copied_xattr(name, single) {
            continue;
        }
        // Attributes that the file system or the kernel refuses are left out.
        let _ = fsetxattr(file, name.as_slice(), value, XattrFlags::empty());
    }
    fchmod(file, Mode::from_raw_mode(member.mode))?;
    Ok(futimens(file, &times(member))?)
}

fn change_owner_at(
    above: impl AsFd,
    name: &[u8],
    member: &Member,
    single: bool,
    report: &mut UnpackReport,
) -> Result<(), Errno> {
    change_owner(member, single, report, |uid, gid| {
        chownat(above.as_fd(), name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
    })
}

fn change_owner(
    member: &Member,
    single: bool,
    report: &mut UnpackReport,
    change: impl Fn(Option<Uid>, Option<Gid>) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let other = (member.uid, member.gid) != (0, 0);
    if single {
        // New files belong to root, the only user.
        report.all_root += u64::from(other);
        return Ok(());
    }
    let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
    if let (Some(uid), Some(gid)) = (id(member.uid), id(member.gid)) {
        match change(Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))) {
            Err(Errno::INVAL | Errno::OVERFLOW) => {}
            other => return other,
        }
    }
    report.unknown_owners += 1;
    match change(Some(Uid::from_raw(NOBODY)), Some(Gid::from_raw(NOBODY))) {
        Err(Errno::INVAL | Errno::OVERFLOW) => Ok(()),
        other => other,
    }
}

/// Returns true if an extended attribute is copied: user attributes, and capabilities in sandboxes
/// with many ids. Overlayfs' own marks are never copied; a layer could use them to show files that
/// it does not have.
fn is_copied_xattr(name: &[u8], single: bool) -> bool {
    (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
        || (name == b"security.capability" && !single)
}

fn times(member: &Member) -> Timestamps {
    let (seconds, nanoseconds) = member.mtime;
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds.into(),
        },
    }
}

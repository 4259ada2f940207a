//! Looks up paths of a view, resolved inside the image.

use std::ffi::{OsStr, OsString};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, OFlags, ResolveFlags, Stat, fstat, readlinkat, statat};
use rustix::io::Errno;

use crate::os::open_resolved::open_resolved;
use crate::os::tree::is_dot;
use crate::protocol::entry::{Entry, EntryKind};

const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// The most entries of a listing. A walk reads larger directories without holding them in one
/// answer.
const MAX_LISTED: usize = 250_000;

pub(crate) fn resolve(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    open_resolved(root, path, flags | OFlags::CLOEXEC, INSIDE)
}

pub(crate) fn stat(root: BorrowedFd<'_>, path: &Path, follow: OFlags) -> Result<Entry, Errno> {
    let found = resolve(root, path, OFlags::PATH | follow)?;
    let stat = fstat(&found)?;
    let target = match kind(&stat) {
        EntryKind::Symlink => Some(readlinkat(&found, c"", Vec::new())?.into_bytes()),
        _ => None,
    };
    Ok(entry(last_name(path), &stat, target))
}

pub(crate) fn open(root: BorrowedFd<'_>, path: &Path) -> Result<(Entry, OwnedFd), Errno> {
    // Check the type with O_PATH first: opening a FIFO would block, and opening a device could
    // start it.
    let found = resolve(root, path, OFlags::PATH)?;
    if kind(&fstat(&found)?) != EntryKind::File {
        return Err(Errno::ISDIR);
    }
    let file = resolve(
        root,
        path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
    )?;
    let stat = fstat(&file)?;
    if kind(&stat) != EntryKind::File {
        return Err(Errno::ISDIR);
    }
    Ok((entry(last_name(path), &stat, None), file))
}

pub(crate) fn list(root: BorrowedFd<'_>, path: &Path) -> Result<Vec<Entry>, Errno> {
    let directory = resolve(
        root,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK,
    )?;
    let mut entries = Vec::new();
    for item in Dir::read_from(&directory)? {
        let item = item?;
        let name = item.file_name();
        if is_dot(name) {
            continue;
        }
        if entries.len() == MAX_LISTED {
            return Err(Errno::TOOBIG);
        }
        let stat = match statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error),
        };
        let target = match kind(&stat) {
            EntryKind::Symlink => Some(readlinkat(&directory, name, Vec::new())?.into_bytes()),
            _ => None,
        };
        entries.push(entry(
            OsStr::from_bytes(name.to_bytes()).to_owned(),
            &stat,
            target,
        ));
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

pub(crate) fn last_name(path: &Path) -> OsString {
    path.file_name().unwrap_or(OsStr::new("/")).to_owned()
}

pub(crate) fn entry(name: OsString, stat: &Stat, target: Option<Vec<u8>>) -> Entry {
    Entry {
        name,
        kind: kind(stat),
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: stat.st_mtime,
        nlink: links(stat),
        target: target.map(OsString::from_vec),
    }
}

/// The number of hard links, whose width depends on the architecture.
#[allow(
    clippy::useless_conversion,
    reason = "32 bits wide on some architectures"
)]
fn links(stat: &Stat) -> u64 {
    stat.st_nlink.into()
}

pub(crate) fn kind(stat: &Stat) -> EntryKind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink,
        FileType::Fifo => EntryKind::Fifo,
        FileType::Socket => EntryKind::Socket,
        FileType::CharacterDevice => EntryKind::CharacterDevice,
        FileType::BlockDevice => EntryKind::BlockDevice,
        _ => EntryKind::File,
    }
}

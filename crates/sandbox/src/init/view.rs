//! The serving side of a view: a read-only image that nobody else sees, and answers about paths in it.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, readlinkat,
    statat,
};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;

use super::stage1::unshare;
use super::walk::Walk;
use super::{During, overlay};
use crate::protocol::{Failure, Look, Reply, Request};
use crate::step::Step;
use crate::tree::is_dot;
use crate::view::{Entry, Kind};
use crate::wire::{self, WireError, payload};

const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// The longest listing. More is a matter for a walk, which holds no directory in memory as a whole answer.
const MOST_LISTED: usize = 250_000;

/// Serves until the engine closes the socket.
pub(super) fn serve(
    socket: &OwnedFd,
    store: &OwnedFd,
    lowers: &[PathBuf],
    old_mount: bool,
) -> Result<(), super::stage1::Error> {
    let root = mount(store, lowers, old_mount)?;
    wire::send(socket, &Reply::Ready, &[])?;
    let mut walk = None;
    loop {
        match wire::receive::<Request>(socket, None)?.0 {
            Request::Look { how, path } => answer(socket, root.as_fd(), how, &path)?,
            Request::Walk { path } => match Walk::begin(root.as_fd(), &path) {
                Ok((entry, begun)) => {
                    walk = begun;
                    wire::send(socket, &Reply::Found { entry }, &[])?;
                }
                Err(error) => wire::send(socket, &not_found(error), &[])?,
            },
            Request::Next { enter } => {
                let next = walk.as_mut().map_or(Ok(None), |walk| walk.next(enter));
                let reply = match next {
                    Ok(batch) => {
                        let (depth, items) = batch.unwrap_or_default();
                        Reply::Walked { depth, items }
                    }
                    Err(error) => not_found(error),
                };
                wire::send(socket, &reply, &[])?;
            }
            Request::Take { which } => {
                let opened = walk.as_ref().map(|walk| walk.take(&which));
                let (errnos, files) = opened.unwrap_or_default();
                let files: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
                wire::send(socket, &Reply::Taken { errnos }, &files)?;
            }
            _ => {}
        }
    }
}

/// The image, seen only through the descriptor.
pub(super) fn mount(
    store: &OwnedFd,
    lowers: &[PathBuf],
    old_mount: bool,
) -> Result<OwnedFd, Failure> {
    // An overlay without an upper needs two layers; one layer is its own image.
    if let [only] = lowers {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        return openat(store, only, flags, Mode::empty()).during(Step::Overlay);
    }
    unshare(UnshareFlags::NEWNS).during(Step::Namespaces)?;
    mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )
    .during(Step::PrivateMounts)?;
    // Where it has to be attached any directory will do: the mount namespace is our own.
    overlay::mount_image(lowers, None, Path::new("run"), old_mount).during(Step::Overlay)
}

fn answer(socket: &OwnedFd, root: BorrowedFd<'_>, how: Look, path: &Path) -> Result<(), WireError> {
    let result = match how {
        Look::Stat => {
            stat(root, path, OFlags::NOFOLLOW).map(|entry| (Reply::Found { entry }, None))
        }
        Look::Follow => {
            stat(root, path, OFlags::empty()).map(|entry| (Reply::Found { entry }, None))
        }
        Look::Open => open(root, path).map(|(entry, file)| (Reply::Found { entry }, Some(file))),
        Look::List => match list(root, path) {
            Ok(entries) => Ok((Reply::Listed, Some(payload::write(&entries)?))),
            Err(error) => Err(error),
        },
    };
    let (reply, file) = result.unwrap_or_else(|error| (not_found(error), None));
    let files: Vec<BorrowedFd<'_>> = file.iter().map(AsFd::as_fd).collect();
    wire::send(socket, &reply, &files)
}

fn not_found(error: Errno) -> Reply {
    Reply::NotFound {
        errno: error.raw_os_error(),
    }
}

pub(super) fn resolve(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), INSIDE)
}

fn stat(root: BorrowedFd<'_>, path: &Path, follow: OFlags) -> Result<Entry, Errno> {
    let found = resolve(root, path, OFlags::PATH | follow)?;
    let stat = fstat(&found)?;
    let target = match kind(&stat) {
        Kind::Symlink => Some(readlinkat(&found, c"", Vec::new())?.into_bytes()),
        _ => None,
    };
    Ok(entry(last_name(path), &stat, target))
}

fn open(root: BorrowedFd<'_>, path: &Path) -> Result<(Entry, OwnedFd), Errno> {
    // Without opening it in earnest: a FIFO would wait for its other end, a device would be started.
    let found = resolve(root, path, OFlags::PATH)?;
    if kind(&fstat(&found)?) != Kind::File {
        return Err(Errno::ISDIR);
    }
    let file = resolve(
        root,
        path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
    )?;
    let stat = fstat(&file)?;
    if kind(&stat) != Kind::File {
        return Err(Errno::ISDIR);
    }
    Ok((entry(last_name(path), &stat, None), file))
}

fn list(root: BorrowedFd<'_>, path: &Path) -> Result<Vec<Entry>, Errno> {
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
        if entries.len() == MOST_LISTED {
            return Err(Errno::TOOBIG);
        }
        let stat = match statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error),
        };
        let target = match kind(&stat) {
            Kind::Symlink => Some(readlinkat(&directory, name, Vec::new())?.into_bytes()),
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

pub(super) fn last_name(path: &Path) -> OsString {
    path.file_name().unwrap_or(OsStr::new("/")).to_owned()
}

pub(super) fn entry(name: OsString, stat: &Stat, target: Option<Vec<u8>>) -> Entry {
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

/// As wide as the architecture has it.
#[allow(
    clippy::useless_conversion,
    reason = "32 bits wide on some architectures"
)]
fn links(stat: &Stat) -> u64 {
    stat.st_nlink.into()
}

pub(super) fn kind(stat: &Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::CharacterDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        _ => Kind::File,
    }
}

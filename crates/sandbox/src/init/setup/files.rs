//! Makes directories, changes paths and copies files in the image before anything of it runs.
//!
//! Every path is resolved inside the mounted image (RESOLVE_IN_ROOT), without following magic links
//! or entering /proc, /sys or /dev.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fchmod, fchown, fstat,
    mkdirat, openat, readlinkat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use crate::os::open_resolved::open_resolved;
use crate::protocol::boot::SandboxBoot;
use crate::protocol::spec::{FileCopy, NewDirectory, PathChange, PathChangeKind};
use crate::protocol::step::Step;
use crate::protocol::step_failure::{StepContext, StepFailure};

const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Makes the directories, changes the paths, then copies the files. Returns the directories that
/// were missing, as indices into the request.
pub(crate) fn make_directories_and_files(
    root: BorrowedFd<'_>,
    store: BorrowedFd<'_>,
    boot: &SandboxBoot,
) -> Result<Vec<usize>, StepFailure> {
    let mut made = Vec::new();
    for (index, wanted) in boot.directories.iter().enumerate() {
        let is_new = make_directory(root, wanted)
            .at_step_on(Step::MakeDirectory, wanted.path.display().to_string())?;
        if is_new {
            made.push(index);
        }
    }
    for wanted in &boot.changes {
        change_path(root, wanted).at_step_on(Step::PlaceFile, wanted.path.display().to_string())?;
    }
    for wanted in &boot.files {
        let empties_directory = boot.changes.iter().any(|change| {
            matches!(change.kind, PathChangeKind::Absent) && change.path.starts_with(&wanted.path)
        });
        copy_file(root, store, wanted, empties_directory)
            .at_step_on(Step::PlaceFile, wanted.path.display().to_string())?;
    }
    Ok(made)
}

/// Makes a directory unless it exists. Returns whether it was missing.
fn make_directory(root: BorrowedFd<'_>, wanted: &NewDirectory) -> Result<bool, Errno> {
    let path = relative(&wanted.path);
    match open_resolved(root, &path, DIRECTORY, INSIDE) {
        Ok(_) => return Ok(false),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    let (parent, name) = open_parent(root, &path)?;
    mkdirat(&parent, &name, Mode::from_raw_mode(0o755))?;
    chownat(
        &parent,
        &name,
        Some(Uid::from_raw(wanted.uid)),
        Some(Gid::from_raw(wanted.gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    Ok(true)
}

fn change_path(root: BorrowedFd<'_>, wanted: &PathChange) -> Result<(), Errno> {
    let path = relative(&wanted.path);
    let own = |parent: &OwnedFd, name: &OsStr| {
        chownat(
            parent,
            name,
            Some(Uid::from_raw(wanted.uid)),
            Some(Gid::from_raw(wanted.gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
    };
    match &wanted.kind {
        PathChangeKind::Absent => {
            let Some(name) = path.file_name() else {
                return Err(Errno::ISDIR);
            };
            let parent = path.parent().unwrap_or(Path::new(""));
            match open_directory(root, parent) {
                Ok(parent) => remove(&parent, name, false),
                Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
                Err(error) => Err(error),
            }
        }
        PathChangeKind::Directory { mode } => {
            let (parent, name) = open_parent(root, &path)?;
            let is_link = readlinkat(&parent, &name, Vec::new()).is_ok();
            match open_resolved(root, &path, DIRECTORY, INSIDE) {
                Ok(_) if is_link => return Ok(()),
                Ok(_) => {}
                Err(Errno::NOENT | Errno::NOTDIR) => {
                    remove(&parent, &name, true)?;
                    mkdirat(&parent, &name, Mode::RWXU)?;
                }
                Err(error) => return Err(error),
            }
            own(&parent, &name)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let made = openat(&parent, &name, flags, Mode::empty())?;
            // Set the mode last: changing the owner clears bits.
            fchmod(&made, Mode::from_raw_mode(mode & 0o7777))
        }
        PathChangeKind::Symlink { target } => {
            let (parent, name) = open_parent(root, &path)?;
            remove(&parent, &name, true)?;
            symlinkat(target, &parent, &name)?;
            own(&parent, &name)
        }
    }
}

/// Removes a file, a link or an empty directory. A directory with content is an error only if it
/// must go.
fn remove(parent: &OwnedFd, name: &OsStr, must_go: bool) -> Result<(), Errno> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error),
    }
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) if !must_go => Ok(()),
        // The explanation of this error fits: a directory is in the way.
        Err(Errno::NOTEMPTY | Errno::EXIST) => Err(Errno::ISDIR),
        Err(error) => Err(error),
    }
}

/// Copies a file. It replaces a directory only if the request removes its entries.
fn copy_file(
    root: BorrowedFd<'_>,
    store: BorrowedFd<'_>,
    wanted: &FileCopy,
    empties_directory: bool,
) -> io::Result<()> {
    let source = open_resolved(
        store,
        &wanted.source,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    )?;
    if FileType::from_raw_mode(fstat(&source)?.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL.into());
    }
    let (parent, name) = open_parent(root, &relative(&wanted.path))?;
    // Remove what exists without opening it: no symlink leads elsewhere and no FIFO blocks.
    if empties_directory {
        remove(&parent, &name, true)?;
    } else {
        match unlinkat(&parent, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = openat(&parent, &name, flags, Mode::RUSR | Mode::WUSR)?;
    let target = copy_content(source, target)?;
    fchown(
        &target,
        Some(Uid::from_raw(wanted.uid)),
        Some(Gid::from_raw(wanted.gid)),
    )?;
    // Set the mode last: changing the owner clears set-user-id bits.
    Ok(fchmod(&target, Mode::from_raw_mode(wanted.mode & 0o7777))?)
}

/// Copies a file: by sharing blocks if the file system can, else in the kernel, else through
/// memory.
fn copy_content(source: OwnedFd, target: OwnedFd) -> io::Result<File> {
    if rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
        return Ok(target.into());
    }
    let (mut source, mut target) = (File::from(source), File::from(target));
    io::copy(&mut source, &mut target)?;
    Ok(target)
}

/// Opens the parent directory of `path`, makes missing parents, and returns it with the last name.
fn open_parent(root: BorrowedFd<'_>, path: &Path) -> Result<(OwnedFd, OsString), Errno> {
    let name = match path.components().next_back() {
        Some(Component::Normal(name)) => name.to_owned(),
        _ => return Err(Errno::ISDIR),
    };
    let parent = path.parent().unwrap_or(Path::new(""));
    Ok((ensure_parents(root, parent)?, name))
}

/// Opens an existing directory; the root for an empty path.
fn open_directory(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    open_resolved(root, path, DIRECTORY, INSIDE)
}

fn ensure_parents(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let open = |path: &Path| open_directory(root, path);
    match open(path) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    let mut so_far = PathBuf::new();
    let mut current = open(&so_far)?;
    for component in path.components() {
        so_far.push(component);
        current = match open(&so_far) {
            Err(Errno::NOENT) => {
                let name: &OsStr = component.as_os_str();
                // EEXIST here means a symlink to a missing target.
                mkdirat(current.as_fd(), name, Mode::from_raw_mode(0o755))?;
                open(&so_far)?
            }
            other => other?,
        };
    }
    Ok(current)
}

fn relative(path: &Path) -> PathBuf {
    let path: PathBuf = path
        .components()
        .filter(|c| !matches!(c, Component::RootDir | Component::CurDir))
        .collect();
    if path.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        path
    }
}

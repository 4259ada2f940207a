//! Side files: a separate read-only file system below /dev, so that no layer ever contains them.

use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags as Attr;

use super::mounts;
use crate::os::open_resolved::open_resolved;
use crate::os::sys;
use crate::protocol::boot::SideFileBoot;
use crate::protocol::step::Step;
use crate::protocol::step_failure::{StepContext, StepFailure};

const RESTRICTED: Attr = Attr::MOUNT_ATTR_NOSUID
    .union(Attr::MOUNT_ATTR_NODEV)
    .union(Attr::MOUNT_ATTR_NOEXEC);
const PAGE: u64 = 4096;
/// The most bytes of a file of the image with which a side file begins.
const MAX_BEGINNING: u64 = 4 << 20;

/// Mounts at `directory` the files that `unless_exists` does not leave out, after /dev is mounted.
/// Returns their indices.
pub(crate) fn mount(
    root: BorrowedFd<'_>,
    directory: &str,
    requested: &[SideFileBoot],
    contents: &[OwnedFd],
) -> Result<Vec<usize>, StepFailure> {
    let present: Vec<_> = requested
        .iter()
        .zip(contents)
        .enumerate()
        .filter(|(_, (file, _))| {
            !file
                .unless_exists
                .iter()
                .any(|path| exists_in_image(root, path))
        })
        .collect();
    if present.is_empty() {
        return Ok(Vec::new());
    }
    let mut pages = 4 + present.len() as u64;
    let mut beginnings = Vec::with_capacity(present.len());
    for (_, (file, content)) in &present {
        let size = fstat(content).at_step(Step::SideFiles)?.st_size;
        let beginning = beginning(root, &file.after);
        let whole = u64::try_from(size).unwrap_or_default() + beginning.len() as u64;
        pages += whole.div_ceil(PAGE);
        beginnings.push(beginning);
    }
    let size = (pages * PAGE).to_string();
    let files = mounts::filesystem("tmpfs", &[("mode", "755"), ("size", &size)], RESTRICTED)
        .at_step(Step::SideFiles)?;
    for ((_, (file, content)), beginning) in present.iter().zip(&beginnings) {
        write(&files, &file.name, beginning, content).at_step_on(Step::SideFiles, &file.name)?;
    }
    sys::set_mount_attributes(&files, RESTRICTED | Attr::MOUNT_ATTR_RDONLY)
        .at_step(Step::SideFiles)?;
    mkdirat(root, directory, Mode::from_raw_mode(0o755)).at_step(Step::SideFiles)?;
    mounts::attach(&files, root, directory).at_step(Step::SideFiles)?;
    for (_, (file, _)) in &present {
        if let Some(path) = &file.mount_over {
            cover(root, &format!("{directory}/{}", file.name), path)
                .at_step_on(Step::SideFiles, &file.name)?;
        }
    }
    Ok(present.iter().map(|(index, _)| *index).collect())
}

/// The content of the first regular file of the image among these, with a line break at its end.
/// Empty if there is none.
fn beginning(root: BorrowedFd<'_>, paths: &[PathBuf]) -> Vec<u8> {
    let open = |path: &PathBuf| {
        let path = path.strip_prefix("/").unwrap_or(path);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let file = open_resolved(root, path, flags, inside).ok()?;
        (kind(&fstat(&file).ok()?) == FileType::RegularFile).then_some(file)
    };
    let mut content = Vec::new();
    if let Some(file) = paths.iter().find_map(open)
        && std::fs::File::from(file)
            .take(MAX_BEGINNING)
            .read_to_end(&mut content)
            .is_err()
    {
        content.clear();
    }
    if content.last().is_some_and(|last| *last != b'\n') {
        content.push(b'\n');
    }
    content
}

fn write(
    directory: &OwnedFd,
    name: &str,
    beginning: &[u8],
    content: &OwnedFd,
) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::from_raw_mode(0o444))?;
    write_all(&file, beginning)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut offset = 0;
    // Read by position, because other sandboxes share the open file.
    loop {
        let read = rustix::io::pread(content, &mut buffer, offset)?;
        if read == 0 {
            return Ok(());
        }
        offset += read as u64;
        write_all(&file, &buffer[..read])?;
    }
}

fn write_all(file: &OwnedFd, mut rest: &[u8]) -> Result<(), Errno> {
    while !rest.is_empty() {
        let written = rustix::io::write(file, rest)?;
        rest = &rest[written..];
    }
    Ok(())
}

/// Also mounts the file over a path of the image, if that is a regular file.
fn cover(root: BorrowedFd<'_>, file: &str, path: &Path) -> Result<(), Errno> {
    let path = path.strip_prefix("/").unwrap_or(path);
    let Some(path) = path.to_str() else {
        return Ok(());
    };
    let target = open_resolved(
        root,
        path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
    );
    let Ok(target) = target else { return Ok(()) };
    if kind(&fstat(&target)?) != FileType::RegularFile {
        return Ok(());
    }
    let mount = mounts::copy(root.as_fd(), file, RESTRICTED | Attr::MOUNT_ATTR_RDONLY)?;
    mounts::attach(&mount, root, path)
}

/// Returns true if the image has anything but an empty file at the path.
fn exists_in_image(root: BorrowedFd<'_>, path: &Path) -> bool {
    let path = path.strip_prefix("/").unwrap_or(path);
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    open_resolved(root, path, OFlags::PATH | OFlags::CLOEXEC, inside)
        .and_then(fstat)
        .is_ok_and(|stat| kind(&stat) != FileType::RegularFile || stat.st_size > 0)
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

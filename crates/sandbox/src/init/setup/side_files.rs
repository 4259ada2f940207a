//! Side files: a separate read-only file system below /dev, so that no layer ever contains them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, mkdirat, openat, openat2};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags as Attr;

use super::mounts;
use crate::os::sys;
use crate::protocol::boot::SideFileBoot;
use crate::protocol::step::Step;
use crate::protocol::step_failure::{StepContext, StepFailure};

const RESTRICTED: Attr = Attr::MOUNT_ATTR_NOSUID
    .union(Attr::MOUNT_ATTR_NODEV)
    .union(Attr::MOUNT_ATTR_NOEXEC);
const PAGE: u64 = 4096;

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
    for (_, (_, content)) in &present {
        let size = fstat(content).at_step(Step::SideFiles)?.st_size;
        pages += u64::try_from(size).unwrap_or_default().div_ceil(PAGE);
    }
    let size = (pages * PAGE).to_string();
    let files = mounts::filesystem("tmpfs", &[("mode", "755"), ("size", &size)], RESTRICTED)
        .at_step(Step::SideFiles)?;
    for (_, (file, content)) in &present {
        write(&files, &file.name, content).at_step_on(Step::SideFiles, &file.name)?;
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

fn write(directory: &OwnedFd, name: &str, content: &OwnedFd) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::from_raw_mode(0o444))?;
    let mut buffer = vec![0; 64 * 1024];
    let mut offset = 0;
    // Read by position, because other sandboxes share the open file.
    loop {
        let read = rustix::io::pread(content, &mut buffer, offset)?;
        if read == 0 {
            return Ok(());
        }
        offset += read as u64;
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            let written = rustix::io::write(&file, rest)?;
            rest = &rest[written..];
        }
    }
}

/// Also mounts the file over a path of the image, if that is a regular file.
fn cover(root: BorrowedFd<'_>, file: &str, path: &Path) -> Result<(), Errno> {
    let path = path.strip_prefix("/").unwrap_or(path);
    let Some(path) = path.to_str() else {
        return Ok(());
    };
    let target = openat2(
        root,
        path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
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
    openat2(
        root,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        inside,
    )
    .and_then(fstat)
    .is_ok_and(|stat| kind(&stat) != FileType::RegularFile || stat.st_size > 0)
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

//! /sys: a read-only description of processors and memory nodes.
//!
//! The kernel's own /sys describes the whole machine, and parts of it can be written. So a sandbox
//! gets copies of some of its files, which the store has.

use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::MountAttrFlags as Attr;

use super::{mounts, overlay};
use crate::protocol::boot::SandboxBoot;
use crate::protocol::step::Step;
use crate::protocol::step_failure::{StepContext, StepFailure};

const DIRECTORY: &str = "sys";
const PLAIN_READ_ONLY: Attr = Attr::MOUNT_ATTR_NOSUID
    .union(Attr::MOUNT_ATTR_NODEV)
    .union(Attr::MOUNT_ATTR_NOEXEC)
    .union(Attr::MOUNT_ATTR_RDONLY);

/// Mounts the machine's description, or an empty directory if there is none.
pub(crate) fn mount(root: BorrowedFd<'_>, boot: &SandboxBoot) -> Result<(), StepFailure> {
    mounts::ensure_directory(root, DIRECTORY, 0o555).at_step(Step::Sys)?;
    let described = boot
        .machine_view
        .as_ref()
        .is_some_and(|view| mount_view(root, boot, view).is_ok());
    if described {
        return Ok(());
    }
    let empty = mounts::filesystem("tmpfs", &[("mode", "555"), ("size", "4k")], PLAIN_READ_ONLY)
        .at_step(Step::Sys)?;
    mounts::attach(&empty, root, DIRECTORY).at_step(Step::Sys)
}

/// Mounts the view as an overlay, whose entry in the list of mounts has no path of this machine.
fn mount_view(root: BorrowedFd<'_>, boot: &SandboxBoot, view: &Path) -> Result<(), Errno> {
    // An overlay without an upper directory needs two layers.
    let lowers = [view.join("d"), view.join("empty")];
    let image = boot.run.join("m");
    overlay::mount_below(&lowers, root, &image, DIRECTORY, boot.old_mount)
}

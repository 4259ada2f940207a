//! The second interface: one hierarchy, in which a group with controllers for its children has no processes of its own.

use std::fs;
use std::io;
use std::path::Path;

use super::{Controller, set};

/// The kernel's period for quotas, in microseconds.
const PERIOD: u32 = 100_000;

/// Whether groups below this one have the controller, or can be made to.
pub(super) fn enable(directory: &Path, controller: Controller) -> io::Result<()> {
    if has(directory, "cgroup.subtree_control", controller) {
        return Ok(());
    }
    if !has(directory, "cgroup.controllers", controller) {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    // Refused with EBUSY where processes are in it, unless it is the root of all groups. They are not ours to move.
    set(
        directory,
        "cgroup.subtree_control",
        &format!("+{}", controller.name()),
    )
}

fn has(directory: &Path, file: &str, controller: Controller) -> bool {
    fs::read_to_string(directory.join(file))
        .is_ok_and(|text| text.split_whitespace().any(|one| one == controller.name()))
}

/// The bound of a group itself.
pub(super) fn memory_limit(directory: &Path) -> Option<u64> {
    let text = fs::read_to_string(directory.join("memory.max")).ok()?;
    text.trim().parse().ok()
}

pub(super) fn set_memory(directory: &Path, bytes: u64) -> io::Result<()> {
    set(directory, "memory.max", &bytes.to_string())?;
    // Missing where there is no swap.
    match set(directory, "memory.swap.max", "0") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub(super) fn set_cpus(directory: &Path, cpus: f64) -> io::Result<()> {
    let quota = cpus * f64::from(PERIOD);
    set(directory, "cpu.max", &format!("{quota:.0} {PERIOD}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_as_the_kernel_reads_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for file in ["memory.max", "cpu.max", "cgroup.subtree_control"] {
            fs::write(path.join(file), "").unwrap();
        }
        fs::write(path.join("cgroup.controllers"), "cpuset cpu memory\n").unwrap();
        let read = |file: &str| fs::read_to_string(path.join(file)).unwrap();
        // Without memory.swap.max.
        set_memory(path, 1 << 20).unwrap();
        assert_eq!(read("memory.max"), "1048576");
        assert_eq!(memory_limit(path), Some(1 << 20));
        set_cpus(path, 1.5).unwrap();
        assert_eq!(read("cpu.max"), "150000 100000");
        enable(path, Controller::Cpu).unwrap();
        assert_eq!(read("cgroup.subtree_control"), "+cpu");
        assert!(enable(path, Controller::Pids).is_err());
    }
}

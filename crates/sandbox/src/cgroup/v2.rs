//! The second interface: one hierarchy, in which a group with controllers for its children has no processes of its own.

use std::fs;
use std::io;
use std::path::Path;

use super::files::set;
use super::hierarchy::Controller;

/// The kernel's period for quotas, in microseconds.
const PERIOD: u32 = 100_000;

/// Whether groups below this one have the controller, or, if it may be tried, can be made to.
pub(super) fn enable(directory: &Path, controller: Controller, may_enable: bool) -> io::Result<()> {
    if has(directory, "cgroup.subtree_control", controller) {
        return Ok(());
    }
    if !has(directory, "cgroup.controllers", controller) {
        return Err(io::Error::other("the group does not have the controller"));
    }
    if !may_enable {
        return Err(io::Error::other("systemd has not enabled the controller"));
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

/// A group below one with processes and controllers may be of a type that no process can be in.
pub(super) fn takes_processes(directory: &Path) -> io::Result<()> {
    match fs::read_to_string(directory.join("cgroup.type"))?.trim() {
        "domain" => Ok(()),
        other => Err(io::Error::other(format!("it would be `{other}`"))),
    }
}

/// The least of the bounds of a group and all those above it, as far as they can be seen.
pub(super) fn memory_limit(directory: &Path) -> Option<u64> {
    directory
        .ancestors()
        .take_while(|group| group.join("cgroup.procs").exists())
        .filter_map(|group| fs::read_to_string(group.join("memory.max")).ok())
        .filter_map(|text| text.trim().parse().ok())
        .min()
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
        let below = path.join("below");
        fs::create_dir(&below).unwrap();
        fs::write(below.join("memory.max"), "max\n").unwrap();
        for group in [path, &below] {
            fs::write(group.join("cgroup.procs"), "").unwrap();
        }
        assert_eq!(memory_limit(&below), Some(1 << 20));
        fs::write(below.join("memory.max"), "4096\n").unwrap();
        assert_eq!(memory_limit(&below), Some(4096));
        set_cpus(path, 1.5).unwrap();
        assert_eq!(read("cpu.max"), "150000 100000");
        assert!(enable(path, Controller::Cpu, false).is_err());
        assert_eq!(read("cgroup.subtree_control"), "");
        enable(path, Controller::Cpu, true).unwrap();
        assert_eq!(read("cgroup.subtree_control"), "+cpu");
        assert!(enable(path, Controller::Pids, true).is_err());
        fs::write(path.join("cgroup.type"), "domain\n").unwrap();
        takes_processes(path).unwrap();
        fs::write(path.join("cgroup.type"), "domain invalid\n").unwrap();
        assert!(takes_processes(path).is_err());
    }
}

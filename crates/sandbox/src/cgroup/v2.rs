//! Version 2 of the interface: one hierarchy. A group that gives controllers to its children
//! contains no processes itself.

use std::fs;
use std::io;
use std::path::Path;

use super::files::set;
use super::hierarchy::Controller;

/// The period of quotas in microseconds.
const PERIOD_MICROSECONDS: u32 = 100_000;

/// Ensures that groups below this one have the controller. With `may_enable` it enables the
/// controller if necessary.
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
    // The kernel refuses with EBUSY if the group contains processes, unless it is the root of all
    // groups. The engine does not move other processes.
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

/// Checks that a group can contain processes. Below a group with processes and controllers, the
/// type may forbid that.
pub(super) fn takes_processes(directory: &Path) -> io::Result<()> {
    match fs::read_to_string(directory.join("cgroup.type"))?.trim() {
        "domain" => Ok(()),
        other => Err(io::Error::other(format!("its type would be `{other}`"))),
    }
}

/// The lowest memory limit of a group and its visible ancestors.
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
    // The file is missing if there is no swap.
    match set(directory, "memory.swap.max", "0") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub(super) fn set_cpus(directory: &Path, cpus: f64) -> io::Result<()> {
    let quota = cpus * f64::from(PERIOD_MICROSECONDS);
    set(
        directory,
        "cpu.max",
        &format!("{quota:.0} {PERIOD_MICROSECONDS}"),
    )
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

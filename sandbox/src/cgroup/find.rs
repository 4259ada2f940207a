//! Where this process may make control groups.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Controller, Place, Version, make, open, v2};

/// A place for each controller, or why there is none.
pub(super) fn places() -> [Result<Place, String>; 3] {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    Controller::ALL.map(|controller| place(&own, &mounts, controller))
}

/// The memory of this machine, in bytes; 0 if it cannot be told.
pub(super) fn memory_total() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| {
            rest.trim()
                .trim_end_matches("kB")
                .trim()
                .parse::<u64>()
                .ok()
        })
        .map_or(0, |kib| kib * 1024)
}

fn place(own: &str, mounts: &str, controller: Controller) -> Result<Place, String> {
    let name = controller.name();
    let (version, directory) = own_group(own, mounts, controller)
        .ok_or_else(|| format!("no hierarchy of control groups is mounted that has `{name}`"))?;
    let refused = |directory: &Path, error: &io::Error| {
        format!(
            "no control group with `{name}` can be made in {}: {error}",
            directory.display()
        )
    };
    let first = match attempt(version, &directory, controller) {
        Ok(()) => {
            return Ok(Place {
                version,
                parent: directory,
            });
        }
        Err(error) => refused(&directory, &error),
    };
    // This process's own group has processes, so that none below it can have controllers; one beside it can.
    if version == Version::V2
        && let Some(parent) = directory.parent()
        && parent.join("cgroup.procs").exists()
        && attempt(version, parent, controller).is_ok()
    {
        return Ok(Place {
            version,
            parent: parent.to_owned(),
        });
    }
    Err(first)
}

/// Makes a group and removes it.
fn attempt(version: Version, parent: &Path, controller: Controller) -> io::Result<()> {
    if version == Version::V2 {
        v2::enable(parent, controller)?;
        // Who moves a process needs to write to the group above both as well.
        open(parent, "cgroup.procs")?;
    }
    let group = parent.join(format!("contree-probe-{}", std::process::id()));
    make(&group)?;
    let limit = match (controller, version) {
        (Controller::Memory, Version::V1) => "memory.limit_in_bytes",
        (Controller::Memory, Version::V2) => "memory.max",
        (Controller::Pids, _) => "pids.max",
        (Controller::Cpu, Version::V1) => "cpu.cfs_quota_us",
        (Controller::Cpu, Version::V2) => "cpu.max",
    };
    let result = open(&group, limit).and_then(|_| open(&group, version.door()));
    let _ = fs::remove_dir(&group);
    result.map(drop)
}

/// The directory of this process's own group in the hierarchy that has the controller.
fn own_group(own: &str, mounts: &str, controller: Controller) -> Option<(Version, PathBuf)> {
    let name = controller.name();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        if controllers.split(',').any(|one| one == name) {
            let directory = mounted(mounts, path, |kind, options| {
                kind == "cgroup" && options.split(',').any(|one| one == name)
            })?;
            return Some((Version::V1, directory));
        }
    }
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let directory = mounted(mounts, path, |kind, _| kind == "cgroup2")?;
    // In a machine with both interfaces the second may have the group, and not the controller.
    let known = fs::read_to_string(directory.join("cgroup.controllers")).ok()?;
    known
        .split_whitespace()
        .any(|one| one == name)
        .then_some((Version::V2, directory))
}

/// Where a group is to be found below a mount whose kind and options will do.
fn mounted(mounts: &str, group: &str, fits: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    mounts.lines().rev().find_map(|line| {
        let (place, about) = line.split_once(" - ")?;
        let mut about = about.split(' ');
        let (kind, _, options) = (about.next()?, about.next()?, about.next()?);
        if !fits(kind, options) {
            return None;
        }
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        let below = Path::new(group).strip_prefix(root).ok()?;
        // A group outside of what this process may see begins with `..`.
        if below.components().any(|part| part.as_os_str() == "..") {
            return None;
        }
        // Else the path would end with a slash, and have another parent.
        let point = PathBuf::from(point.replace("\\040", " "));
        Some(if below.as_os_str().is_empty() {
            point
        } else {
            point.join(below)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
35 31 0:32 /docker/a /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";

    #[test]
    fn the_own_group_of_a_hierarchy_is_found() {
        let own = "5:memory:/docker/a/b\n4:cpu,cpuacct:/\n3:pids:/x\n";
        let of = |controller| own_group(own, MOUNTS, controller);
        assert_eq!(
            of(Controller::Memory),
            Some((Version::V1, "/sys/fs/cgroup/memory/b".into()))
        );
        assert_eq!(
            of(Controller::Cpu),
            Some((Version::V1, "/sys/fs/cgroup/cpu,cpuacct".into()))
        );
        // Not mounted.
        assert_eq!(of(Controller::Pids), None);
    }

    #[test]
    fn a_group_out_of_sight_is_none() {
        let own = "5:memory:/../b\n4:cpu,cpuacct:/../../x\n";
        for controller in Controller::ALL {
            assert_eq!(own_group(own, MOUNTS, controller), None);
        }
    }
}

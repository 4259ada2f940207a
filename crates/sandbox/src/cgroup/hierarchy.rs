//! The kernel's hierarchies of control groups, and this process's groups in them.

use std::fs;
use std::path::{Path, PathBuf};

/// A controller of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    pub(super) const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    /// The kernel's name of the controller.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

/// The version of the kernel's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// The directory of a group, or of a group below which groups can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupDirectory {
    pub(super) version: Version,
    pub(super) path: PathBuf,
}

impl Version {
    /// The file through which a thread joins a group by itself.
    pub(super) fn door(self) -> &'static str {
        match self {
            Self::V1 => "tasks",
            Self::V2 => "cgroup.procs",
        }
    }
}

/// The directory of this process's v2 group, if v2 has all controllers.
pub(super) fn unified() -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    if Controller::ALL
        .into_iter()
        .any(|controller| is_first(&own, controller))
    {
        return None;
    }
    unified_in(&own, &fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// The memory of this machine in bytes, or 0 if it is unknown.
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

/// Returns true if v1 has the controller.
pub(super) fn is_first(own: &str, controller: Controller) -> bool {
    own.lines()
        .filter_map(|line| line.split(':').nth(1))
        .any(|controllers| controllers.split(',').any(|one| one == controller.name()))
}

/// The directory of this process's group in the v1 hierarchy with the controller.
pub(super) fn first_group(own: &str, mounts: &str, controller: Controller) -> Option<PathBuf> {
    let name = controller.name();
    own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        if !controllers.split(',').any(|one| one == name) {
            return None;
        }
        mounted(mounts, path, |kind, options| {
            kind == "cgroup" && options.split(',').any(|one| one == name)
        })
    })
}

/// The directory of a process's v2 group.
pub(super) fn unified_in(own: &str, mounts: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounted(mounts, path, |kind, _| kind == "cgroup2")
}

/// The directory of a group below the last mount whose type and options fit.
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
        // The path of a group outside this process's view begins with `..`.
        if below.components().any(|part| part.as_os_str() == "..") {
            return None;
        }
        // Joining an empty path would add a slash at the end and change the parent.
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
        let of = |controller| first_group(own, MOUNTS, controller);
        assert_eq!(
            of(Controller::Memory),
            Some("/sys/fs/cgroup/memory/b".into())
        );
        assert_eq!(
            of(Controller::Cpu),
            Some("/sys/fs/cgroup/cpu,cpuacct".into())
        );
        // Not mounted.
        assert_eq!(of(Controller::Pids), None);
    }

    #[test]
    fn a_group_out_of_sight_is_none() {
        let own = "5:memory:/../b\n4:cpu,cpuacct:/../../x\n";
        for controller in Controller::ALL {
            assert_eq!(first_group(own, MOUNTS, controller), None);
        }
    }

    #[test]
    fn a_machine_with_the_second_interface_alone_has_one_group() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let own = "0::/user.slice/user-7.slice/session-1.scope\n";
        assert_eq!(
            unified_in(own, mounts),
            Some("/sys/fs/cgroup/user.slice/user-7.slice/session-1.scope".into())
        );
        for controller in Controller::ALL {
            assert!(!is_first(own, controller));
        }
        assert!(is_first("5:cpu,cpuacct:/\n0::/\n", Controller::Cpu));
    }
}

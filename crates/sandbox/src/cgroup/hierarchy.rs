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
    pub(super) fn join_file(self) -> &'static str {
        match self {
            Self::V1 => "tasks",
            Self::V2 => "cgroup.procs",
        }
    }
}

/// The directory of this process's v2 group, if v2 has all controllers.
pub(super) fn own_v2_group() -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    if Controller::ALL
        .into_iter()
        .any(|controller| is_v1(&own, controller))
    {
        return None;
    }
    v2_group(&own, &fs::read_to_string("/proc/self/mountinfo").ok()?)
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
pub(super) fn is_v1(own: &str, controller: Controller) -> bool {
    own.lines()
        .filter_map(|line| line.split(':').nth(1))
        .any(|controllers| {
            controllers
                .split(',')
                .any(|name_in_list| name_in_list == controller.name())
        })
}

/// The directory of this process's group in the v1 hierarchy with the controller.
pub(super) fn v1_group(own: &str, mounts: &str, controller: Controller) -> Option<PathBuf> {
    let name = controller.name();
    own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        if !controllers
            .split(',')
            .any(|name_in_list| name_in_list == name)
        {
            return None;
        }
        mounted_group(mounts, path, |kind, options| {
            kind == "cgroup" && options.split(',').any(|name_in_list| name_in_list == name)
        })
    })
}

/// The directory of a process's v2 group.
pub(super) fn v2_group(own: &str, mounts: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounted_group(mounts, path, |kind, _| kind == "cgroup2")
}

/// The directory of a group below the last mount whose type and options fit.
fn mounted_group(mounts: &str, group: &str, fits: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    mounts.lines().rev().find_map(|line| {
        let (mount, details) = line.split_once(" - ")?;
        let mut details = details.split(' ');
        let (kind, _, options) = (details.next()?, details.next()?, details.next()?);
        if !fits(kind, options) {
            return None;
        }
        let mut mount = mount.split(' ').skip(3);
        let (root, mount_point) = (mount.next()?, mount.next()?);
        let below = Path::new(group).strip_prefix(root).ok()?;
        // The path of a group outside this process's view begins with `..`.
        if below.components().any(|part| part.as_os_str() == "..") {
            return None;
        }
        // Joining an empty path would add a slash at the end and change the parent.
        let mount_point = PathBuf::from(mount_point.replace("\\040", " "));
        Some(if below.as_os_str().is_empty() {
            mount_point
        } else {
            mount_point.join(below)
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
    fn the_group_of_this_process_is_found_in_a_hierarchy() {
        let own = "5:memory:/docker/a/b\n4:cpu,cpuacct:/\n3:pids:/x\n";
        let of = |controller| v1_group(own, MOUNTS, controller);
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
    fn a_group_outside_the_view_is_not_found() {
        let own = "5:memory:/../b\n4:cpu,cpuacct:/../../x\n";
        for controller in Controller::ALL {
            assert_eq!(v1_group(own, MOUNTS, controller), None);
        }
    }

    #[test]
    fn a_machine_with_v2_alone_has_one_group() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let own = "0::/user.slice/user-7.slice/session-1.scope\n";
        assert_eq!(
            v2_group(own, mounts),
            Some("/sys/fs/cgroup/user.slice/user-7.slice/session-1.scope".into())
        );
        for controller in Controller::ALL {
            assert!(!is_v1(own, controller));
        }
        assert!(is_v1("5:cpu,cpuacct:/\n0::/\n", Controller::Cpu));
    }
}

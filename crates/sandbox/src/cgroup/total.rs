//! The group that contains the groups of sandboxes, and limits their memory together.
//!
//! All engines that make groups in the same directory share it. It exists while it contains a
//! sandbox's group. Any of the engines may remove it when it is empty, so making a group in it is
//! tried again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::control_groups::ControlGroups;
use super::files::{make, value};
use super::hierarchy::{Controller, GroupDirectory, Version};
use super::{v1, v2};

/// The name of the group.
const NAME: &str = "contree-sandboxes";
/// The most attempts to make a group in it while other engines remove it.
const MAX_ATTEMPTS: u32 = 20;

/// The group that contains the groups of sandboxes.
#[derive(Debug)]
pub(super) struct TotalGroup {
    /// The directory in which the group is.
    parent: PathBuf,
    group: GroupDirectory,
    /// The memory limit of all sandboxes together.
    bytes: u64,
    /// The controllers that the groups in it need, with v2.
    controllers: Vec<Controller>,
}

impl TotalGroup {
    /// Describes the group, if this process can limit memory. Does not make it.
    pub(super) fn of(groups: &ControlGroups) -> Option<Self> {
        let bytes = groups.memory_bytes()?;
        let memory = groups.directory(Controller::Memory).ok()?;
        let controllers = Controller::ALL
            .into_iter()
            .filter(|controller| {
                groups
                    .directory(*controller)
                    .is_ok_and(|directory| directory == memory)
            })
            .collect();
        Some(Self::in_directory(memory, bytes, controllers))
    }

    fn in_directory(parent: &GroupDirectory, bytes: u64, controllers: Vec<Controller>) -> Self {
        Self {
            parent: parent.path.clone(),
            group: GroupDirectory {
                version: parent.version,
                path: path_in(&parent.path),
            },
            bytes,
            controllers,
        }
    }

    /// Returns true if groups of a controller with this directory are made in the group instead.
    pub(super) fn contains(&self, directory: &GroupDirectory) -> bool {
        directory.path == self.parent
    }

    /// The group's own directory.
    pub(super) fn path(&self) -> &Path {
        &self.group.path
    }

    /// Makes a group in this one.
    pub(super) fn make_in(&self, directory: &Path) -> io::Result<()> {
        let mut attempts = 0;
        loop {
            match self.make().and_then(|()| make(directory)) {
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && attempts < MAX_ATTEMPTS =>
                {
                    attempts += 1;
                }
                other => return other,
            }
        }
    }

    /// Makes the group if it does not exist, and sets its limit. Another engine may have made it
    /// just now without a limit.
    fn make(&self) -> io::Result<()> {
        make(&self.group.path)?;
        match self.group.version {
            Version::V1 => {
                v1::count_children(&self.group.path);
                v1::set_memory(&self.group.path, self.bytes)
            }
            Version::V2 => {
                v2::set_memory(&self.group.path, self.bytes)?;
                self.controllers
                    .iter()
                    .try_for_each(|controller| v2::enable(&self.group.path, *controller, true))
            }
        }
    }

    /// The limit in bytes, if it was reached.
    pub(super) fn reached(&self) -> Option<u64> {
        reached_limit(&self.group).then_some(self.bytes)
    }

    /// Removes the group if it is empty.
    pub(super) fn remove_if_empty(&self) {
        remove_if_empty(&self.parent);
    }
}

/// The path of the group in a directory.
pub(super) fn path_in(parent: &Path) -> PathBuf {
    parent.join(NAME)
}

/// Removes the group in a directory if it is empty.
pub(super) fn remove_if_empty(parent: &Path) {
    // The kernel refuses to remove a group that contains groups.
    let _ = fs::remove_dir(path_in(parent));
}

/// Returns true if processes of a group needed more memory than the group's own limit.
pub(super) fn reached_limit(group: &GroupDirectory) -> bool {
    let read = |file: &str| fs::read_to_string(group.path.join(file)).unwrap_or_default();
    let count = match group.version {
        Version::V1 => read("memory.failcnt").trim().parse().ok(),
        Version::V2 => value(&read("memory.events"), "oom"),
    };
    count.is_some_and(|count: u64| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with the files that the kernel makes in the group.
    fn parent_with_group(files: &[&str]) -> tempfile::TempDir {
        let parent = tempfile::tempdir().unwrap();
        let group = path_in(parent.path());
        fs::create_dir(&group).unwrap();
        for file in files {
            fs::write(group.join(file), "").unwrap();
        }
        parent
    }

    fn directory(parent: &tempfile::TempDir, version: Version) -> GroupDirectory {
        GroupDirectory {
            version,
            path: parent.path().to_owned(),
        }
    }

    #[test]
    fn all_sandboxes_together_get_the_limit_in_v1() {
        let parent = parent_with_group(&["memory.limit_in_bytes", "memory.failcnt"]);
        let memory = directory(&parent, Version::V1);
        let total = TotalGroup::in_directory(&memory, 1 << 30, vec![Controller::Memory]);
        assert!(total.contains(&memory));
        let sandbox = total.path().join("sandbox");
        total.make_in(&sandbox).unwrap();
        assert!(sandbox.is_dir());
        let group = path_in(parent.path());
        let limit = fs::read_to_string(group.join("memory.limit_in_bytes")).unwrap();
        assert_eq!(limit, (1_u64 << 30).to_string());
        assert_eq!(total.reached(), None);
        fs::write(group.join("memory.failcnt"), "3\n").unwrap();
        assert_eq!(total.reached(), Some(1 << 30));
        // In v1, other controllers have directories of their own.
        let pids = GroupDirectory {
            version: Version::V1,
            path: "/elsewhere".into(),
        };
        assert!(!total.contains(&pids));
    }

    #[test]
    fn the_groups_of_sandboxes_keep_their_controllers_in_v2() {
        let parent = parent_with_group(&["memory.max", "cgroup.subtree_control"]);
        let group = path_in(parent.path());
        fs::write(group.join("cgroup.controllers"), "memory pids\n").unwrap();
        let memory = directory(&parent, Version::V2);
        let total = TotalGroup::in_directory(&memory, 4096, vec![Controller::Pids]);
        total.make_in(&group.join("sandbox")).unwrap();
        let read = |file: &str| fs::read_to_string(group.join(file)).unwrap();
        assert_eq!(read("memory.max"), "4096");
        assert_eq!(read("cgroup.subtree_control"), "+pids");
        fs::write(group.join("memory.events"), "oom 0\noom_kill 2\n").unwrap();
        assert_eq!(total.reached(), None);
    }
}

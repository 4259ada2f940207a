//! The control group of one sandbox.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::control_groups::{ControlGroups, required_controllers};
use super::files::{make, open, set, value};
use super::hierarchy::{Controller, GroupDirectory, Version};
use super::total::{self, TotalGroup};
use super::{probe, v1, v2};
use crate::protocol::spec::Limits;

/// The most attempts to remove a group that the kernel still holds.
const MAX_REMOVE_ATTEMPTS: u32 = 500;
/// The file that freezes the processes of a group.
const FREEZER: &str = "cgroup.freeze";
/// How long processes may take to freeze.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause between attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(1);

/// The error of a requested limit that cannot be enforced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LimitsError {
    /// This process cannot make groups that enforce the limit. The text includes the remedy.
    #[error("limits: {0}")]
    Unenforceable(String),
    /// The kernel refused to set the limit.
    #[error("limits: the kernel refuses to set the control group's {controller}: {error}")]
    Refused {
        controller: &'static str,
        error: io::Error,
    },
}

/// The memory limit for which the kernel has killed a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReachedMemoryLimit {
    /// The limit of the sandbox, in bytes.
    Sandbox(u64),
    /// The limit of all sandboxes together, in bytes.
    AllSandboxes(u64),
}

/// The group of one sandbox. Dropping the value removes the group, which must be empty by then.
#[derive(Debug)]
pub(crate) struct SandboxGroup {
    /// The group that contains this one, if there is one.
    total: Option<TotalGroup>,
    directories: Vec<PathBuf>,
    memory: Option<(GroupDirectory, u64)>,
    join_files: Vec<OwnedFd>,
}

impl SandboxGroup {
    /// Makes the group of a sandbox with every available controller. It fails if a limit of
    /// `limits` cannot be set. The `engine_processes` in the group do not count as inside.
    pub(crate) fn make(
        store: &Path,
        run: &str,
        limits: &Limits,
        max_processes: u32,
        engine_processes: u32,
    ) -> Result<Self, LimitsError> {
        let groups = ControlGroups::get();
        if let Some(why) = groups.refusal(limits) {
            return Err(LimitsError::Unenforceable(why));
        }
        let required = required_controllers(limits);
        let mut group = Self {
            total: TotalGroup::of(groups),
            directories: Vec::new(),
            memory: None,
            join_files: Vec::new(),
        };
        let Some(name) = prefix(store).map(|prefix| prefix + run) else {
            return Ok(group);
        };
        let memory = limits.memory_bytes.or(groups.memory_bytes());
        let processes = limits.processes.unwrap_or(max_processes);
        for controller in Controller::ALL {
            let is_required = required.contains(&controller);
            let Ok(parent) = groups.directory(controller) else {
                continue;
            };
            let result = match controller {
                Controller::Memory => memory.map(|bytes| {
                    let directory = group.join(parent, &name)?;
                    match parent.version {
                        Version::V1 => v1::set_memory(&directory, bytes),
                        Version::V2 => v2::set_memory(&directory, bytes),
                    }?;
                    let (path, version) = (directory, parent.version);
                    group.memory = Some((GroupDirectory { version, path }, bytes));
                    Ok(())
                }),
                Controller::Pids => Some(group.join(parent, &name).and_then(|directory| {
                    let max = processes.saturating_add(engine_processes).to_string();
                    set(&directory, "pids.max", &max)
                })),
                // Without a quota a group has no benefit, and it would cost time.
                Controller::Cpu => limits.cpus.map(|cpus| {
                    let directory = group.join(parent, &name)?;
                    match parent.version {
                        Version::V1 => v1::set_cpus(&directory, cpus),
                        Version::V2 => v2::set_cpus(&directory, cpus),
                    }
                }),
            };
            if let Some(Err(error)) = result
                && is_required
            {
                return Err(LimitsError::Refused {
                    controller: controller.name(),
                    error,
                });
            }
        }
        Ok(group)
    }

    /// Makes the group's directory if it does not exist, and opens the file through which the init
    /// joins.
    fn join(&mut self, parent: &GroupDirectory, name: &str) -> io::Result<PathBuf> {
        let in_total = self.total.as_ref().filter(|total| total.contains(parent));
        let mut directory = match in_total {
            Some(total) => total.path().join(name),
            None => parent.path.join(name),
        };
        if self.directories.contains(&directory) {
            return Ok(directory);
        }
        match in_total.map(|total| total.make_in(&directory)) {
            Some(Ok(())) => {}
            // Limits of the sandbox itself come before one of all sandboxes.
            Some(Err(_)) => {
                if let Some(total) = self.total.take() {
                    total.remove_if_empty();
                }
                directory = parent.path.join(name);
                make(&directory)?;
            }
            None => make(&directory)?,
        }
        self.directories.push(directory.clone());
        let join_file = open(&directory, parent.version.join_file())?;
        self.join_files.push(join_file.into());
        Ok(directory)
    }

    /// Takes the open files to which the init writes `0` to join the group.
    pub(crate) fn take_join_files(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.join_files)
    }

    /// Returns true if the group has a process in every hierarchy.
    pub(crate) fn is_entered(&self) -> bool {
        self.directories.iter().all(|directory| {
            fs::read(directory.join("cgroup.procs")).is_ok_and(|members| !members.is_empty())
        })
    }

    /// The memory limit that was reached, if the kernel has killed a process for it.
    pub(crate) fn killed_for_memory(&self) -> Option<ReachedMemoryLimit> {
        let (group, bytes) = self.memory.as_ref()?;
        let file = match group.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let text = fs::read_to_string(group.path.join(file)).ok()?;
        if value(&text, "oom_kill")? == 0 {
            return None;
        }
        let total = self.total.as_ref().and_then(TotalGroup::reached);
        Some(match total {
            Some(total) if !total::reached_limit(group) => ReachedMemoryLimit::AllSandboxes(total),
            _ => ReachedMemoryLimit::Sandbox(*bytes),
        })
    }
}

impl SandboxGroup {
    /// The memory that the group uses, if it is limited.
    pub(crate) fn memory_bytes(&self) -> Option<u64> {
        let (group, _) = self.memory.as_ref()?;
        let file = match group.version {
            Version::V1 => "memory.usage_in_bytes",
            Version::V2 => "memory.current",
        };
        fs::read_to_string(group.path.join(file))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// Freezes the processes of the group. `None` if it has no freezer, which only version 2 has,
    /// or if they do not freeze in time.
    pub(crate) fn freeze(&self) -> Option<FrozenGroup> {
        let mut directories = self.directories.iter();
        let directory = directories.find(|directory| directory.join(FREEZER).exists())?;
        if !self.is_entered() {
            return None;
        }
        FrozenGroup::freeze(directory)
    }
}

/// A frozen group. Its processes continue when the value is dropped.
#[derive(Debug)]
pub(crate) struct FrozenGroup {
    directory: PathBuf,
}

impl FrozenGroup {
    fn freeze(directory: &Path) -> Option<Self> {
        set(directory, FREEZER, "1").ok()?;
        let frozen = Self {
            directory: directory.to_owned(),
        };
        let deadline = Instant::now() + FREEZE_TIMEOUT;
        loop {
            let events = fs::read_to_string(directory.join("cgroup.events")).ok()?;
            if value(&events, "frozen") == Some(1) {
                return Some(frozen);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    }
}

impl Drop for FrozenGroup {
    fn drop(&mut self) {
        let _ = set(&self.directory, FREEZER, "0");
    }
}

impl Drop for SandboxGroup {
    fn drop(&mut self) {
        for directory in &self.directories {
            remove(directory);
        }
        if let Some(total) = &self.total {
            total.remove_if_empty();
        }
    }
}

/// Removes the control groups of ended runs of the store in the directory `store`, and probe groups
/// of ended processes.
pub(crate) fn remove_leftovers(store: &Path, is_over: impl Fn(&str) -> bool) {
    let Some(prefix) = prefix(store) else { return };
    for parent in ControlGroups::get().parents() {
        let total = total::path_in(parent);
        let entries = [parent, &total].map(|directory| fs::read_dir(directory).into_iter());
        for entry in entries.into_iter().flatten().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.starts_with(probe::PROBE_PREFIX) && probe::is_left_over(&entry.path()) {
                let _ = fs::remove_dir(entry.path());
            }
            if name.strip_prefix(&prefix).is_some_and(&is_over) {
                remove(&entry.path());
            }
        }
        total::remove_if_empty(parent);
    }
}

/// The prefix of the names of a store's groups. It identifies the store's directory even if the
/// directory is moved.
fn prefix(store: &Path) -> Option<String> {
    let metadata = fs::metadata(store).ok()?;
    Some(format!(
        "contree-{:x}-{:x}-",
        metadata.dev(),
        metadata.ino()
    ))
}

/// Removes a group. It becomes empty a moment after its last process has ended.
fn remove(directory: &Path) {
    // This file exists only in v2. It kills remaining processes of the sandbox.
    let _ = set(directory, "cgroup.kill", "1");
    for _ in 0..MAX_REMOVE_ATTEMPTS {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(RETRY_PAUSE)
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_group_thaws_when_it_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let freezer = directory.path().join(FREEZER);
        fs::write(&freezer, "0").unwrap();
        fs::write(
            directory.path().join("cgroup.events"),
            "populated 1\nfrozen 1\n",
        )
        .unwrap();
        let frozen = FrozenGroup::freeze(directory.path()).unwrap();
        assert_eq!(fs::read(&freezer).unwrap(), b"1");
        drop(frozen);
        assert_eq!(fs::read(&freezer).unwrap(), b"0");
    }

    #[test]
    fn a_group_that_does_not_freeze_thaws_again() {
        let directory = tempfile::tempdir().unwrap();
        let freezer = directory.path().join(FREEZER);
        fs::write(&freezer, "0").unwrap();
        fs::write(
            directory.path().join("cgroup.events"),
            "populated 1\nfrozen 0\n",
        )
        .unwrap();
        assert!(FrozenGroup::freeze(directory.path()).is_none());
        assert_eq!(fs::read(&freezer).unwrap(), b"0");
    }
}

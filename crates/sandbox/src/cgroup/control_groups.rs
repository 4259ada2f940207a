//! The limits that this process can enforce on a sandbox with control groups.

use std::path::Path;
use std::sync::OnceLock;

use super::hierarchy::{Controller, GroupDirectory, Version, memory_total};
use super::probe::{self, ControllerError};
use super::systemd;
use crate::protocol::spec::Limits;

/// The limits that this process can enforce on a sandbox with control groups.
#[derive(Debug)]
pub struct ControlGroups {
    /// The directory for each controller, or why there is none, in the order of
    /// [`Controller::ALL`].
    directories: [Result<GroupDirectory, ControllerError>; 3],
    /// 80 % of the available memory in bytes, or 0 if it is unknown.
    memory_bytes: u64,
}

impl ControlGroups {
    /// Requests a control group for this process alone from systemd, and enters it.
    ///
    /// Call it once, before any other function of this type. It does nothing if the process needs
    /// no such group or cannot get one. No other process is moved.
    ///
    /// `stays` is true if the process must outlive the login session in which it was started. An
    /// ordinary user's group outlives it only if the user's manager lingers (`loginctl
    /// enable-linger`). Without lingering, a process that stays requests no group.
    pub fn enter(stays: bool) {
        systemd::enter(stays);
    }

    /// Detects once what this process may do, by making and removing a group.
    pub fn get() -> &'static Self {
        static CONTROL_GROUPS: OnceLock<ControlGroups> = OnceLock::new();
        CONTROL_GROUPS.get_or_init(|| {
            let (directories, limit_above) = probe::directories();
            let memory_bytes = memory_total();
            let memory_bytes = limit_above.map_or(memory_bytes, |limit| limit.min(memory_bytes));
            Self {
                directories,
                memory_bytes: memory_bytes / 10 * 8,
            }
        })
    }

    /// The default memory limit of a sandbox in bytes: 80 % of the available memory. `None` if
    /// that is unknown or cannot be enforced.
    #[must_use]
    pub fn memory_bytes(&self) -> Option<u64> {
        self.directory(Controller::Memory)
            .ok()
            .filter(|_| self.memory_bytes > 0)
            .map(|_| self.memory_bytes)
    }

    /// 80 % of the available memory in bytes, whether or not that can be enforced. `None` if it is
    /// unknown.
    #[must_use]
    pub fn usable_memory_bytes(&self) -> Option<u64> {
        (self.memory_bytes > 0).then_some(self.memory_bytes)
    }

    /// Describes in one sentence which limits can be enforced.
    #[must_use]
    pub fn describe(&self) -> String {
        let available = |controller: Controller| self.directory(controller).ok();
        let limited: Vec<&str> = Controller::ALL
            .into_iter()
            .filter(|controller| available(*controller).is_some())
            .map(Controller::name)
            .collect();
        if limited.is_empty() {
            return format!("control groups cannot be used: {}", self.reason());
        }
        let mut versions: Vec<&str> = Controller::ALL
            .into_iter()
            .filter_map(available)
            .map(|directory| match directory.version {
                Version::V1 => "v1",
                Version::V2 => "v2",
            })
            .collect();
        versions.dedup();
        let mut text = format!(
            "control groups ({}) limit {}",
            versions.join(" and "),
            limited.join(", ")
        );
        if limited.len() < Controller::ALL.len() {
            text.push_str(&format!("; they do not limit the rest: {}", self.reason()));
        }
        text
    }

    /// The remedy for limits that cannot be enforced. `None` if all can.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        self.directories.iter().any(Result::is_err).then(remedy)
    }

    /// The reason why these limits cannot be enforced, with a remedy. `None` if they can.
    #[must_use]
    pub fn refusal(&self, limits: &Limits) -> Option<String> {
        let requested = required_controllers(limits);
        let reason = requested
            .into_iter()
            .find_map(|controller| self.directory(controller).err())?;
        Some(format!("{reason}: {}", remedy()))
    }

    /// The reason why the first unavailable controller cannot be used.
    fn reason(&self) -> String {
        self.directories
            .iter()
            .find_map(|directory| directory.as_ref().err())
            .map(ToString::to_string)
            .unwrap_or_default()
    }

    pub(super) fn directory(
        &self,
        controller: Controller,
    ) -> Result<&GroupDirectory, &ControllerError> {
        let [memory, pids, cpu] = &self.directories;
        match controller {
            Controller::Memory => memory,
            Controller::Pids => pids,
            Controller::Cpu => cpu,
        }
        .as_ref()
    }

    /// The directories in which groups are made, without duplicates.
    pub(super) fn parents(&self) -> Vec<&Path> {
        let mut parents: Vec<&Path> = Vec::new();
        for directory in self.directories.iter().flatten() {
            if !parents.contains(&directory.path.as_path()) {
                parents.push(&directory.path);
            }
        }
        parents
    }
}

/// The instruction to get control groups for this process.
fn remedy() -> String {
    systemd::remedy().unwrap_or_else(|| plain_remedy().into())
}

/// The instruction to get usable control groups without systemd.
fn plain_remedy() -> &'static str {
    if rustix::process::geteuid().is_root() {
        "mount the control groups with memory, pids and cpu so that this process may write to them"
    } else {
        "start the engine in a control group of this user with memory, pids and cpu, or run it as root"
    }
}

/// The controllers that enforce these limits.
pub(super) fn required_controllers(limits: &Limits) -> Vec<Controller> {
    let requested = [
        limits.memory_bytes.is_some(),
        limits.processes.is_some(),
        limits.cpus.is_some(),
    ];
    Controller::ALL
        .into_iter()
        .zip(requested)
        .filter_map(|(controller, requested)| requested.then_some(controller))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_without_a_controller_is_refused_with_a_remedy() {
        let directory = GroupDirectory {
            version: Version::V2,
            path: "/sys/fs/cgroup/a".into(),
        };
        let groups = ControlGroups {
            directories: [
                Ok(directory.clone()),
                Ok(directory),
                Err(ControllerError::NotMounted("cpu")),
            ],
            memory_bytes: 1000,
        };
        let mut limits = Limits {
            memory_bytes: Some(1),
            ..Limits::default()
        };
        assert_eq!(groups.refusal(&limits), None);
        limits.cpus = Some(0.5);
        let reason = groups.refusal(&limits).unwrap();
        assert!(
            reason.starts_with("no mounted hierarchy of control groups has `cpu`: "),
            "{reason}"
        );
        assert_eq!(groups.parents(), [Path::new("/sys/fs/cgroup/a")]);
        let message = groups.describe();
        assert!(
            message.contains("(v2) limit memory, pids; they do not"),
            "{message}"
        );
        assert!(groups.remedy().is_some());
    }
}

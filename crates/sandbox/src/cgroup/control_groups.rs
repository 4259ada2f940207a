//! The limits that this process can enforce on a sandbox with control groups.

use std::path::Path;
use std::sync::OnceLock;

use super::hierarchy::{Controller, GroupDirectory, Version, memory_total};
use super::{probe, systemd};
use crate::protocol::spec::Limits;

/// The limits that this process can enforce on a sandbox with control groups.
#[derive(Debug)]
pub struct ControlGroups {
    /// The directory for each controller, or why there is none, in the order of
    /// [`Controller::ALL`].
    places: [Result<GroupDirectory, String>; 3],
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
    /// enable-linger`). Without lingering, no group is requested then.
    pub fn enter(stays: bool) {
        systemd::enter(stays);
    }

    /// Detects once what this process may do, by making and removing a group.
    pub fn get() -> &'static Self {
        static FOUND: OnceLock<ControlGroups> = OnceLock::new();
        FOUND.get_or_init(|| {
            let (places, above) = probe::places();
            let memory_bytes = memory_total();
            let memory_bytes = above.map_or(memory_bytes, |above| above.min(memory_bytes));
            Self {
                places,
                memory_bytes: memory_bytes / 10 * 8,
            }
        })
    }

    /// The default memory limit of a sandbox in bytes: 80 % of the available memory. `None` if it
    /// cannot be enforced.
    #[must_use]
    pub fn memory_bytes(&self) -> Option<u64> {
        self.place(Controller::Memory)
            .ok()
            .filter(|_| self.memory_bytes > 0)
            .map(|_| self.memory_bytes)
    }

    /// Describes in one sentence which limits can be enforced.
    #[must_use]
    pub fn describe(&self) -> String {
        let of = |controller: Controller| self.place(controller).ok();
        let held: Vec<&str> = Controller::ALL
            .into_iter()
            .filter(|controller| of(*controller).is_some())
            .map(Controller::name)
            .collect();
        if held.is_empty() {
            return format!("control groups cannot be used: {}", self.reason());
        }
        let mut versions: Vec<&str> = Controller::ALL
            .into_iter()
            .filter_map(of)
            .map(|place| match place.version {
                Version::V1 => "v1",
                Version::V2 => "v2",
            })
            .collect();
        versions.dedup();
        let mut text = format!(
            "control groups ({}) bound {}",
            versions.join(" and "),
            held.join(", ")
        );
        if held.len() < Controller::ALL.len() {
            text.push_str(&format!("; not the rest: {}", self.reason()));
        }
        text
    }

    /// The remedy for limits that cannot be enforced. `None` if all can.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        self.places.iter().any(Result::is_err).then(remedy)
    }

    /// The reason why these limits cannot be enforced, with a remedy. `None` if they can.
    #[must_use]
    pub fn refusal(&self, limits: &Limits) -> Option<String> {
        let asked = wanted(limits);
        let why = asked
            .into_iter()
            .find_map(|controller| self.place(controller).err())?;
        Some(format!("{why}: {}", remedy()))
    }

    fn reason(&self) -> &str {
        self.places
            .iter()
            .find_map(|place| place.as_ref().err())
            .map_or("", String::as_str)
    }

    pub(super) fn place(&self, controller: Controller) -> Result<&GroupDirectory, &str> {
        let index = Controller::ALL.iter().position(|one| *one == controller);
        index
            .and_then(|index| self.places.get(index))
            .map_or(Err(""), |place| place.as_ref().map_err(String::as_str))
    }

    /// The directories in which groups are made, without duplicates.
    pub(super) fn parents(&self) -> Vec<&Path> {
        let mut parents: Vec<&Path> = Vec::new();
        for place in self.places.iter().flatten() {
            if !parents.contains(&place.path.as_path()) {
                parents.push(&place.path);
            }
        }
        parents
    }
}

/// The instruction to get control groups for this process.
fn remedy() -> String {
    systemd::remedy().unwrap_or_else(|| get_control_groups().into())
}

/// The instruction to get usable control groups without systemd.
fn get_control_groups() -> &'static str {
    if rustix::process::geteuid().is_root() {
        "mount the control groups with memory, pids and cpu so that this process may write to them"
    } else {
        "give this user a control group with memory, pids and cpu to start the engine in, or run it as root"
    }
}

/// The controllers that enforce these limits.
pub(super) fn wanted(limits: &Limits) -> Vec<Controller> {
    let asked = [
        limits.memory_bytes.is_some(),
        limits.processes.is_some(),
        limits.cpus.is_some(),
    ];
    Controller::ALL
        .into_iter()
        .zip(asked)
        .filter_map(|(controller, asked)| asked.then_some(controller))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_place_is_refused_with_a_remedy() {
        let place = GroupDirectory {
            version: Version::V2,
            path: "/sys/fs/cgroup/a".into(),
        };
        let groups = ControlGroups {
            places: [
                Ok(place.clone()),
                Ok(place),
                Err("no cpu controller".into()),
            ],
            memory_bytes: 1000,
        };
        let mut limits = Limits {
            memory_bytes: Some(1),
            ..Limits::default()
        };
        assert_eq!(groups.refusal(&limits), None);
        limits.cpus = Some(0.5);
        let why = groups.refusal(&limits).unwrap();
        assert!(why.starts_with("no cpu controller: "), "{why}");
        assert_eq!(groups.parents(), [Path::new("/sys/fs/cgroup/a")]);
        let said = groups.describe();
        assert!(said.contains("(v2) bound memory, pids; not"), "{said}");
        assert!(groups.remedy().is_some());
    }
}

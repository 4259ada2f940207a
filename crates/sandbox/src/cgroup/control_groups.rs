//! What this process can bound of a sandbox by control groups.

use std::path::Path;
use std::sync::OnceLock;

use super::hierarchy::{Controller, GroupDirectory, Version, memory_total};
use super::{probe, systemd};
use crate::protocol::spec::Limits;

/// What this process can bound of a sandbox by control groups.
#[derive(Debug)]
pub struct ControlGroups {
    /// In the order of [`Controller::ALL`]: the place, or why there is none.
    places: [Result<GroupDirectory, String>; 3],
    memory_bytes: u64,
}

impl ControlGroups {
    /// Has systemd give this process a control group for itself alone, where it needs one and can have it, and enters it; to be called once,
    /// before anything else of this type. Nothing is done, and nothing lost, where that is not so. No other process is moved.
    ///
    /// `stays` says that the process is to outlive the login session that it was started in. A group of an ordinary user's does not, unless
    /// the user's manager stays (`loginctl enable-linger`), and else none is asked for.
    pub fn enter(stays: bool) {
        systemd::enter(stays);
    }

    /// Looks at what this process may do, once; it tries by making a group and removing it.
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

    /// The bound on the memory of a sandbox that asks for none, in bytes: 80 % of what there is. `None` where it cannot be enforced.
    #[must_use]
    pub fn memory_bytes(&self) -> Option<u64> {
        self.place(Controller::Memory)
            .ok()
            .filter(|_| self.memory_bytes > 0)
            .map(|_| self.memory_bytes)
    }

    /// What is bounded here, as one sentence.
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

    /// What to do where something cannot be bounded. `None` where all can.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        self.places.iter().any(Result::is_err).then(remedy)
    }

    /// Why what is asked for cannot be enforced here, with the remedy. `None` if it can.
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

    /// The directories in which groups are made, each once.
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

/// How this process comes by control groups.
fn remedy() -> String {
    systemd::remedy().unwrap_or_else(|| get_control_groups().into())
}

/// How the engine comes by control groups that it may use, where systemd is not in charge.
fn get_control_groups() -> &'static str {
    if rustix::process::geteuid().is_root() {
        "mount the control groups with memory, pids and cpu so that this process may write to them"
    } else {
        "give this user a control group with memory, pids and cpu to start the engine in, or run it as root"
    }
}

/// The controllers without which these limits cannot be held.
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

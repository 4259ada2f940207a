//! Finds by trial where this process may make control groups.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::{make, open};
use super::hierarchy::{Controller, GroupDirectory, Version, is_v1, v1_group, v2_group};
use super::{systemd, v1, v2};

/// The prefix of the names of probe groups.
pub(super) const PROBE_PREFIX: &str = "contree-probe-";
/// The longest time that a probe group is in use.
const MAX_PROBE_AGE: Duration = Duration::from_secs(60);

/// The reason why a controller cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ControllerError {
    #[error("no mounted hierarchy of control groups has `{0}`")]
    NotMounted(&'static str),
    #[error("no control group with `{controller}` can be made in {}: {error}", parent.display())]
    Unusable {
        controller: &'static str,
        parent: PathBuf,
        error: io::Error,
    },
}

/// Finds a directory for each controller, or the reason why there is none. Also returns the lowest
/// memory limit that applies to this process.
pub(super) fn directories() -> ([Result<GroupDirectory, ControllerError>; 3], Option<u64>) {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let group_of_v2 = v2_group(&own, &mounts);
    let v2_directories = group_of_v2.as_deref().map(|group| {
        let candidates = candidates(group, systemd::under_systemd());
        best(&candidates, |parent, may_enable| {
            Controller::ALL
                .map(|controller| try_controller(Version::V2, parent, controller, may_enable))
        })
    });
    let mut directories = v2_directories.unwrap_or_else(|| {
        Controller::ALL.map(|controller| Err(ControllerError::NotMounted(controller.name())))
    });
    for (controller, directory) in Controller::ALL.into_iter().zip(&mut directories) {
        if is_v1(&own, controller) {
            *directory = v1_directory(&own, &mounts, controller);
        }
    }
    let memory_limit = match &directories[0] {
        Ok(directory) if directory.version == Version::V1 => v1::memory_limit(&directory.path),
        _ => group_of_v2.as_deref().and_then(v2::memory_limit),
    };
    (directories, memory_limit)
}

/// Finds a directory below this process's v1 group.
fn v1_directory(
    own: &str,
    mounts: &str,
    controller: Controller,
) -> Result<GroupDirectory, ControllerError> {
    let parent = v1_group(own, mounts, controller)
        .ok_or_else(|| ControllerError::NotMounted(controller.name()))?;
    try_controller(Version::V1, &parent, controller, true)
        .map_err(|error| unusable(&parent, controller, error))?;
    Ok(GroupDirectory {
        version: Version::V1,
        path: parent,
    })
}

fn unusable(parent: &Path, controller: Controller, error: io::Error) -> ControllerError {
    ControllerError::Unusable {
        controller: controller.name(),
        parent: parent.to_owned(),
        error,
    }
}

/// The v2 groups below which groups may be made, and whether controllers may be enabled there.
///
/// This process's own group contains processes. Unless it is the root of all groups, groups below
/// it cannot have controllers, but groups beside it can.
fn candidates(group: &Path, under_systemd: bool) -> Vec<(PathBuf, bool)> {
    let mut candidates = Vec::new();
    if !group.join("cgroup.type").exists() {
        candidates.push((group.to_owned(), !under_systemd));
    }
    if let Some(parent) = group.parent()
        && parent.join("cgroup.procs").exists()
    {
        // Systemd eventually reverts changes to groups that it has not delegated.
        let delegated = group.file_name().is_some_and(|name| name == systemd::LEAF);
        candidates.push((parent.to_owned(), delegated || !under_systemd));
    }
    // If the attempt in this group fails too, it at least gives the reason.
    if candidates.is_empty() {
        candidates.push((group.to_owned(), false));
    }
    candidates
}

/// Picks the group with the most controllers. In v2 a process is in one group for all controllers.
fn best(
    candidates: &[(PathBuf, bool)],
    try_controller: impl Fn(&Path, bool) -> [io::Result<()>; 3],
) -> [Result<GroupDirectory, ControllerError>; 3] {
    let mut best: Option<(usize, [Result<GroupDirectory, ControllerError>; 3])> = None;
    for (parent, may_enable) in candidates {
        let mut attempts = try_controller(parent, *may_enable).into_iter();
        let directories = Controller::ALL.map(|controller| match attempts.next() {
            Some(Ok(())) => Ok(GroupDirectory {
                version: Version::V2,
                path: parent.clone(),
            }),
            Some(Err(error)) => Err(unusable(parent, controller, error)),
            None => Err(ControllerError::NotMounted(controller.name())),
        });
        let count = directories
            .iter()
            .filter(|directory| directory.is_ok())
            .count();
        if best.as_ref().is_none_or(|(most, _)| count > *most) {
            best = Some((count, directories));
        }
    }
    best.map_or_else(
        || Controller::ALL.map(|controller| Err(ControllerError::NotMounted(controller.name()))),
        |(_, directories)| directories,
    )
}

/// Tests a controller by making and removing a group.
fn try_controller(
    version: Version,
    parent: &Path,
    controller: Controller,
    may_enable: bool,
) -> io::Result<()> {
    if version == Version::V2 {
        v2::enable(parent, controller, may_enable)?;
        // Moving a process also requires write access to the common parent group.
        open(parent, "cgroup.procs")?;
    }
    let group = parent.join(format!("{PROBE_PREFIX}{}", std::process::id()));
    make(&group)?;
    let limit = match (controller, version) {
        (Controller::Memory, Version::V1) => "memory.limit_in_bytes",
        (Controller::Memory, Version::V2) => "memory.max",
        (Controller::Pids, _) => "pids.max",
        (Controller::Cpu, Version::V1) => "cpu.cfs_quota_us",
        (Controller::Cpu, Version::V2) => "cpu.max",
    };
    let result = open(&group, limit)
        .and_then(|_| open(&group, version.join_file()))
        .and_then(|_| match version {
            Version::V1 => Ok(()),
            Version::V2 => v2::takes_processes(&group),
        });
    let _ = fs::remove_dir(&group);
    result
}

/// Returns true if a probe group is left over from a process that was killed.
///
/// The clock may have jumped, so the group of a process that still exists is never left over.
pub(super) fn is_left_over(probe: &Path) -> bool {
    let name = probe.file_name().unwrap_or_default().to_string_lossy();
    let process = name.strip_prefix(PROBE_PREFIX).unwrap_or_default();
    if !process.is_empty() && Path::new("/proc").join(process).exists() {
        return false;
    }
    let modified = fs::metadata(probe).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > MAX_PROBE_AGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a group's files like the kernel's. The root of all groups has no cgroup.type.
    fn group(path: &Path) {
        fs::create_dir(path).unwrap();
        fs::write(path.join("cgroup.procs"), "").unwrap();
        fs::write(path.join("cgroup.type"), "domain\n").unwrap();
    }

    #[test]
    fn the_probe_group_of_a_living_process_is_never_left_over() {
        let machine = tempfile::tempdir().unwrap();
        let old = std::time::SystemTime::now() - MAX_PROBE_AGE * 100;
        // Process ids have at most 22 bits, so the second process does not exist.
        for (process, left_over) in [(std::process::id(), false), (u32::MAX, true)] {
            let probe = machine.path().join(format!("{PROBE_PREFIX}{process}"));
            fs::create_dir(&probe).unwrap();
            fs::File::open(&probe).unwrap().set_modified(old).unwrap();
            assert_eq!(is_left_over(&probe), left_over, "{process}");
        }
    }

    #[test]
    fn groups_are_made_beside_this_process_and_controllers_enabled_only_if_that_lasts() {
        let machine = tempfile::tempdir().unwrap();
        let root = machine.path();
        fs::write(root.join("cgroup.procs"), "").unwrap();
        let slice = root.join("a.slice");
        let scope = slice.join("b.scope");
        let leaf = scope.join(systemd::LEAF);
        for path in [&slice, &scope, &leaf] {
            group(path);
        }
        let candidates_of = |group: &Path, systemd| candidates(group, systemd);
        assert_eq!(candidates_of(root, false), [(root.to_owned(), true)]);
        assert_eq!(candidates_of(&scope, false), [(slice.clone(), true)]);
        assert_eq!(candidates_of(&scope, true), [(slice.clone(), false)]);
        assert_eq!(candidates_of(&leaf, true), [(scope.clone(), true)]);
    }

    #[test]
    fn all_controllers_are_used_in_the_same_group() {
        let attempts = |parent: &Path, _| {
            let denied = || Err(io::Error::from(io::ErrorKind::PermissionDenied));
            match parent.to_str() {
                Some("/few") => [denied(), Ok(()), denied()],
                _ => [Ok(()), Ok(()), denied()],
            }
        };
        let directories = best(&[("/few".into(), true), ("/more".into(), true)], attempts);
        let parents = directories.each_ref().map(|directory| {
            directory
                .as_ref()
                .ok()
                .and_then(|directory| directory.path.to_str().map(str::to_owned))
        });
        assert_eq!(parents, [Some("/more".into()), Some("/more".into()), None]);
        let reason = directories[2].as_ref().unwrap_err().to_string();
        assert!(reason.contains("`cpu` can be made in /more: "), "{reason}");
    }
}

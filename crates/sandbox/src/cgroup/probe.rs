//! Finds by trial where this process may make control groups.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::{make, open};
use super::hierarchy::{Controller, GroupDirectory, Version, first_group, is_first, unified_in};
use super::{systemd, v1, v2};

/// The prefix of the names of probe groups.
pub(super) const PREFIX: &str = "contree-probe-";
/// The longest time that a probe group is in use.
const PROBING: Duration = Duration::from_secs(60);

/// Finds a directory for each controller, or why there is none. Also returns the lowest memory
/// limit that applies to this process.
pub(super) fn places() -> ([Result<GroupDirectory, String>; 3], Option<u64>) {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let second = unified_in(&own, &mounts);
    let found = second.as_deref().map(|group| {
        let candidates = candidates(group, systemd::under_systemd());
        best(&candidates, |parent, may_enable| {
            Controller::ALL.map(|controller| attempt(Version::V2, parent, controller, may_enable))
        })
    });
    let mut places = found.unwrap_or_else(|| {
        Controller::ALL.map(|controller| {
            Err(format!(
                "no hierarchy of control groups is mounted that has `{}`",
                controller.name()
            ))
        })
    });
    for (controller, place) in Controller::ALL.into_iter().zip(&mut places) {
        if is_first(&own, controller) {
            *place = first(&own, &mounts, controller);
        }
    }
    let bound = match &places[0] {
        Ok(place) if place.version == Version::V1 => v1::memory_limit(&place.path),
        _ => second.as_deref().and_then(v2::memory_limit),
    };
    (places, bound)
}

/// Finds a directory below this process's v1 group.
fn first(own: &str, mounts: &str, controller: Controller) -> Result<GroupDirectory, String> {
    let name = controller.name();
    let parent = first_group(own, mounts, controller)
        .ok_or_else(|| format!("no hierarchy of control groups is mounted that has `{name}`"))?;
    attempt(Version::V1, &parent, controller, true)
        .map_err(|error| refused(&parent, controller, &error))?;
    Ok(GroupDirectory {
        version: Version::V1,
        path: parent,
    })
}

fn refused(parent: &Path, controller: Controller, error: &io::Error) -> String {
    format!(
        "no control group with `{}` can be made in {}: {error}",
        controller.name(),
        parent.display()
    )
}

/// The v2 groups below which groups may be made, and whether controllers may be enabled there.
///
/// This process's own group contains processes. Unless it is the root of all groups, groups below
/// it cannot have controllers, but groups beside it can.
fn candidates(group: &Path, under_systemd: bool) -> Vec<(PathBuf, bool)> {
    let mut found = Vec::new();
    if !group.join("cgroup.type").exists() {
        found.push((group.to_owned(), !under_systemd));
    }
    if let Some(parent) = group.parent()
        && parent.join("cgroup.procs").exists()
    {
        // Systemd eventually reverts changes to groups that it has not delegated.
        let ours = group.file_name().is_some_and(|name| name == systemd::LEAF);
        found.push((parent.to_owned(), ours || !under_systemd));
    }
    // Trying this group at least yields the reason.
    if found.is_empty() {
        found.push((group.to_owned(), false));
    }
    found
}

/// Picks the group with the most controllers. In v2 a process is in one group for all controllers.
fn best(
    candidates: &[(PathBuf, bool)],
    attempt: impl Fn(&Path, bool) -> [io::Result<()>; 3],
) -> [Result<GroupDirectory, String>; 3] {
    let mut best: Option<(usize, [Result<GroupDirectory, String>; 3])> = None;
    for (parent, may_enable) in candidates {
        let mut tried = attempt(parent, *may_enable).into_iter();
        let places = Controller::ALL.map(|controller| match tried.next() {
            Some(Ok(())) => Ok(GroupDirectory {
                version: Version::V2,
                path: parent.clone(),
            }),
            Some(Err(error)) => Err(refused(parent, controller, &error)),
            None => Err(String::new()),
        });
        let count = places.iter().filter(|place| place.is_ok()).count();
        if best.as_ref().is_none_or(|(most, _)| count > *most) {
            best = Some((count, places));
        }
    }
    best.map_or_else(
        || Controller::ALL.map(|_| Err(String::new())),
        |(_, places)| places,
    )
}

/// Tests a controller by making and removing a group.
fn attempt(
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
    let group = parent.join(format!("{PREFIX}{}", std::process::id()));
    make(&group)?;
    let limit = match (controller, version) {
        (Controller::Memory, Version::V1) => "memory.limit_in_bytes",
        (Controller::Memory, Version::V2) => "memory.max",
        (Controller::Pids, _) => "pids.max",
        (Controller::Cpu, Version::V1) => "cpu.cfs_quota_us",
        (Controller::Cpu, Version::V2) => "cpu.max",
    };
    let result = open(&group, limit)
        .and_then(|_| open(&group, version.door()))
        .and_then(|_| match version {
            Version::V1 => Ok(()),
            Version::V2 => v2::takes_processes(&group),
        });
    let _ = fs::remove_dir(&group);
    result
}

/// Returns true if a probe group is left over from a process that was killed.
pub(super) fn is_left_behind(probe: &Path) -> bool {
    let made = fs::metadata(probe).and_then(|about| about.modified());
    made.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > PROBING))
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
    fn groups_are_made_beside_the_own_one_and_controllers_enabled_only_where_that_lasts() {
        let machine = tempfile::tempdir().unwrap();
        let root = machine.path();
        fs::write(root.join("cgroup.procs"), "").unwrap();
        let slice = root.join("a.slice");
        let scope = slice.join("b.scope");
        let leaf = scope.join(systemd::LEAF);
        for path in [&slice, &scope, &leaf] {
            group(path);
        }
        let of = |group: &Path, systemd| candidates(group, systemd);
        assert_eq!(of(root, false), [(root.to_owned(), true)]);
        assert_eq!(of(&scope, false), [(slice.clone(), true)]);
        assert_eq!(of(&scope, true), [(slice.clone(), false)]);
        assert_eq!(of(&leaf, true), [(scope.clone(), true)]);
    }

    #[test]
    fn all_controllers_are_had_in_the_same_group() {
        let tried = |parent: &Path, _| {
            let no = || Err(io::Error::from(io::ErrorKind::PermissionDenied));
            match parent.to_str() {
                Some("/few") => [no(), Ok(()), no()],
                _ => [Ok(()), Ok(()), no()],
            }
        };
        let places = best(&[("/few".into(), true), ("/more".into(), true)], tried);
        let parents = places.each_ref().map(|place| {
            place
                .as_ref()
                .ok()
                .and_then(|place| place.path.to_str().map(str::to_owned))
        });
        assert_eq!(parents, [Some("/more".into()), Some("/more".into()), None]);
        let why = places[2].as_ref().unwrap_err();
        assert!(why.contains("`cpu` can be made in /more: "), "{why}");
    }
}

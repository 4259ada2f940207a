//! Where this process may make control groups, found by trying.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::{make, open};
use super::hierarchy::{Controller, GroupDirectory, Version, first_group, is_first, unified_in};
use super::{systemd, v1, v2};

/// What the names of groups begin with that are made to try what can be had, and how long such a group may be in use.
pub(super) const PREFIX: &str = "contree-probe-";
const PROBING: Duration = Duration::from_secs(60);

/// A place for each controller, or why there is none; and the least of the bounds on memory that this process is under.
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

/// A place below this process's own group of the first interface.
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

/// The groups of the second interface below which some may be made, with whether controllers may be enabled there. This process's own has
/// processes, so that none below it can have controllers, unless it is the root of all; one beside it can.
fn candidates(group: &Path, under_systemd: bool) -> Vec<(PathBuf, bool)> {
    let mut found = Vec::new();
    if !group.join("cgroup.type").exists() {
        found.push((group.to_owned(), !under_systemd));
    }
    if let Some(parent) = group.parent()
        && parent.join("cgroup.procs").exists()
    {
        // What systemd has not left to others it sets back sooner or later.
        let ours = group.file_name().is_some_and(|name| name == systemd::LEAF);
        found.push((parent.to_owned(), ours || !under_systemd));
    }
    // Said of it is at least why.
    if found.is_empty() {
        found.push((group.to_owned(), false));
    }
    found
}

/// The group that has most: in the second interface a process is in one group for all controllers.
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

/// Makes a group and removes it.
fn attempt(
    version: Version,
    parent: &Path,
    controller: Controller,
    may_enable: bool,
) -> io::Result<()> {
    if version == Version::V2 {
        v2::enable(parent, controller, may_enable)?;
        // Who moves a process needs to write to the group above both as well.
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

/// Whether a group that was made to try something has outlived that, since its maker was killed meanwhile.
pub(super) fn is_left_behind(probe: &Path) -> bool {
    let made = fs::metadata(probe).and_then(|about| about.modified());
    made.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > PROBING))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel has them: the root of all has no type.
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

//! Where this process may make control groups.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Controller, Place, Version, make, open, own, v1, v2};

/// What the names of groups begin with that are made to try what can be had, and how long such a group may be in use.
pub(super) const PROBE: &str = "contree-probe-";
const PROBING: Duration = Duration::from_secs(60);

/// A place for each controller, or why there is none; and the least of the bounds on memory that this process is under.
pub(super) fn places() -> ([Result<Place, String>; 3], Option<u64>) {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let second = unified_in(&own, &mounts);
    let found = second.as_deref().map(|group| {
        let candidates = candidates(group, own::under_systemd());
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
        Ok(place) if place.version == Version::V1 => v1::memory_limit(&place.parent),
        _ => second.as_deref().and_then(v2::memory_limit),
    };
    (places, bound)
}

/// The directory of this process's group in the hierarchy of the second interface, if that has all controllers.
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

/// The memory of this machine, in bytes; 0 if it cannot be told.
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

/// Whether the first interface has the controller.
fn is_first(own: &str, controller: Controller) -> bool {
    own.lines()
        .filter_map(|line| line.split(':').nth(1))
        .any(|controllers| controllers.split(',').any(|one| one == controller.name()))
}

/// A place below this process's own group of the first interface.
fn first(own: &str, mounts: &str, controller: Controller) -> Result<Place, String> {
    let name = controller.name();
    let parent = first_group(own, mounts, controller)
        .ok_or_else(|| format!("no hierarchy of control groups is mounted that has `{name}`"))?;
    attempt(Version::V1, &parent, controller, true)
        .map_err(|error| refused(&parent, controller, &error))?;
    Ok(Place {
        version: Version::V1,
        parent,
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
        let ours = group.file_name().is_some_and(|name| name == own::LEAF);
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
) -> [Result<Place, String>; 3] {
    let mut best: Option<(usize, [Result<Place, String>; 3])> = None;
    for (parent, may_enable) in candidates {
        let mut tried = attempt(parent, *may_enable).into_iter();
        let places = Controller::ALL.map(|controller| match tried.next() {
            Some(Ok(())) => Ok(Place {
                version: Version::V2,
                parent: parent.clone(),
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
    let group = parent.join(format!("{PROBE}{}", std::process::id()));
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

/// The directory of this process's own group in the hierarchy of the first interface that has the controller.
fn first_group(own: &str, mounts: &str, controller: Controller) -> Option<PathBuf> {
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

fn unified_in(own: &str, mounts: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounted(mounts, path, |kind, _| kind == "cgroup2")
}

/// Where a group is to be found below a mount whose kind and options will do.
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
        // A group outside of what this process may see begins with `..`.
        if below.components().any(|part| part.as_os_str() == "..") {
            return None;
        }
        // Else the path would end with a slash, and have another parent.
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
        let leaf = scope.join(own::LEAF);
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
                .and_then(|place| place.parent.to_str().map(str::to_owned))
        });
        assert_eq!(parents, [Some("/more".into()), Some("/more".into()), None]);
        let why = places[2].as_ref().unwrap_err();
        assert!(why.contains("`cpu` can be made in /more: "), "{why}");
    }
}

//! Control groups: what bounds a sandbox as a whole, where this process may make any.
//!
//! A sandbox's group is made beside or below the engine's own, in each hierarchy that has a controller it needs. Its name says of which
//! store and run it is, so that a later engine tells what another one left. The init goes in by itself, by writing `0` to an open file
//! that it is given: the kernel moves a thread that asks for itself without stopping all others, which would take milliseconds.

mod find;
mod own;
mod v1;
mod v2;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use crate::error::Error;
use crate::protocol::spec::Limits;
use crate::store::LayerStore;

/// How often, and after what time, the removal of a group is tried again that the kernel still holds.
const TRIES: u32 = 500;
const PAUSE: Duration = Duration::from_millis(1);

/// Processes of the engine that are in the group beside what counts as inside: the first stage.
const OURS: u32 = 1;

/// What a controller bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    /// The kernel's name.
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

/// One of the kernel's two interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// Where groups with a controller can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    version: Version,
    parent: PathBuf,
}

/// What this process can bound of a sandbox by control groups.
#[derive(Debug)]
pub struct ControlGroups {
    /// In the order of [`Controller::ALL`]: the place, or why there is none.
    places: [Result<Place, String>; 3],
    memory_bytes: u64,
}

impl ControlGroups {
    /// Has systemd give this process a control group for itself alone, where it needs one and can have it, and enters it; to be called once,
    /// before anything else of this type. Nothing is done, and nothing lost, where that is not so. No other process is moved.
    ///
    /// `stays` says that the process is to outlive the login session that it was started in. A group of an ordinary user's does not, unless
    /// the user's manager stays (`loginctl enable-linger`), and else none is asked for.
    pub fn enter(stays: bool) {
        own::enter(stays);
    }

    /// Looks at what this process may do, once; it tries by making a group and removing it.
    pub fn get() -> &'static Self {
        static FOUND: OnceLock<ControlGroups> = OnceLock::new();
        FOUND.get_or_init(|| {
            let (places, above) = find::places();
            let memory_bytes = find::memory_total();
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

    fn place(&self, controller: Controller) -> Result<&Place, &str> {
        let index = Controller::ALL.iter().position(|one| *one == controller);
        index
            .and_then(|index| self.places.get(index))
            .map_or(Err(""), |place| place.as_ref().map_err(String::as_str))
    }

    /// The directories in which groups are made, each once.
    fn parents(&self) -> Vec<&Path> {
        let mut parents: Vec<&Path> = Vec::new();
        for place in self.places.iter().flatten() {
            if !parents.contains(&place.parent.as_path()) {
                parents.push(&place.parent);
            }
        }
        parents
    }
}

/// How this process comes by control groups.
fn remedy() -> String {
    own::remedy().unwrap_or_else(|| get_control_groups().into())
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
fn wanted(limits: &Limits) -> Vec<Controller> {
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

/// The group of one sandbox. Dropping it removes it; then nothing may be in it any more.
#[derive(Debug)]
pub(crate) struct Group {
    directories: Vec<PathBuf>,
    memory: Option<(Place, u64)>,
    doors: Vec<OwnedFd>,
}

impl Group {
    /// Makes the group of a sandbox as far as it can be had here. What `limits` asks for it must have.
    pub(crate) fn make(
        store: &LayerStore,
        run: &str,
        limits: &Limits,
        max_processes: u32,
    ) -> Result<Self, Error> {
        let groups = ControlGroups::get();
        if let Some(why) = groups.refusal(limits) {
            return Err(Error::Invalid(format!("limits: {why}")));
        }
        let asked = wanted(limits);
        let mut group = Self {
            directories: Vec::new(),
            memory: None,
            doors: Vec::new(),
        };
        let Some(name) = prefix(store).map(|prefix| prefix + run) else {
            return Ok(group);
        };
        let memory = limits.memory_bytes.or(groups.memory_bytes());
        let processes = limits.processes.unwrap_or(max_processes);
        for controller in Controller::ALL {
            let must = asked.contains(&controller);
            let Ok(place) = groups.place(controller) else {
                continue;
            };
            let done = match controller {
                Controller::Memory => memory.map(|bytes| {
                    let directory = group.enter(place, &name)?;
                    match place.version {
                        Version::V1 => v1::set_memory(&directory, bytes),
                        Version::V2 => v2::set_memory(&directory, bytes),
                    }?;
                    let parent = directory;
                    let version = place.version;
                    group.memory = Some((Place { version, parent }, bytes));
                    Ok(())
                }),
                Controller::Pids => Some(group.enter(place, &name).and_then(|directory| {
                    let most = processes.saturating_add(OURS).to_string();
                    set(&directory, "pids.max", &most)
                })),
                // Without a quota there is nothing to gain from a group, and it would cost time.
                Controller::Cpu => limits.cpus.map(|cpus| {
                    let directory = group.enter(place, &name)?;
                    match place.version {
                        Version::V1 => v1::set_cpus(&directory, cpus),
                        Version::V2 => v2::set_cpus(&directory, cpus),
                    }
                }),
            };
            if let Some(Err(error)) = done
                && must
            {
                return Err(Error::Invalid(format!(
                    "limits: the kernel does not set the control group's {}: {error}",
                    controller.name()
                )));
            }
        }
        Ok(group)
    }

    /// Makes the directory, if it is not there yet, and opens what the init writes to.
    fn enter(&mut self, place: &Place, name: &str) -> io::Result<PathBuf> {
        let directory = place.parent.join(name);
        if self.directories.contains(&directory) {
            return Ok(directory);
        }
        make(&directory)?;
        self.directories.push(directory.clone());
        let door = open(&directory, place.version.door())?;
        self.doors.push(door.into());
        Ok(directory)
    }

    /// What the init writes `0` to, in order to be in the group. They are given away.
    pub(crate) fn take_doors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.doors)
    }

    /// Whether something is in the group, in all hierarchies.
    pub(crate) fn is_entered(&self) -> bool {
        self.directories.iter().all(|directory| {
            fs::read(directory.join("cgroup.procs")).is_ok_and(|members| !members.is_empty())
        })
    }

    /// The bound on memory, if the kernel has killed a process for it.
    pub(crate) fn killed_for_memory(&self) -> Option<u64> {
        let (place, bytes) = self.memory.as_ref()?;
        let file = match place.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let text = fs::read_to_string(place.parent.join(file)).ok()?;
        (value(&text, "oom_kill")? > 0).then_some(*bytes)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for directory in &self.directories {
            remove(directory);
        }
    }
}

impl Version {
    /// The file by which a thread of its own enters a group.
    fn door(self) -> &'static str {
        match self {
            Self::V1 => "tasks",
            Self::V2 => "cgroup.procs",
        }
    }
}

impl LayerStore {
    /// Removes control groups whose engine is gone: of this store's runs alone, and those that tried what can be had.
    pub fn remove_leftover_groups(&self) {
        let Some(prefix) = prefix(self) else { return };
        for parent in ControlGroups::get().parents() {
            for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let Some(name) = name.to_str() else { continue };
                if name.starts_with(find::PROBE) && find::is_left_behind(&entry.path()) {
                    let _ = fs::remove_dir(entry.path());
                }
                let run = name.strip_prefix(&prefix);
                if run.is_some_and(|run| matches!(self.run_is_live(run), Ok(false))) {
                    remove(&entry.path());
                }
            }
        }
    }
}

/// What the names of a store's groups begin with. A store is told by its directory, wherever that is moved to.
fn prefix(store: &LayerStore) -> Option<String> {
    let about = fs::metadata(store.root()).ok()?;
    Some(format!("contree-{:x}-{:x}-", about.dev(), about.ino()))
}

fn make(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Removes a group once it is empty, which it is a moment after its last process has ended.
fn remove(directory: &Path) {
    // There in v2 alone. What is left of a sandbox has no business any more.
    let _ = set(directory, "cgroup.kill", "1");
    for _ in 0..TRIES {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => std::thread::sleep(PAUSE),
            _ => return,
        }
    }
}

fn open(directory: &Path, file: &str) -> io::Result<File> {
    OpenOptions::new().write(true).open(directory.join(file))
}

fn set(directory: &Path, file: &str, value: &str) -> io::Result<()> {
    use std::io::Write as _;
    open(directory, file)?.write_all(value.as_bytes())
}

/// A number of a file with a name and a number in each line.
fn value(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_whole_name() {
        let text = "low 0\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(value(text, "oom_kill"), Some(2));
        assert_eq!(value(text, "kill"), None);
    }

    #[test]
    fn what_has_no_place_is_refused_with_a_remedy() {
        let place = Place {
            version: Version::V2,
            parent: "/sys/fs/cgroup/a".into(),
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

//! The description of this machine's processors and memory nodes that sandboxes see at /sys.
//!
//! It is a directory of the store with copies of some small files of the kernel's /sys. It is made
//! once for each boot and set of online processors, because that takes longer than a start.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::layout::{MACHINE_VIEWS, StoreLayout};

/// The kernel's description of the machine.
const SOURCE: &str = "/sys";
/// The largest copied file, in bytes. The kernel's files have at most a page.
const MAX_BYTES: u64 = 4096;
/// The most processors and nodes with a description of their own.
const MAX_PROCESSORS: usize = 512;
const MAX_NODES: usize = 64;
const MAX_CACHES: usize = 8;

const PROCESSORS: &str = "devices/system/cpu";
const NODES: &str = "devices/system/node";

/// Files that describe the machine as a whole.
const FILES: &[&str] = &[
    "devices/system/cpu/isolated",
    "devices/system/cpu/kernel_max",
    "devices/system/cpu/offline",
    "devices/system/cpu/online",
    "devices/system/cpu/possible",
    "devices/system/cpu/present",
    "devices/system/node/has_cpu",
    "devices/system/node/has_memory",
    "devices/system/node/has_normal_memory",
    "devices/system/node/online",
    "devices/system/node/possible",
    "kernel/mm/transparent_hugepage/defrag",
    "kernel/mm/transparent_hugepage/enabled",
    "kernel/mm/transparent_hugepage/hpage_pmd_size",
    "kernel/mm/transparent_hugepage/shmem_enabled",
];
/// Files of a processor.
const PROCESSOR_FILES: &[&str] = &[
    "cpu_capacity",
    "cpufreq/cpuinfo_max_freq",
    "cpufreq/cpuinfo_min_freq",
    "online",
    "regs/identification/midr_el1",
    "topology/book_id",
    "topology/book_siblings",
    "topology/cluster_cpus",
    "topology/cluster_cpus_list",
    "topology/cluster_id",
    "topology/core_cpus",
    "topology/core_cpus_list",
    "topology/core_id",
    "topology/core_siblings",
    "topology/core_siblings_list",
    "topology/die_cpus",
    "topology/die_cpus_list",
    "topology/die_id",
    "topology/drawer_id",
    "topology/drawer_siblings",
    "topology/package_cpus",
    "topology/package_cpus_list",
    "topology/physical_package_id",
    "topology/thread_siblings",
    "topology/thread_siblings_list",
];
/// Files of a cache.
const CACHE_FILES: &[&str] = &[
    "allocation_policy",
    "coherency_line_size",
    "id",
    "level",
    "number_of_sets",
    "physical_line_partition",
    "shared_cpu_list",
    "shared_cpu_map",
    "size",
    "type",
    "ways_of_associativity",
    "write_policy",
];
/// Files of a memory node. Of `meminfo` only the total is copied, since the rest changes.
const NODE_FILES: &[&str] = &["cpulist", "cpumap", "distance"];

impl StoreLayout {
    /// The directory of the description, relative to the store. Its content is in `d`, beside an
    /// `empty` directory. `None` if it could not be made, such as on a full disk.
    pub(crate) fn machine_view(&self) -> Option<&Path> {
        if self.machine_view.get().is_none() {
            // A failure is not remembered: the disk may have space for the next sandbox.
            let made = self.make_machine_view(Path::new(SOURCE)).ok()?;
            let _ = self.machine_view.set(made);
        }
        self.machine_view.get().map(PathBuf::as_path)
    }

    fn make_machine_view(&self, source: &Path) -> io::Result<PathBuf> {
        let views = Path::new(MACHINE_VIEWS);
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = boot.trim();
        let mut hasher = DefaultHasher::new();
        read(&source.join(PROCESSORS).join("online"))
            .unwrap_or_default()
            .hash(&mut hasher);
        let view = views.join(format!("{boot}-{:016x}", hasher.finish()));
        if self.path(&view).is_dir() {
            return Ok(view);
        }
        for entry in fs::read_dir(self.path(views))?.flatten() {
            // No sandbox of an earlier boot uses a view.
            if !entry.file_name().to_string_lossy().contains(boot) {
                let _ = self.remove_tree(&views.join(entry.file_name()));
            }
        }
        let temporary = tempfile_name(boot);
        let unfinished = views.join(temporary);
        let written = write_view(source, &self.path(&unfinished))
            .and_then(|()| fs::rename(self.path(&unfinished), self.path(&view)));
        match written {
            Ok(()) => Ok(view),
            Err(error) => {
                let _ = self.remove_tree(&unfinished);
                // Another engine may have made it meanwhile.
                if self.path(&view).is_dir() {
                    Ok(view)
                } else {
                    Err(error)
                }
            }
        }
    }
}

/// A name that no other store of this boot uses at the same time.
fn tempfile_name(boot: &str) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!(".new-{boot}-{}-{number}", std::process::id())
}

/// Writes the view of `source` into a new directory.
fn write_view(source: &Path, target: &Path) -> io::Result<()> {
    make_directory(target)?;
    make_directory(&target.join("empty"))?;
    let mut view = View {
        source,
        target: target.join("d"),
        directories: HashSet::new(),
        files: HashMap::new(),
    };
    make_directory(&view.target)?;
    for file in FILES {
        view.copy(Path::new(file))?;
    }
    let processors = numbered(&source.join(PROCESSORS), "cpu", MAX_PROCESSORS);
    for name in &processors {
        view.copy_processor(&Path::new(PROCESSORS).join(name))?;
    }
    for name in numbered(&source.join(NODES), "node", MAX_NODES) {
        view.copy_node(&name, &processors)?;
    }
    Ok(())
}

/// The view of a machine while it is written.
struct View<'a> {
    source: &'a Path,
    target: PathBuf,
    /// The directories that exist, relative to the target.
    directories: HashSet<PathBuf>,
    /// One file for each content. Others with that content are further names of it.
    files: HashMap<Vec<u8>, PathBuf>,
}

impl View<'_> {
    fn copy_processor(&mut self, processor: &Path) -> io::Result<()> {
        for file in PROCESSOR_FILES {
            self.copy(&processor.join(file))?;
        }
        let caches = processor.join("cache");
        for index in numbered(&self.source.join(&caches), "index", MAX_CACHES) {
            for file in CACHE_FILES {
                self.copy(&caches.join(&index).join(file))?;
            }
        }
        Ok(())
    }

    fn copy_node(&mut self, name: &str, processors: &[String]) -> io::Result<()> {
        let node = Path::new(NODES).join(name);
        for file in NODE_FILES {
            self.copy(&node.join(file))?;
        }
        let memory = read(&self.source.join(&node).join("meminfo")).unwrap_or_default();
        let memory = String::from_utf8_lossy(&memory).into_owned();
        if let Some(total) = memory.lines().find(|line| line.contains("MemTotal:")) {
            self.write(&node.join("meminfo"), format!("{total}\n").into_bytes())?;
        }
        for processor in processors {
            if !self.source.join(&node).join(processor).exists() {
                continue;
            }
            self.make_directories(&node)?;
            let directory = Path::new(PROCESSORS).join(processor);
            self.make_directories(&directory)?;
            let link = |target: String, place: PathBuf| symlink(target, self.target.join(place));
            link(format!("../../cpu/{processor}"), node.join(processor))?;
            link(format!("../../node/{name}"), directory.join(name))?;
        }
        Ok(())
    }

    /// Copies a file, if the machine has it.
    fn copy(&mut self, file: &Path) -> io::Result<()> {
        match read(&self.source.join(file)) {
            Some(content) => self.write(file, content),
            None => Ok(()),
        }
    }

    fn write(&mut self, file: &Path, content: Vec<u8>) -> io::Result<()> {
        if let Some(parent) = file.parent() {
            self.make_directories(parent)?;
        }
        let path = self.target.join(file);
        if let Some(same) = self.files.get(&content)
            && fs::hard_link(same, &path).is_ok()
        {
            return Ok(());
        }
        let mut new = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o444)
            .open(&path)?;
        new.write_all(&content)?;
        new.set_permissions(fs::Permissions::from_mode(0o444))?;
        self.files.insert(content, path);
        Ok(())
    }

    fn make_directories(&mut self, directory: &Path) -> io::Result<()> {
        let mut path = PathBuf::new();
        for component in directory.components() {
            path.push(component);
            if self.directories.insert(path.clone()) {
                make_directory(&self.target.join(&path))?;
            }
        }
        Ok(())
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    // The umask may have taken bits away.
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// The content of a small file. `None` if it cannot be read, as for a setting that this processor
/// does not have.
fn read(path: &Path) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MAX_BYTES).read_to_end(&mut content).ok()?;
    Some(content)
}

/// The entries of a directory that are the prefix and a number, in ascending order.
fn numbered(directory: &Path, prefix: &str, most: usize) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut numbers: Vec<u32> = entries
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_prefix(prefix)?
                .parse()
                .ok()
        })
        .collect();
    numbers.sort_unstable();
    numbers.truncate(most);
    numbers
        .iter()
        .map(|number| format!("{prefix}{number}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, file: &str, content: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    #[test]
    fn a_view_has_the_listed_files_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("machine");
        for number in [0, 1] {
            let processor = format!("{PROCESSORS}/cpu{number}");
            put(
                &source,
                &format!("{processor}/topology/core_id"),
                &format!("{number}\n"),
            );
            put(&source, &format!("{processor}/cache/index0/size"), "32K\n");
            put(&source, &format!("{processor}/crash_notes"), "ffff\n");
        }
        put(&source, &format!("{PROCESSORS}/online"), "0-1\n");
        put(
            &source,
            &format!("{PROCESSORS}/vulnerabilities/meltdown"),
            "Vulnerable\n",
        );
        put(
            &source,
            &format!("{NODES}/node0/meminfo"),
            "Node 0 MemTotal: 8 kB\nNode 0 MemFree: 1 kB\n",
        );
        fs::create_dir_all(source.join(NODES).join("node0/cpu1")).unwrap();
        put(&source, "class/net/eth0/address", "00:00\n");
        let target = directory.path().join("view");
        write_view(&source, &target).unwrap();
        let view = target.join("d");
        let text = |file: &str| fs::read_to_string(view.join(file)).unwrap();
        assert_eq!(text("devices/system/cpu/online"), "0-1\n");
        assert_eq!(text("devices/system/cpu/cpu1/topology/core_id"), "1\n");
        assert_eq!(text("devices/system/cpu/cpu1/cache/index0/size"), "32K\n");
        assert_eq!(
            text("devices/system/node/node0/meminfo"),
            "Node 0 MemTotal: 8 kB\n"
        );
        assert_eq!(
            text("devices/system/node/node0/cpu1/topology/core_id"),
            "1\n"
        );
        assert!(view.join("devices/system/cpu/cpu1/node0/meminfo").exists());
        for absent in [
            "class",
            "devices/system/cpu/vulnerabilities",
            "devices/system/cpu/cpu0/crash_notes",
            "devices/system/cpu/cpu0/node0",
        ] {
            assert!(!view.join(absent).exists(), "{absent}");
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&view), 0o755);
        assert_eq!(mode(&view.join("devices/system/cpu/online")), 0o444);
    }
}

//! Tests of the root made of this machine's own programs: it is complete, and contains nothing else
//! of the machine.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use contree_sandbox::host_root::{HostReport, build};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, StringTable, elf};

type Header = elf::FileHeader64<Endianness>;

fn build_root() -> (tempfile::TempDir, HostReport) {
    let new = tempfile::tempdir().unwrap();
    let report = build(new.path(), None).unwrap();
    (new, report)
}

/// Collects every path in the tree, relative to it.
fn walk(root: &Path) -> BTreeMap<PathBuf, fs::Metadata> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                waiting.push(path.clone());
            }
            found.insert(path.strip_prefix(root).unwrap().to_owned(), metadata);
        }
    }
    found
}

/// Follows links as a process with this root does.
fn inside(root: &Path, path: &Path) -> Option<PathBuf> {
    let mut ahead: Vec<PathBuf> = path
        .components()
        .rev()
        .map(|component| PathBuf::from(component.as_os_str()))
        .collect();
    let mut here = PathBuf::new();
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        match name.components().next()? {
            Component::RootDir => here = PathBuf::new(),
            Component::ParentDir => {
                here.pop();
            }
            Component::Normal(name) => {
                let next = here.join(name);
                match fs::read_link(root.join(&next)) {
                    Ok(target) => {
                        links += 1;
                        if links > 40 {
                            return None;
                        }
                        ahead.extend(
                            target
                                .components()
                                .rev()
                                .map(|component| PathBuf::from(component.as_os_str())),
                        );
                    }
                    Err(_) => here = next,
                }
            }
            _ => {}
        }
    }
    root.join(&here).exists().then_some(here)
}

struct ElfNeeds {
    interpreter: Option<PathBuf>,
    libraries: Vec<String>,
    paths: Vec<String>,
}

fn needs(data: &[u8]) -> Option<ElfNeeds> {
    let header = Header::parse(data).ok()?;
    let endian = header.endian().unwrap();
    let segments = header.program_headers(endian, data).unwrap();
    let mut found = ElfNeeds {
        interpreter: None,
        libraries: Vec::new(),
        paths: Vec::new(),
    };
    for segment in segments {
        if let Some(path) = segment.interpreter(endian, data).unwrap() {
            found.interpreter = Some(PathBuf::from(std::str::from_utf8(path).unwrap()));
        }
        let Some(entries) = segment.dynamic(endian, data).unwrap() else {
            continue;
        };
        let value = |tag| {
            entries
                .iter()
                .find(|entry| entry.d_tag(endian) == tag)
                .map(|entry| entry.val(endian))
        };
        let (Some(address), Some(size)) = (value(elf::DT_STRTAB), value(elf::DT_STRSZ)) else {
            continue;
        };
        let load = segments.iter().find(|load| {
            let start = load.p_vaddr(endian);
            load.p_type(endian) == elf::PT_LOAD
                && (start..start + load.p_filesz(endian)).contains(&address)
        })?;
        let start = load.p_offset(endian) + address - load.p_vaddr(endian);
        let strings = StringTable::new(data, start, start + size);
        for entry in entries {
            let text =
                || String::from_utf8_lossy(entry.string(endian, strings).unwrap()).into_owned();
            match entry.d_tag(endian) {
                elf::DT_NEEDED => found.libraries.push(text()),
                elf::DT_RPATH | elf::DT_RUNPATH => {
                    found.paths.extend(text().split(':').map(str::to_owned))
                }
                _ => {}
            }
        }
    }
    Some(found)
}

/// The directories that a loader searches without configuration. The tree has no `ld.so.cache`.
fn loader_directories() -> Vec<String> {
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    [format!("/lib/{triplet}"), format!("/usr/lib/{triplet}")]
        .into_iter()
        .chain(["/lib64", "/usr/lib64", "/lib", "/usr/lib"].map(str::to_owned))
        .collect()
}

#[test]
#[cfg(target_pointer_width = "64")]
fn every_elf_file_finds_its_loader_and_libraries_within_the_tree() {
    let (new, report) = build_root();
    let root = new.path();
    let mut missing = BTreeSet::new();
    let mut checked = 0;
    for (path, metadata) in walk(root) {
        if !metadata.is_file() {
            continue;
        }
        let mut magic = [0; 4];
        let mut file = File::open(root.join(&path)).unwrap();
        if file.read(&mut magic).unwrap() < 4 || &magic != b"\x7fELF" {
            continue;
        }
        let Some(needs) = needs(&fs::read(root.join(&path)).unwrap()) else {
            continue;
        };
        checked += 1;
        if let Some(interpreter) = &needs.interpreter
            && inside(root, interpreter).is_none()
        {
            missing.insert(format!(
                "{} wants {}",
                path.display(),
                interpreter.display()
            ));
        }
        let origin = Path::new("/").join(path.parent().unwrap());
        let own = needs
            .paths
            .iter()
            .map(|entry| entry.replace("$ORIGIN", origin.to_str().unwrap()));
        let directories: Vec<String> = own.chain(loader_directories()).collect();
        for library in &needs.libraries {
            if !directories
                .iter()
                .any(|directory| inside(root, &Path::new(directory).join(library)).is_some())
            {
                missing.insert(format!("{} wants {library}", path.display()));
            }
        }
    }
    assert!(checked > 20, "only {checked} ELF files in {report:?}");
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_link_ends_in_the_tree_and_every_script_has_its_interpreter() {
    let (new, _) = build_root();
    let root = new.path();
    for (path, metadata) in walk(root) {
        // /proc is filled when a sandbox starts.
        if metadata.is_symlink() && path != Path::new("etc/mtab") {
            assert!(
                inside(root, &path).is_some(),
                "{} leads nowhere: {:?}",
                path.display(),
                fs::read_link(root.join(&path))
            );
        }
        if metadata.is_file() && metadata.mode() & 0o111 != 0 && path.starts_with("usr/bin") {
            let text = fs::read(root.join(&path)).unwrap();
            if let Some(line) = text.strip_prefix(b"#!") {
                let line =
                    String::from_utf8_lossy(line.split(|byte| *byte == b'\n').next().unwrap())
                        .into_owned();
                let interpreter = line.split_whitespace().next().unwrap();
                assert!(
                    inside(root, Path::new(interpreter)).is_some(),
                    "{} wants {interpreter}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn nothing_private_of_the_machine_is_taken() {
    let (new, _) = build_root();
    let root = new.path();
    let own: HashSet<&str> = [
        "etc/passwd",
        "etc/group",
        "etc/hosts",
        "etc/nsswitch.conf",
        "etc/profile",
        "etc/resolv.conf",
    ]
    .into();
    let public = [
        "bin",
        "sbin",
        "lib",
        "lib32",
        "lib64",
        "libx32",
        "usr/bin",
        "usr/sbin",
        "usr/lib",
        "usr/lib32",
        "usr/lib64",
        "usr/libexec",
        "usr/share",
        "nix/store",
        "gnu/store",
    ];
    let certificates = [
        "etc/ssl",
        "etc/pki/ca-trust/extracted",
        "etc/pki/tls",
        "etc/ca-certificates/extracted",
        "var/lib/ca-certificates",
    ];
    let texts = [
        "etc/os-release",
        "etc/services",
        "etc/protocols",
        "etc/alternatives",
    ];
    for (path, metadata) in walk(root) {
        let name = path.to_str().unwrap();
        assert_eq!(metadata.mode() & 0o6000, 0, "{name} is set-user-id");
        if metadata.is_dir()
            || metadata.is_symlink() && ["etc/mtab", "var/run"].contains(&name)
            || own.contains(name)
        {
            continue;
        }
        let within = |trees: &[&str]| trees.iter().any(|tree| path.starts_with(tree));
        assert!(
            within(&public) || within(&certificates) || within(&texts),
            "{name} was taken"
        );
        assert!(
            !name.contains("private") || name.starts_with("usr/lib/python"),
            "{name} was taken"
        );
        if metadata.is_file() {
            let original = fs::metadata(Path::new("/").join(&path)).unwrap();
            assert_ne!(
                original.mode() & 0o004,
                0,
                "{name} is not public on the host"
            );
        }
    }
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for file in own {
        let text = fs::read_to_string(root.join(file)).unwrap();
        assert!(
            hostname.trim() == "localhost" || !text.contains(hostname.trim()),
            "{file} names the host"
        );
    }
    for directory in [
        "home",
        "root",
        "tmp",
        "run",
        "var/tmp",
        "proc",
        "sys",
        "dev",
        "usr/local/bin",
    ] {
        assert_eq!(
            fs::read_dir(root.join(directory)).unwrap().count(),
            0,
            "{directory} is not empty"
        );
    }
}

#[test]
fn two_roots_are_alike_and_the_report_counts_them() {
    let ((one, first), (two, second)) = (build_root(), build_root());
    assert_eq!(first, second);
    let (one_tree, two_tree) = (walk(one.path()), walk(two.path()));
    assert!(one_tree.keys().eq(two_tree.keys()));
    let mut seen = HashSet::new();
    let files: Vec<_> = one_tree
        .values()
        .filter(|metadata| metadata.is_file() && seen.insert(metadata.ino()))
        .collect();
    assert_eq!(first.files, files.len() as u64);
    assert_eq!(
        first.bytes,
        files.iter().map(|metadata| metadata.len()).sum::<u64>()
    );
    for (path, metadata) in &one_tree {
        let other = &two_tree[path];
        assert_eq!(
            (metadata.mode(), metadata.len()),
            (other.mode(), other.len()),
            "{}",
            path.display()
        );
        if metadata.is_file() && metadata.len() < 100_000 {
            assert!(
                fs::read(one.path().join(path)).unwrap()
                    == fs::read(two.path().join(path)).unwrap(),
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn the_umask_is_ignored_and_the_requested_owner_is_set() {
    let new = tempfile::tempdir().unwrap();
    let me = fs::metadata(new.path()).unwrap();
    // Only root can give files away; any user can name itself.
    let owner = if me.uid() == 0 {
        (12_345, 23_456)
    } else {
        (me.uid(), me.gid())
    };
    build(new.path(), Some(owner)).unwrap();
    for (path, metadata) in walk(new.path()) {
        assert_eq!(
            (metadata.uid(), metadata.gid()),
            owner,
            "{}",
            path.display()
        );
        if !metadata.is_symlink() {
            let mode = metadata.permissions().mode() & 0o7777;
            assert!(
                [0o755, 0o644, 0o700, 0o1777].contains(&mode),
                "{} has mode {mode:o}",
                path.display()
            );
        }
    }
}

//! The directories in which a loader searches for libraries.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::elf::ElfFile;
use super::host::{Host, allowed};

/// The directories of `/etc/ld.so.conf` and the files it includes, in order. Directories that may
/// not be copied from are left out.
///
/// `/usr/local` is left out on purpose: a distribution does not need it, and it may hold the
/// owner's private files.
pub(super) fn configured(host: &Host) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    read_config(
        host,
        Path::new("/etc/ld.so.conf"),
        &mut HashSet::new(),
        &mut directories,
    );
    directories.retain(|directory| allowed(directory));
    directories
}

/// The directories that a loader searches without configuration.
pub(super) fn built_in(file: &ElfFile) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    if let Some(triplet) = triplet(file) {
        directories.push(PathBuf::from(format!("/lib/{triplet}")));
        directories.push(PathBuf::from(format!("/usr/lib/{triplet}")));
    }
    let plain: &[&str] = if file.is_64 {
        &["/lib64", "/usr/lib64", "/lib", "/usr/lib"]
    } else {
        &["/lib", "/usr/lib", "/lib32", "/usr/lib32"]
    };
    directories.extend(plain.iter().map(PathBuf::from));
    directories
}

/// The name of an architecture's library directory on Debian and derived distributions.
fn triplet(file: &ElfFile) -> Option<&'static str> {
    use object::elf;
    Some(match (object::elf::Machine(file.machine), file.is_64) {
        (elf::EM_X86_64, true) => "x86_64-linux-gnu",
        (elf::EM_AARCH64, true) => "aarch64-linux-gnu",
        (elf::EM_RISCV, true) => "riscv64-linux-gnu",
        (elf::EM_PPC64, true) => "powerpc64le-linux-gnu",
        (elf::EM_S390, true) => "s390x-linux-gnu",
        (elf::EM_LOONGARCH, true) => "loongarch64-linux-gnu",
        (elf::EM_ARM, false) => "arm-linux-gnueabihf",
        (elf::EM_386, false) => "i386-linux-gnu",
        _ => return None,
    })
}

fn read_config(
    host: &Host,
    path: &Path,
    visited: &mut HashSet<PathBuf>,
    directories: &mut Vec<PathBuf>,
) {
    if !visited.insert(path.to_owned()) {
        return;
    }
    let Ok(text) = std::fs::read_to_string(host.locate(path)) else {
        return;
    };
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let mut words = line.split_whitespace();
        match words.next() {
            None | Some("hwcap") => {}
            Some("include") => {
                for pattern in words {
                    let base = path.parent().unwrap_or(Path::new("/"));
                    for file in matching(host, &base.join(pattern)) {
                        read_config(host, &file, visited, directories);
                    }
                }
            }
            Some(_) => {
                let entries = line
                    .split([':', ',', ' ', '\t'])
                    .filter(|entry| entry.starts_with('/'));
                directories.extend(
                    entries.map(|entry| PathBuf::from(entry.split('=').next().unwrap_or(entry))),
                );
            }
        }
    }
}

/// The files that match a pattern. Only the last component may hold wildcards, as in all
/// configurations that distributions ship.
fn matching(host: &Host, pattern: &Path) -> Vec<PathBuf> {
    let (Some(directory), Some(name)) = (
        pattern.parent(),
        pattern.file_name().and_then(|name| name.to_str()),
    ) else {
        return Vec::new();
    };
    let names = host.list(directory).unwrap_or_default();
    names
        .iter()
        .filter(|candidate| {
            candidate
                .to_str()
                .is_some_and(|text| wildcard(name.as_bytes(), text.as_bytes()))
        })
        .map(|found| directory.join(found))
        .collect()
}

fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=text.len()).any(|taken| wildcard(rest, &text[taken..])),
        (Some((b'?', rest)), Some((_, text))) => wildcard(rest, text),
        (Some((expected, rest)), Some((found, text))) => expected == found && wildcard(rest, text),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn includes_are_followed_in_order_and_once() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        fs::create_dir_all(etc.join("ld.so.conf.d")).unwrap();
        fs::write(
            etc.join("ld.so.conf"),
            "# first\ninclude ld.so.conf.d/*.conf\n/usr/lib/last # why\n",
        )
        .unwrap();
        fs::write(
            etc.join("ld.so.conf.d/b.conf"),
            "/usr/lib/b1:/usr/lib/b2, /usr/lib/b3=libc6\nhwcap 1 nosegneg\n",
        )
        .unwrap();
        fs::write(
            etc.join("ld.so.conf.d/a.conf"),
            "/usr/lib/a\n/usr/local/lib\n/home/me/lib\ninclude /etc/ld.so.conf\n",
        )
        .unwrap();
        fs::write(etc.join("ld.so.conf.d/ignored.txt"), "/usr/lib/no\n").unwrap();
        let found = configured(&Host::new(root.path()));
        let expected = [
            "/usr/lib/a",
            "/usr/lib/b1",
            "/usr/lib/b2",
            "/usr/lib/b3",
            "/usr/lib/last",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
    }

    #[test]
    fn no_configuration_names_no_directory() {
        let root = tempfile::tempdir().unwrap();
        assert!(configured(&Host::new(root.path())).is_empty());
    }

    #[test]
    fn wildcards_match_whole_names() {
        assert!(wildcard(b"*.conf", b"x.conf"));
        assert!(wildcard(b"?*.c*f", b"x.conf"));
        assert!(!wildcard(b"*.conf", b"x.conf~"));
        assert!(!wildcard(b"?.conf", b".conf"));
    }
}

//! Lines that files of the image have only while the sandbox runs.
//!
//! They are written through the overlay. So the files behave like all others: a command can change,
//! replace and remove them. When the sandbox has ended, `helper::temporary_lines` takes the lines
//! out of the upper directory again.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, unlinkat};
use rustix::io::Errno;

use crate::os::open_resolved::open_resolved;
use crate::os::tree::is_dot;
use crate::protocol::boot::SandboxBoot;
use crate::protocol::spec::{LineFormat, TemporaryLines};

/// The line before the lines. `#` begins a comment in every format.
pub(crate) const MARK: &str = "# Present only while this sandbox runs.";
/// The largest file that gets lines, in bytes.
const MAX_BYTES: u64 = 4 << 20;
/// The most files that match a path with `*`.
const MAX_MATCHES: usize = 32;

const INSIDE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_XDEV);
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The most disk space that a directory takes in the upper directory, when it is copied there.
const DIRECTORY_BYTES: u64 = 4096;
/// Bytes in a block of `st_blocks`.
const BLOCK_BYTES: u64 = 512;

/// Adds the lines, and returns the space that they take in the writable layer. A file that cannot
/// be extended stays as it is, because the command may not need the lines.
pub(crate) fn add(root: BorrowedFd<'_>, boot: &SandboxBoot) -> LinesUse {
    let mut total = LinesUse::default();
    for wanted in &boot.temporary_lines {
        for path in matches(root, &wanted.path) {
            let is_placed = boot.files.iter().any(|file| {
                file.path
                    .strip_prefix("/")
                    .is_ok_and(|placed| placed == path)
            });
            if !is_placed {
                let _ = extend(root, wanted, &path);
                total.add(root, &path);
            }
        }
    }
    total
}

/// The space that temporary lines take in the writable layer, at most.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LinesUse {
    /// The disk space in bytes.
    pub(crate) bytes: u64,
    /// The number of files and directories.
    pub(crate) inodes: u64,
}

impl LinesUse {
    /// Adds a file with lines, and the directories above it.
    fn add(&mut self, root: BorrowedFd<'_>, path: &Path) {
        let Ok(stat) = open_file(root, path, OFlags::RDONLY).and_then(fstat) else {
            return;
        };
        let directories = path.components().count() as u64;
        let blocks = u64::try_from(stat.st_blocks).unwrap_or_default();
        self.bytes += blocks * BLOCK_BYTES + directories * DIRECTORY_BYTES;
        self.inodes += 1 + directories;
    }
}

/// The paths below `root` that a path with `*` means, without a leading slash. They need not exist.
pub(crate) fn matches(root: BorrowedFd<'_>, pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let Component::Normal(name) = component else {
            continue;
        };
        let star = name.as_bytes().iter().position(|&byte| byte == b'*');
        let Some(star) = star else {
            for path in &mut found {
                path.push(name);
            }
            continue;
        };
        let (prefix, suffix) = (&name.as_bytes()[..star], &name.as_bytes()[star + 1..]);
        let is_match = |name: &[u8]| {
            name.len() >= prefix.len() + suffix.len()
                && name.starts_with(prefix)
                && name.ends_with(suffix)
        };
        let names = found.iter().flat_map(|base| {
            let names = names_in(root, base).into_iter();
            names.map(|name| base.join(OsStr::from_bytes(&name)))
        });
        found = names
            .filter(|path| {
                path.file_name()
                    .is_some_and(|name| is_match(name.as_bytes()))
            })
            .take(MAX_MATCHES)
            .collect();
    }
    found
}

/// The names in a directory. Empty if it cannot be read.
fn names_in(root: BorrowedFd<'_>, path: &Path) -> Vec<Vec<u8>> {
    let entries = open(root, path, DIRECTORY).and_then(Dir::new);
    let names = entries.into_iter().flatten().flatten();
    names
        .filter(|entry| !is_dot(entry.file_name()))
        .map(|entry| entry.file_name().to_bytes().to_vec())
        .collect()
}

fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    open_resolved(root, path, flags, INSIDE)
}

/// Opens a regular file below `root` without following symlinks.
pub(crate) fn open_file(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<File, Errno> {
    let safe = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = open(root, path, flags | safe)?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    Ok(file.into())
}

/// The content of a file. `None` if the file is too large to get lines.
pub(crate) fn content(file: File) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut content)?;
    Ok((content.len() as u64 <= MAX_BYTES).then_some(content))
}

/// Adds the missing lines to one file, or makes it.
fn extend(root: BorrowedFd<'_>, wanted: &TemporaryLines, path: &Path) -> io::Result<()> {
    let file = match open_file(root, path, OFlags::RDONLY) {
        Err(Errno::NOENT) => return make(root, wanted, path),
        other => other?,
    };
    if wanted.format == LineFormat::Text && wanted.make_if.is_some() {
        return Ok(());
    }
    let Some(existing) = content(file)? else {
        return Ok(());
    };
    let missing = missing_lines(wanted, &String::from_utf8_lossy(&existing));
    if missing.is_empty() {
        return Ok(());
    }
    let mut text = block(&missing);
    if existing.last().is_some_and(|last| *last != b'\n') {
        text.insert(0, '\n');
    }
    let mut file = open_file(root, path, OFlags::WRONLY | OFlags::APPEND)?;
    file.write_all(text.as_bytes()).inspect_err(|_| {
        // Half a line could have another meaning.
        let _ = file.set_len(existing.len() as u64);
    })
}

/// Makes the file with its lines, if the image has the directory that says so.
fn make(root: BorrowedFd<'_>, wanted: &TemporaryLines, path: &Path) -> io::Result<()> {
    let Some(condition) = &wanted.make_if else {
        return Ok(());
    };
    let condition = condition.strip_prefix("/").unwrap_or(condition);
    let (Ok(mut parent), Some(name)) = (open(root, Path::new(""), DIRECTORY), path.file_name())
    else {
        return Ok(());
    };
    if open(root, condition, DIRECTORY).is_err() {
        return Ok(());
    }
    for component in path.parent().into_iter().flat_map(Path::components) {
        let name = component.as_os_str();
        parent = match rustix::fs::openat(&parent, name, DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => {
                mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
                rustix::fs::openat(&parent, name, DIRECTORY, Mode::empty())?
            }
            other => other?,
        };
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(wanted.mode & 0o7777);
    let mut file = File::from(rustix::fs::openat(&parent, name, flags, mode)?);
    let lines: Vec<&str> = wanted.lines.iter().map(String::as_str).collect();
    file.write_all(block(&lines).as_bytes()).inspect_err(|_| {
        let _ = unlinkat(&parent, name, AtFlags::empty());
    })
}

/// The lines as text, after the mark.
fn block(lines: &[&str]) -> String {
    let mut text = format!("{MARK}\n");
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// The lines that the file does not have in its own form.
fn missing_lines<'a>(wanted: &'a TemporaryLines, existing: &str) -> Vec<&'a str> {
    let lines = wanted.lines.iter().map(String::as_str);
    lines
        .filter(|line| match wanted.format {
            LineFormat::Hosts => {
                let name = line.split_whitespace().nth(1).unwrap_or_default();
                !has_host(existing, name)
            }
            LineFormat::Assignments => !has_assignment(existing, assigned_name(line)),
            LineFormat::Text => true,
        })
        .collect()
}

fn has_host(existing: &str, name: &str) -> bool {
    existing
        .lines()
        .filter_map(|line| line.split('#').next())
        .flat_map(|line| line.split_whitespace().skip(1))
        .any(|host| host.eq_ignore_ascii_case(name))
}

fn has_assignment(existing: &str, name: &str) -> bool {
    existing
        .lines()
        .filter(|line| line.contains('='))
        .any(|line| assigned_name(line) == name)
}

fn assigned_name(line: &str) -> &str {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").unwrap_or(line);
    line.split('=').next().unwrap_or_default().trim()
}

/// The content without the mark and the lines that follow it. `None` if it has no mark.
pub(crate) fn without_lines(content: &[u8], lines: &[String]) -> Option<Vec<u8>> {
    let mut kept = Vec::with_capacity(content.len());
    let mut expected: Option<std::slice::Iter<'_, String>> = None;
    for line in content.split_inclusive(|&byte| byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        if text == MARK.as_bytes() && expected.is_none() {
            expected = Some(lines.iter());
            continue;
        }
        if let Some(rest) = &mut expected {
            // The file may have got only some of the lines, but in their order.
            let mut ahead = rest.clone();
            if ahead.any(|line| line.as_bytes() == text) {
                *rest = ahead;
                continue;
            }
        }
        kept.extend_from_slice(line);
    }
    expected.map(|_| kept)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    fn wanted(format: LineFormat, lines: &[&str]) -> TemporaryLines {
        TemporaryLines {
            path: "/file".into(),
            format,
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
            make_if: None,
            mode: 0o644,
        }
    }

    #[test]
    fn a_file_gets_only_the_lines_that_it_lacks() {
        let hosts = wanted(
            LineFormat::Hosts,
            &["127.0.0.1 localhost", "::1 localhost", "127.0.0.1 box"],
        );
        assert_eq!(missing_lines(&hosts, "").len(), 3);
        assert_eq!(
            missing_lines(&hosts, "127.0.0.1\tLOCALHOST other # box\n"),
            ["127.0.0.1 box"]
        );
        assert!(missing_lines(&hosts, "10.0.0.1 a box\n::1 localhost").is_empty());
        let variables = wanted(LineFormat::Assignments, &["a=1", "b=2", "c=3"]);
        assert_eq!(
            missing_lines(&variables, "export a=x\n#b=\nsay b\n  c = 4\n"),
            ["b=2"]
        );
    }

    #[test]
    fn the_lines_are_taken_out_again_and_others_stay() {
        let lines = ["a=1".to_owned(), "b=2".to_owned(), "c=3".to_owned()];
        let with = |text: &str| {
            let kept = without_lines(text.as_bytes(), &lines);
            kept.map(|kept| String::from_utf8(kept).unwrap())
        };
        assert_eq!(with("a=1\nb=2\n"), None);
        assert_eq!(
            with(&format!("own\n{MARK}\na=1\nc=3\n")).as_deref(),
            Some("own\n")
        );
        // Lines that a command added or repeated.
        assert_eq!(
            with(&format!("{MARK}\na=1\nnew\nb=2\nb=2\n")).as_deref(),
            Some("new\nb=2\n")
        );
        assert_eq!(with(&format!("{MARK}\nx")).as_deref(), Some("x"));
    }

    #[test]
    fn a_star_stands_for_text_within_a_name() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["jvm/java-17-x/conf", "jvm/java-8", "other"] {
            std::fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        let root = rustix::fs::open(directory.path(), DIRECTORY, Mode::empty()).unwrap();
        let all = |pattern: &str| {
            let mut found = matches(root.as_fd(), Path::new(pattern));
            found.sort();
            found
        };
        assert_eq!(all("/etc/hosts"), [Path::new("etc/hosts")]);
        assert_eq!(
            all("/jvm/java-*/conf/p"),
            [
                Path::new("jvm/java-17-x/conf/p"),
                Path::new("jvm/java-8/conf/p")
            ]
        );
        assert_eq!(all("/jvm/java-*-x/p"), [Path::new("jvm/java-17-x/p")]);
        assert!(all("/none/*/p").is_empty());
    }
}

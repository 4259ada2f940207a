//! Writes a plan into an empty directory.
//!
//! Directories come first, then files by a few threads, then symbolic links, then hard links.
//! Making inodes costs more than copying, so equal symbolic links of one directory share one inode.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{self as unix, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use rustix::fs::{CWD, OFlags, copy_file_range, ioctl_ficlone, linkat};

use super::HostError;
use super::host::Host;
use super::plan::{HostFile, Node, Plan};

/// The most threads. More would only wait for each other: the kernel makes the files of a directory
/// one at a time.
const MAX_THREADS: usize = 4;

/// The number of files that a thread takes at once. They are neighbours, so two threads rarely work
/// in one directory.
const CHUNK: usize = 16;

/// The writer of a plan.
pub(super) struct RootWriter<'a> {
    host: &'a Host,
    destination: &'a Path,
    owner: Option<(u32, u32)>,
}

/// The content of a file to make.
enum FileContent<'p> {
    Copy(&'p HostFile),
    Text(&'p [u8]),
}

/// The data that all threads share. It leaves out the host's cache, which is not thread-safe.
struct FileWriter<'a> {
    root: &'a Path,
    destination: &'a Path,
    owner: Option<(u32, u32)>,
    /// True until the file system has refused to share blocks between files.
    clones: AtomicBool,
    /// The index of the next file that no thread has taken.
    next: AtomicUsize,
    /// The bytes written so far.
    bytes: AtomicU64,
}

/// The totals of written files.
pub(super) struct WriteTotals {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl<'a> RootWriter<'a> {
    pub(super) fn new(
        host: &'a Host,
        destination: &'a Path,
        owner: Option<(u32, u32)>,
    ) -> RootWriter<'a> {
        RootWriter {
            host,
            destination,
            owner,
        }
    }

    pub(super) fn write(&self, plan: &Plan) -> Result<WriteTotals, HostError> {
        let mut files = Vec::new();
        let mut symlinks = Vec::new();
        let mut hard_links = Vec::new();
        // Files with several names on the host: the first name by device and inode.
        let mut first: HashMap<(u64, u64), &Path> = HashMap::new();
        for (path, node) in plan.iter() {
            match node {
                Node::Directory { mode } => self.directory(path, *mode)?,
                Node::File(source) if source.links > 1 => {
                    match first.get(&(source.device, source.inode)) {
                        Some(existing) => hard_links.push((*existing, path)),
                        None => {
                            first.insert((source.device, source.inode), path);
                            files.push((path, FileContent::Copy(source)));
                        }
                    }
                }
                Node::File(source) => files.push((path, FileContent::Copy(source))),
                Node::Text(text) => files.push((path, FileContent::Text(text))),
                Node::Symlink { target } => symlinks.push((path, target.as_os_str())),
                Node::HardLink { path: existing } => hard_links.push((existing.as_path(), path)),
            }
        }
        let writer = FileWriter {
            root: self.host.root(),
            destination: self.destination,
            owner: self.owner,
            clones: AtomicBool::new(true),
            next: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
        };
        writer.files(&files)?;
        self.symlinks(&symlinks)?;
        for (existing, path) in hard_links {
            let destination = in_root(self.destination, path);
            fs::hard_link(in_root(self.destination, existing), &destination)
                .map_err(|error| failed("create the link", &destination, error))?;
        }
        Ok(WriteTotals {
            files: files.len() as u64,
            bytes: writer.bytes.into_inner(),
        })
    }

    fn directory(&self, path: &Path, mode: u32) -> Result<(), HostError> {
        let destination = in_root(self.destination, path);
        if path != Path::new("/") {
            fs::create_dir(&destination)
                .map_err(|error| failed("create the directory", &destination, error))?;
        }
        set_owner(&destination, self.owner)?;
        // Set the mode here: at creation the umask would apply.
        fs::set_permissions(&destination, Permissions::from_mode(mode))
            .map_err(|error| failed("set the mode of", &destination, error))
    }

    fn symlinks(&self, symlinks: &[(&Path, &OsStr)]) -> Result<(), HostError> {
        let mut links: HashMap<(Option<&Path>, &OsStr), PathBuf> = HashMap::new();
        for &(path, target) in symlinks {
            let destination = in_root(self.destination, path);
            let key = (path.parent(), target);
            if let Some(first) = links.get(&key)
                && linkat(CWD, first, CWD, &destination, rustix::fs::AtFlags::empty()).is_ok()
            {
                continue;
            }
            unix::symlink(target, &destination)
                .map_err(|error| failed("create the link", &destination, error))?;
            set_owner(&destination, self.owner)?;
            links.insert(key, destination);
        }
        Ok(())
    }
}

impl FileWriter<'_> {
    /// Makes all files. Returns the first failure in the order of the plan.
    fn files(&self, files: &[(&Path, FileContent<'_>)]) -> Result<(), HostError> {
        let threads = thread::available_parallelism()
            .map_or(1, usize::from)
            .min(MAX_THREADS)
            .min(files.len().div_ceil(CHUNK));
        let failure = thread::scope(|scope| {
            let helpers: Vec<_> = (1..threads)
                .map_while(|_| {
                    // If no thread can be started, this one does all the work.
                    thread::Builder::new()
                        .spawn_scoped(scope, || self.write_chunks(files))
                        .ok()
                })
                .collect();
            let own = self.write_chunks(files);
            let others = helpers
                .into_iter()
                .filter_map(|helper| helper.join().unwrap_or(None));
            others.chain(own).min_by_key(|(index, _)| *index)
        });
        match failure {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    /// Makes chunks of files until none are left or one fails. Returns the index of the failed file
    /// and the error.
    fn write_chunks(&self, files: &[(&Path, FileContent<'_>)]) -> Option<(usize, HostError)> {
        loop {
            let start = self.next.fetch_add(CHUNK, Ordering::Relaxed);
            for (index, (path, content)) in files.iter().enumerate().skip(start).take(CHUNK) {
                let written = match content {
                    FileContent::Copy(source) => self.copy(path, source),
                    FileContent::Text(text) => self.text(path, text),
                };
                match written {
                    Ok(bytes) => self.bytes.fetch_add(bytes, Ordering::Relaxed),
                    Err(error) => {
                        self.next.store(files.len(), Ordering::Relaxed);
                        return Some((index, error));
                    }
                };
            }
            if start >= files.len() {
                return None;
            }
        }
    }

    fn text(&self, path: &Path, text: &[u8]) -> Result<u64, HostError> {
        let destination = in_root(self.destination, path);
        let mut file = create(&destination)?;
        file.write_all(text)
            .map_err(|error| failed("write", &destination, error))?;
        self.finish(&file, &destination, 0o644)?;
        Ok(text.len() as u64)
    }

    fn copy(&self, path: &Path, source: &HostFile) -> Result<u64, HostError> {
        let origin = in_root(self.root, path);
        let changed = || HostError::Changed {
            path: path.to_owned(),
        };
        let from = OpenOptions::new()
            .read(true)
            .custom_flags((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits() as i32)
            .open(&origin)
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => changed(),
                _ => failed("open", &origin, error),
            })?;
        let metadata = from
            .metadata()
            .map_err(|error| failed("read", &origin, error))?;
        if (metadata.dev(), metadata.ino()) != (source.device, source.inode) {
            return Err(changed());
        }
        let destination = in_root(self.destination, path);
        let to = create(&destination)?;
        let bytes = if self.clone(&from, &to) {
            metadata.len()
        } else {
            copy(&from, &to, metadata.len())
                .map_err(|error| failed("copy to", &destination, error))?
        };
        self.finish(
            &to,
            &destination,
            if source.executable { 0o755 } else { 0o644 },
        )?;
        if let Some(modified) = source.modified {
            // Python ignores a compiled file if it records another time of its source.
            to.set_times(FileTimes::new().set_modified(modified))
                .map_err(|error| failed("set the time of", &destination, error))?;
        }
        Ok(bytes)
    }

    fn clone(&self, from: &File, to: &File) -> bool {
        let clones = self.clones.load(Ordering::Relaxed) && ioctl_ficlone(to, from).is_ok();
        if !clones {
            self.clones.store(false, Ordering::Relaxed);
        }
        clones
    }

    fn finish(&self, file: &File, destination: &Path, mode: u32) -> Result<(), HostError> {
        if let Some((uid, gid)) = self.owner {
            unix::fchown(file, Some(uid), Some(gid))
                .map_err(|error| failed("change the owner of", destination, error))?;
        }
        file.set_permissions(Permissions::from_mode(mode))
            .map_err(|error| failed("set the mode of", destination, error))
    }
}

/// Copies `length` bytes inside the kernel. If the kernel cannot, it copies the rest through
/// memory.
fn copy(mut from: &File, mut to: &File, length: u64) -> io::Result<u64> {
    let mut copied = 0;
    while copied < length {
        let rest = usize::try_from(length - copied).unwrap_or(usize::MAX);
        match copy_file_range(from, None, to, None, rest) {
            Ok(0) => break,
            Ok(more) => copied += more as u64,
            Err(_) => return Ok(copied + io::copy(&mut from, &mut to)?),
        }
    }
    Ok(copied)
}

fn in_root(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn set_owner(destination: &Path, owner: Option<(u32, u32)>) -> Result<(), HostError> {
    match owner {
        Some((uid, gid)) => unix::lchown(destination, Some(uid), Some(gid))
            .map_err(|error| failed("change the owner of", destination, error)),
        None => Ok(()),
    }
}

fn create(destination: &Path) -> Result<File, HostError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(destination)
        .map_err(|error| failed("create", destination, error))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> HostError {
    HostError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

//! Writes a plan into an empty directory.
//!
//! Directories come first, then files by a few threads, then links and further names. Making inodes
//! costs more than copying, so equal symbolic links of one directory share one inode.

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
use super::plan::{Node, Plan, Source};

/// The most threads. More would only wait for each other: the kernel makes the files of a directory
/// one at a time.
const MOST_THREADS: usize = 4;

/// The number of files that a thread takes at once. They are neighbours, so two threads rarely work
/// in one directory.
const CHUNK: usize = 16;

pub(super) struct Writer<'a> {
    host: &'a Host,
    destination: &'a Path,
    owner: Option<(u32, u32)>,
}

/// The content of a file to make.
enum Content<'p> {
    Copy(&'p Source),
    Text(&'p [u8]),
}

/// The data that all threads share. The host's cache is not thread-safe and not included.
struct Shared<'a> {
    root: &'a Path,
    destination: &'a Path,
    owner: Option<(u32, u32)>,
    /// True until the file system has refused to share blocks between files.
    clones: AtomicBool,
    next: AtomicUsize,
    bytes: AtomicU64,
}

/// The totals of written files.
pub(super) struct Written {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        host: &'a Host,
        destination: &'a Path,
        owner: Option<(u32, u32)>,
    ) -> Writer<'a> {
        Writer {
            host,
            destination,
            owner,
        }
    }

    pub(super) fn write(&self, plan: &Plan) -> Result<Written, HostError> {
        let mut files = Vec::new();
        let mut symlinks = Vec::new();
        let mut names = Vec::new();
        // Files with several names on the host: the first name by device and inode.
        let mut first: HashMap<(u64, u64), &Path> = HashMap::new();
        for (path, node) in plan.iter() {
            match node {
                Node::Directory { mode } => self.directory(path, *mode)?,
                Node::File(source) if source.links > 1 => {
                    match first.get(&(source.device, source.inode)) {
                        Some(of) => names.push((*of, path)),
                        None => {
                            first.insert((source.device, source.inode), path);
                            files.push((path, Content::Copy(source)));
                        }
                    }
                }
                Node::File(source) => files.push((path, Content::Copy(source))),
                Node::Text(text) => files.push((path, Content::Text(text))),
                Node::Link { target } => symlinks.push((path, target.as_os_str())),
                Node::Same { path: of } => names.push((of.as_path(), path)),
            }
        }
        let shared = Shared {
            root: self.host.root(),
            destination: self.destination,
            owner: self.owner,
            clones: AtomicBool::new(true),
            next: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
        };
        shared.files(&files)?;
        self.symlinks(&symlinks)?;
        for (of, path) in names {
            let place = place(self.destination, path);
            fs::hard_link(self::place(self.destination, of), &place)
                .map_err(|error| failed("create the link", &place, error))?;
        }
        Ok(Written {
            files: files.len() as u64,
            bytes: shared.bytes.into_inner(),
        })
    }

    fn directory(&self, path: &Path, mode: u32) -> Result<(), HostError> {
        let place = place(self.destination, path);
        if path != Path::new("/") {
            fs::create_dir(&place)
                .map_err(|error| failed("create the directory", &place, error))?;
        }
        own(&place, self.owner)?;
        // Set the mode here: at creation the umask would apply.
        fs::set_permissions(&place, Permissions::from_mode(mode))
            .map_err(|error| failed("set the mode of", &place, error))
    }

    fn symlinks(&self, symlinks: &[(&Path, &OsStr)]) -> Result<(), HostError> {
        let mut made: HashMap<(Option<&Path>, &OsStr), PathBuf> = HashMap::new();
        for &(path, target) in symlinks {
            let place = place(self.destination, path);
            let key = (path.parent(), target);
            if let Some(first) = made.get(&key)
                && linkat(CWD, first, CWD, &place, rustix::fs::AtFlags::empty()).is_ok()
            {
                continue;
            }
            unix::symlink(target, &place)
                .map_err(|error| failed("create the link", &place, error))?;
            own(&place, self.owner)?;
            made.insert(key, place);
        }
        Ok(())
    }
}

impl Shared<'_> {
    /// Makes all files. Returns the first failure in the order of the plan.
    fn files(&self, files: &[(&Path, Content<'_>)]) -> Result<(), HostError> {
        let threads = thread::available_parallelism()
            .map_or(1, usize::from)
            .min(MOST_THREADS)
            .min(files.len().div_ceil(CHUNK));
        let failure = thread::scope(|scope| {
            let helpers: Vec<_> = (1..threads)
                .map_while(|_| {
                    // If no thread can be started, this one does all the work.
                    thread::Builder::new()
                        .spawn_scoped(scope, || self.some(files))
                        .ok()
                })
                .collect();
            let own = self.some(files);
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

    /// Makes chunks of files until none are left or one fails.
    fn some(&self, files: &[(&Path, Content<'_>)]) -> Option<(usize, HostError)> {
        loop {
            let start = self.next.fetch_add(CHUNK, Ordering::Relaxed);
            for (index, (path, content)) in files.iter().enumerate().skip(start).take(CHUNK) {
                let done = match content {
                    Content::Copy(source) => self.copy(path, source),
                    Content::Text(text) => self.text(path, text),
                };
                match done {
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
        let place = place(self.destination, path);
        let mut file = create(&place)?;
        file.write_all(text)
            .map_err(|error| failed("write", &place, error))?;
        self.finish(&file, &place, 0o644)?;
        Ok(text.len() as u64)
    }

    fn copy(&self, path: &Path, source: &Source) -> Result<u64, HostError> {
        let origin = place(self.root, path);
        let from = OpenOptions::new()
            .read(true)
            .custom_flags((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits() as i32)
            .open(&origin)
            .map_err(|error| failed("open", &origin, error))?;
        let metadata = from
            .metadata()
            .map_err(|error| failed("read", &origin, error))?;
        if (metadata.dev(), metadata.ino()) != (source.device, source.inode) {
            return Err(HostError::Changed {
                path: path.to_owned(),
            });
        }
        let place = place(self.destination, path);
        let to = create(&place)?;
        let bytes = if self.clone(&from, &to) {
            metadata.len()
        } else {
            copy(&from, &to, metadata.len()).map_err(|error| failed("copy to", &place, error))?
        };
        self.finish(&to, &place, if source.executable { 0o755 } else { 0o644 })?;
        if let Some(modified) = source.modified {
            // Python uses a compiled file only if it records the time of its source.
            to.set_times(FileTimes::new().set_modified(modified))
                .map_err(|error| failed("set the time of", &place, error))?;
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

    fn finish(&self, file: &File, place: &Path, mode: u32) -> Result<(), HostError> {
        if let Some((uid, gid)) = self.owner {
            unix::fchown(file, Some(uid), Some(gid))
                .map_err(|error| failed("change the owner of", place, error))?;
        }
        file.set_permissions(Permissions::from_mode(mode))
            .map_err(|error| failed("set the mode of", place, error))
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

fn place(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn own(place: &Path, owner: Option<(u32, u32)>) -> Result<(), HostError> {
    match owner {
        Some((uid, gid)) => unix::lchown(place, Some(uid), Some(gid))
            .map_err(|error| failed("change the owner of", place, error)),
        None => Ok(()),
    }
}

fn create(place: &Path) -> Result<File, HostError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(place)
        .map_err(|error| failed("create", place, error))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> HostError {
    HostError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

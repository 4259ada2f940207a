//! Writing a plan into an empty directory.

use std::collections::HashMap;
use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{self as unix, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, ioctl_ficlone};

use super::HostError;
use super::host::Host;
use super::plan::{Node, Plan, Source};

pub(super) struct Writer<'a> {
    host: &'a Host,
    destination: &'a Path,
    owner: Option<(u32, u32)>,
    /// Whether the file system shares blocks between files: unknown until it refused once.
    clones: bool,
    /// Files with several names on the host that were written: device and inode, and the first name.
    written: HashMap<(u64, u64), PathBuf>,
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
            clones: true,
            written: HashMap::new(),
            files: 0,
            bytes: 0,
        }
    }

    /// Writes everything, in the order of the plan; other names of a file come last, since the file may sort after them.
    pub(super) fn write(&mut self, plan: &Plan) -> Result<(), HostError> {
        for (path, node) in plan.iter() {
            match node {
                Node::Directory { mode } => self.directory(path, *mode)?,
                Node::File(source) => self.file(path, source)?,
                Node::Text(text) => self.text(path, text)?,
                Node::Link { target } => {
                    let place = self.place(path);
                    unix::symlink(target, &place)
                        .map_err(|error| failed("create the link", &place, error))?;
                    self.own(&place)?;
                }
                Node::Same { .. } => {}
            }
        }
        for (path, node) in plan.iter() {
            if let Node::Same { path: of } = node {
                self.link(of, path)?;
            }
        }
        Ok(())
    }

    fn place(&self, path: &Path) -> PathBuf {
        self.destination
            .join(path.strip_prefix("/").unwrap_or(path))
    }

    fn directory(&self, path: &Path, mode: u32) -> Result<(), HostError> {
        let place = self.place(path);
        if path != Path::new("/") {
            fs::create_dir(&place)
                .map_err(|error| failed("create the directory", &place, error))?;
        }
        self.own(&place)?;
        // Not at creation, where the umask would have a say.
        fs::set_permissions(&place, Permissions::from_mode(mode))
            .map_err(|error| failed("set the mode of", &place, error))
    }

    fn text(&mut self, path: &Path, text: &[u8]) -> Result<(), HostError> {
        let place = self.place(path);
        let mut file = create(&place)?;
        file.write_all(text)
            .map_err(|error| failed("write", &place, error))?;
        self.finish(&file, &place, 0o644)?;
        self.count(text.len() as u64);
        Ok(())
    }

    fn file(&mut self, path: &Path, source: &Source) -> Result<(), HostError> {
        let identity = (source.device, source.inode);
        if source.links > 1 {
            if let Some(first) = self.written.get(&identity) {
                return self.link(&first.clone(), path);
            }
            self.written.insert(identity, path.to_owned());
        }
        let origin = self.host.locate(path);
        let mut from = OpenOptions::new()
            .read(true)
            .custom_flags((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits() as i32)
            .open(&origin)
            .map_err(|error| failed("open", &origin, error))?;
        let metadata = from
            .metadata()
            .map_err(|error| failed("read", &origin, error))?;
        if (metadata.dev(), metadata.ino()) != identity {
            return Err(HostError::Changed {
                path: path.to_owned(),
            });
        }
        let place = self.place(path);
        let mut to = create(&place)?;
        self.clones = self.clones && ioctl_ficlone(&to, &from).is_ok();
        let bytes = if self.clones {
            metadata.len()
        } else {
            io::copy(&mut from, &mut to).map_err(|error| failed("copy to", &place, error))?
        };
        self.finish(&to, &place, if source.executable { 0o755 } else { 0o644 })?;
        if let Some(modified) = source.modified {
            // Python takes a compiled file only if it names the time of its source.
            to.set_times(FileTimes::new().set_modified(modified))
                .map_err(|error| failed("set the time of", &place, error))?;
        }
        self.count(bytes);
        Ok(())
    }

    fn link(&self, of: &Path, path: &Path) -> Result<(), HostError> {
        let place = self.place(path);
        fs::hard_link(self.place(of), &place)
            .map_err(|error| failed("create the link", &place, error))
    }

    fn finish(&self, file: &File, place: &Path, mode: u32) -> Result<(), HostError> {
        if let Some((uid, gid)) = self.owner {
            unix::fchown(file, Some(uid), Some(gid))
                .map_err(|error| failed("change the owner of", place, error))?;
        }
        file.set_permissions(Permissions::from_mode(mode))
            .map_err(|error| failed("set the mode of", place, error))
    }

    fn own(&self, place: &Path) -> Result<(), HostError> {
        match self.owner {
            Some((uid, gid)) => unix::lchown(place, Some(uid), Some(gid))
                .map_err(|error| failed("change the owner of", place, error)),
            None => Ok(()),
        }
    }

    fn count(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
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

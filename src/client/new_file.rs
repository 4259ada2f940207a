//! A local file that appears only once it is complete.

use std::{fs::File, io, path::Path};

use tempfile::NamedTempFile;

/// The beginning of temporary names. Files of killed processes are found by it.
const PREFIX: &str = ".contree-download-";
/// The end of temporary names.
const SUFFIX: &str = ".part";
/// Number of random letters and digits between the two.
const RANDOM: usize = 16;
/// The permissions of a new file before the umask.
const DEFAULT_MODE: u32 = 0o666;

/// The permissions of a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewFileMode {
    /// Less the bits of the umask.
    BeforeUmask(u32),
    /// Independent of the umask.
    Exact(u32),
}

impl Default for NewFileMode {
    fn default() -> Self {
        Self::BeforeUmask(DEFAULT_MODE)
    }
}

impl NewFileMode {
    fn bits(self) -> u32 {
        match self {
            Self::BeforeUmask(bits) | Self::Exact(bits) => bits,
        }
    }

    /// Sets exact permissions of a file, which was created with the same ones less the umask.
    #[cfg(unix)]
    fn apply(self, file: &File) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        match self {
            Self::BeforeUmask(_) => Ok(()),
            Self::Exact(bits) => file.set_permissions(std::fs::Permissions::from_mode(bits)),
        }
    }

    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, reason = "it can fail on other systems")]
    fn apply(self, _: &File) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is being written and has no final name yet.
///
/// On Linux it has no name at all, so a killed process leaves nothing behind. On a filesystem
/// without such files, it has a temporary name and is locked.
pub(crate) enum NewFile {
    #[cfg(target_os = "linux")]
    Unnamed {
        file: File,
        directory: std::path::PathBuf,
        mode: NewFileMode,
    },
    Named(NamedTempFile),
}

impl NewFile {
    /// Creates an empty file in `directory`.
    pub(crate) fn create(directory: &Path, mode: NewFileMode) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if let Some(file) = unnamed(directory, mode)? {
            return Ok(Self::Unnamed {
                file,
                directory: directory.to_owned(),
                mode,
            });
        }
        named(directory, mode).map(Self::Named)
    }

    /// A handle for writing.
    pub(crate) fn writer(&self) -> io::Result<File> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Unnamed { file, .. } => file.try_clone(),
            Self::Named(named) => named.as_file().try_clone(),
        }
    }

    /// Gives the file its final name, and replaces a file or link of that name.
    pub(crate) fn publish(self, destination: &Path) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Unnamed {
                file,
                directory,
                mode,
            } => publish_unnamed(file, &directory, mode, destination),
            Self::Named(named) => named.persist(destination).map(drop).map_err(Into::into),
        }
    }
}

/// Creates a file without a name; none if the filesystem has no such files, or if `/proc`, through
/// which it would get its name, is not mounted.
#[cfg(target_os = "linux")]
fn unnamed(directory: &Path, mode: NewFileMode) -> io::Result<Option<File>> {
    use std::os::unix::fs::OpenOptionsExt as _;

    use rustix::{fs::OFlags, io::Errno};

    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).mode(mode.bits());
    options.custom_flags(OFlags::TMPFILE.bits().cast_signed());
    match options.open(directory) {
        Ok(file) => {
            mode.apply(&file)?;
            Ok(descriptor_path(&file).exists().then_some(file))
        }
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => Ok(None),
            _ => Err(error),
        },
    }
}

#[cfg(target_os = "linux")]
fn descriptor_path(file: &File) -> std::path::PathBuf {
    use std::os::fd::AsRawFd as _;
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Gives a file without a name its final name.
#[cfg(target_os = "linux")]
fn publish_unnamed(
    mut file: File,
    directory: &Path,
    mode: NewFileMode,
    destination: &Path,
) -> io::Result<()> {
    use std::io::Seek as _;

    match link(&file, destination) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        // Some filesystems cannot name such a file.
        Err(_) => {
            let mut named = named(directory, mode)?;
            file.rewind()?;
            io::copy(&mut file, named.as_file_mut())?;
            return named.persist(destination).map(drop).map_err(Into::into);
        }
    }
    // Only a rename replaces a file, so the new file needs a temporary name. It is locked before,
    // so that no other process takes it for an abandoned one.
    remove_abandoned(directory, &file);
    let _ = file.lock();
    let temporary = names().make_in(directory, |path| link(&file, path))?;
    temporary.persist(destination).map_err(|error| error.error)
}

#[cfg(target_os = "linux")]
fn link(file: &File, path: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, linkat};
    let flags = AtFlags::SYMLINK_FOLLOW;
    Ok(linkat(CWD, descriptor_path(file), CWD, path, flags)?)
}

fn names() -> tempfile::Builder<'static, 'static> {
    let mut names = tempfile::Builder::new();
    names.prefix(PREFIX).suffix(SUFFIX).rand_bytes(RANDOM);
    names
}

/// Creates a file with a temporary name, after it has removed the files of killed processes.
#[cfg(unix)]
fn named(directory: &Path, mode: NewFileMode) -> io::Result<NamedTempFile> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let mut names = names();
    names.permissions(std::fs::Permissions::from_mode(mode.bits()));
    loop {
        let file = names.tempfile_in(directory)?;
        // On a filesystem without locks, no other process can take one either.
        let _ = file.as_file().lock();
        // Another process may have locked and removed the file first.
        if file.as_file().metadata()?.nlink() > 0 {
            mode.apply(file.as_file())?;
            remove_abandoned(directory, file.as_file());
            return Ok(file);
        }
    }
}

#[cfg(not(unix))]
fn named(directory: &Path, _: NewFileMode) -> io::Result<NamedTempFile> {
    names().tempfile_in(directory)
}

/// Removes the temporary files of killed processes from a directory.
///
/// Such a file has a temporary name, belongs to the owner of the new file `own`, and is not locked.
#[cfg(unix)]
fn remove_abandoned(directory: &Path, own: &File) {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(user) = own.metadata().map(|metadata| metadata.uid()) else {
        return;
    };
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if !is_temporary(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let path = entry.path();
        let Ok(file) = open_nonblocking(&path) else {
            continue;
        };
        // Before the lock was taken, the file may have got its final name.
        let is_abandoned = file.try_lock().is_ok()
            && std::fs::symlink_metadata(&path).is_ok_and(|named| {
                file.metadata().is_ok_and(|opened| {
                    let is_same = (opened.dev(), opened.ino()) == (named.dev(), named.ino());
                    is_same && opened.is_file() && opened.uid() == user
                })
            });
        if is_abandoned {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Opens a file for reading. It follows no link, and does not wait for the writer of a pipe.
#[cfg(unix)]
fn open_nonblocking(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;

    use rustix::fs::OFlags;

    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(flags.bits().cast_signed());
    options.open(path)
}

/// Whether a file name has the form of the temporary names.
#[cfg(unix)]
fn is_temporary(name: &str) -> bool {
    let random = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix(SUFFIX));
    random.is_some_and(|random| {
        random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn count(directory: &Path) -> usize {
        fs::read_dir(directory).unwrap().count()
    }

    #[test]
    fn a_new_file_replaces_an_old_one_and_leaves_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for content in ["first", "second"] {
            let mode = NewFileMode::BeforeUmask(0o640);
            let named = NewFile::Named(named(directory.path(), mode).unwrap());
            for new in [NewFile::create(directory.path(), mode).unwrap(), named] {
                new.writer().unwrap().write_all(content.as_bytes()).unwrap();
                new.publish(&path).unwrap();
                assert_eq!(fs::read_to_string(&path).unwrap(), content);
                let mode = fs::metadata(&path).unwrap().permissions().mode();
                assert_eq!(mode & 0o777 & !0o640, 0);
                assert_eq!(mode & 0o600, 0o600);
            }
        }
        assert_eq!(count(directory.path()), 1);
    }

    #[test]
    fn exact_permissions_do_not_depend_on_the_umask() {
        let directory = tempfile::tempdir().unwrap();
        for bits in [0o666, 0o600, 0o440] {
            let mode = NewFileMode::Exact(bits);
            let named = NewFile::Named(named(directory.path(), mode).unwrap());
            for new in [NewFile::create(directory.path(), mode).unwrap(), named] {
                let path = directory.path().join("file");
                new.publish(&path).unwrap();
                let mode = fs::metadata(&path).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, bits);
            }
        }
    }

    #[test]
    fn an_unpublished_file_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mode = NewFileMode::default();
        drop(NewFile::create(directory.path(), mode).unwrap());
        drop(named(directory.path(), mode).unwrap());
        assert_eq!(count(directory.path()), 0);
    }

    #[test]
    fn only_the_files_of_killed_processes_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let mode = NewFileMode::default();
        let in_use = named(directory.path(), mode).unwrap();
        let (lock, abandoned) = named(directory.path(), mode).unwrap().keep().unwrap();
        drop(lock);
        let similar = [
            ".contree-config",
            ".contree-download-notes.part",
            ".contree-download-0123456789abcdef",
        ]
        .map(|name| directory.path().join(name));
        for path in &similar {
            fs::write(path, "kept").unwrap();
        }
        let own = named(directory.path(), mode).unwrap();
        assert!(!abandoned.exists());
        assert!(in_use.path().exists() && own.path().exists());
        assert!(similar.iter().all(|path| path.exists()));
    }
}

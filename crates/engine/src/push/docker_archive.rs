//! Writes an image as an archive of the form that `docker save` writes.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use contree_registry::Digest;
use contree_sandbox::tar::{END_OF_ARCHIVE, EntryType, TarHeader, padding};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat};
use rustix::io::Errno;
use serde::Serialize;

use super::error::PushError;
use super::pack::ScratchBlob;
use super::tasks::PushTasks;

/// The bytes that are written at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// An entry of `manifest.json`.
#[derive(Serialize)]
struct ArchivedImage {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags")]
    tags: Vec<String>,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

/// Writes the new archive `path` with this configuration and these layers, the bottom first. It
/// appears when it is complete, unless `tasks` is stopped before. A file that is this very archive
/// already stays. Returns the size. Blocks.
pub(super) fn write(
    path: &Path,
    name: Option<&str>,
    config: &[u8],
    layers: &[ScratchBlob],
    tasks: &PushTasks,
) -> Result<u64, PushError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let failed = PushError::write(path);
    let unfinished = UnfinishedFile::make(directory).map_err(&failed)?;
    let file = unfinished.file();
    let manifest = ArchivedImage {
        config: format!("{}.json", Digest::of(config).hex()),
        tags: name.map(str::to_owned).into_iter().collect(),
        layers: layers.iter().map(layer_name).collect(),
    };
    let manifest = serde_json::to_vec(&[&manifest]).map_err(PushError::Configuration)?;
    let write = || -> io::Result<u64> {
        let mut archive = ArchiveFile(BufWriter::with_capacity(CHUNK_BYTES, file));
        let mut written: Vec<String> = Vec::new();
        for layer in layers {
            let name = layer_name(layer);
            // Two layers with the same files are one member.
            if written.contains(&name) {
                continue;
            }
            let file = UntilStopped {
                inner: File::open(&layer.path)?,
                tasks,
            };
            archive.member(&name, layer.layer.size, file)?;
            written.push(name);
        }
        let config_name = format!("{}.json", Digest::of(config).hex());
        archive.member(&config_name, config.len() as u64, config)?;
        archive.member("manifest.json", manifest.len() as u64, manifest.as_slice())?;
        archive.0.write_all(&END_OF_ARCHIVE)?;
        archive.0.flush()?;
        drop(archive);
        file.sync_all()?;
        Ok(file.metadata()?.len())
    };
    let written = write();
    if tasks.is_stopped() {
        return Err(PushError::Stopped);
    }
    let size = written.map_err(&failed)?;
    let same = unfinished.file().try_clone().map_err(&failed)?;
    match unfinished.finish(path) {
        Ok(()) => Ok(size),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            match is_same(&same, path).map_err(&failed)? {
                true => Ok(size),
                false => Err(PushError::Exists(path.to_owned())),
            }
        }
        Err(error) => Err(failed(error)),
    }
}

/// A reader that fails once its push is stopped.
struct UntilStopped<'a, R> {
    inner: R,
    tasks: &'a PushTasks,
}

impl<R: Read> Read for UntilStopped<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.tasks.is_stopped() {
            return Err(io::Error::other("the push is stopped"));
        }
        self.inner.read(buffer)
    }
}

/// Returns whether a path is a file with this content.
fn is_same(file: &File, path: &Path) -> io::Result<bool> {
    // Not through a link, and without waiting for a pipe.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let other = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(other) => File::from(other),
        Err(Errno::LOOP | Errno::ACCESS | Errno::NXIO) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let (size, about) = (file.metadata()?.len(), other.metadata()?);
    if !about.is_file() || about.len() != size {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    let mut position = 0;
    while position < size {
        let length = CHUNK_BYTES.min(usize::try_from(size - position).unwrap_or(CHUNK_BYTES));
        file.read_exact_at(&mut left[..length], position)?;
        other.read_exact_at(&mut right[..length], position)?;
        if left[..length] != right[..length] {
            return Ok(false);
        }
        position += length as u64;
    }
    Ok(true)
}

/// A file that gets its name when it is complete.
enum UnfinishedFile {
    /// Without a name, a killed push leaves nothing.
    Nameless(File),
    /// On file systems without nameless files, such as NFS.
    Named(tempfile::NamedTempFile),
}

impl UnfinishedFile {
    fn make(directory: &Path) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => Ok(Self::Nameless(file.into())),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Self::make_named(directory),
            Err(error) => Err(error.into()),
        }
    }

    fn make_named(directory: &Path) -> io::Result<Self> {
        tempfile::Builder::new()
            .prefix(".contree-push-")
            .tempfile_in(directory)
            .map(Self::Named)
    }

    fn file(&self) -> &File {
        match self {
            Self::Nameless(file) => file,
            Self::Named(file) => file.as_file(),
        }
    }

    /// Gives the file its name, unless another file has it.
    fn finish(self, path: &Path) -> io::Result<()> {
        match self {
            Self::Nameless(file) => {
                let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
                Ok(linkat(
                    CWD,
                    nameless.as_str(),
                    CWD,
                    path,
                    AtFlags::SYMLINK_FOLLOW,
                )?)
            }
            Self::Named(file) => match file.persist_noclobber(path) {
                Ok(_) => Ok(()),
                Err(error) => Err(error.error),
            },
        }
    }
}

fn layer_name(layer: &ScratchBlob) -> String {
    format!("{}.tar", layer.layer.digest.hex())
}

struct ArchiveFile<'a>(BufWriter<&'a File>);

impl ArchiveFile<'_> {
    fn member(&mut self, name: &str, size: u64, content: impl Read) -> io::Result<()> {
        let mut header = Vec::new();
        TarHeader {
            path: name.as_bytes(),
            kind: EntryType::File { size },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 0,
            user: "",
            group: "",
            attributes: &[],
        }
        .write(&mut header);
        self.0.write_all(&header)?;
        if io::copy(&mut content.take(size), &mut self.0)? != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.write_all(&END_OF_ARCHIVE[..padding(size)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_with_the_same_bytes_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        let bytes: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&one, &bytes).unwrap();
        let file = File::open(&one).unwrap();
        let mut other = bytes.clone();
        other[600_000] += 1;
        for (content, expected) in [(&bytes[..], true), (&other, false), (&bytes[1..], false)] {
            std::fs::write(&two, content).unwrap();
            assert_eq!(is_same(&file, &two).unwrap(), expected);
        }
        std::fs::remove_file(&two).unwrap();
        std::os::unix::fs::symlink(&one, &two).unwrap();
        assert!(!is_same(&file, &two).unwrap());
        assert!(!is_same(&file, folder.path()).unwrap());
    }

    #[tokio::test]
    async fn a_push_that_is_stopped_makes_no_archive() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive");
        let tasks = PushTasks::default();
        write(&path, None, b"{}", &[], &tasks).unwrap();
        std::fs::remove_file(&path).unwrap();
        tasks.stop_all().await;
        let stopped = write(&path, None, b"{}", &[], &tasks);
        assert!(matches!(stopped, Err(PushError::Stopped)));
        let mut content = UntilStopped {
            inner: &b"content"[..],
            tasks: &tasks,
        };
        assert!(content.read(&mut [0; 4]).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_appears_when_it_is_complete_and_replaces_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive");
        let makes = [UnfinishedFile::make, UnfinishedFile::make_named];
        for make in makes {
            let unfinished = make(folder.path()).unwrap();
            unfinished.file().write_all(b"content").unwrap();
            assert!(!path.exists());
            unfinished.finish(&path).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"content");
            let error = make(folder.path()).unwrap().finish(&path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            std::fs::remove_file(&path).unwrap();
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

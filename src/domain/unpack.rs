//! Unpacking a directory of an image into a local directory.

use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;

use super::{image_files::ImageFiles, text::ToText, unpacked::Unpacked};
#[cfg(unix)]
use crate::local_copy::{CopiedDirectory, WriteRules, download_directory};
use crate::{Error, client::blocking};

impl ImageFiles {
    /// Copies a directory, or a file, with all that is below it into a local directory, which is
    /// created if missing. Existing files are replaced, and others stay.
    ///
    /// The image is not trusted: no file is written outside of the directory, and links that lead
    /// out of it are not made. On Unix, permissions and times are kept, without setuid, setgid and
    /// owners. A directory that exists keeps its own permissions.
    ///
    /// On Unix, each file appears whole. A new or empty directory gets all of them at once, so if
    /// unpacking fails before, it stays as it is.
    ///
    /// # Errors
    /// [`Error::Api`] with 404 if there is no such path. [`Error::Io`] for local files.
    #[cfg(unix)]
    pub async fn unpack(
        &self,
        path: impl ToText,
        directory: impl AsRef<Path>,
    ) -> Result<Unpacked, Error> {
        self.unpack_observed(path, directory, |_| {}).await
    }

    /// Like [`unpack`](Self::unpack), and calls `observe` with the number of bytes of each piece of
    /// a file.
    #[cfg(unix)]
    pub(crate) async fn unpack_observed(
        &self,
        path: impl ToText,
        directory: impl AsRef<Path>,
        observe: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Unpacked, Error> {
        let (path, directory) = (path.to_text()?, directory.as_ref().to_owned());
        let image = self.image.uuid().await?;
        let place = blocking(move || real_place(&directory).map_err(Error::io(&directory)));
        let (place, rules) = (place.await?, WriteRules::observed(observe));
        let copied = download_directory(self.image.client(), image, &path, &place, true, rules);
        let CopiedDirectory {
            files,
            bytes,
            skipped,
            skipped_count,
            ..
        } = copied.await?;
        Ok(Unpacked {
            files,
            bytes,
            skipped: skipped.into_iter().map(|path| path.path.into()).collect(),
            skipped_count,
        })
    }

    /// Copies a directory, or a file, with all that is below it into a local directory, which is
    /// created if missing. Existing files are replaced, and others stay.
    ///
    /// The image is not trusted: no file is written outside of the directory, and links that lead
    /// out of it are not kept.
    ///
    /// If it fails, the files that were unpacked until then stay.
    ///
    /// # Errors
    /// [`Error::Api`] with 404 if there is no such path. [`Error::Io`] for local files.
    #[cfg(not(unix))]
    pub async fn unpack(
        &self,
        path: impl ToText,
        directory: impl AsRef<Path>,
    ) -> Result<Unpacked, Error> {
        self.unpack_observed(path, directory, |_| {}).await
    }

    /// Like [`unpack`](Self::unpack), and calls `observe` with the number of bytes of each piece of
    /// the archive.
    #[cfg(not(unix))]
    pub(crate) async fn unpack_observed(
        &self,
        path: impl ToText,
        directory: impl AsRef<Path>,
        observe: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Unpacked, Error> {
        let directory = directory.as_ref().to_owned();
        let mut archive = self.archive(path).await?;
        let (sender, receiver) = tokio::sync::mpsc::channel(chunks::QUEUE);
        let unpacking = contree_tasks::spawn(blocking(move || {
            super::unpack_archive::unpack(chunks::Chunks::new(receiver), &directory)
        }));
        while let Some(chunk) = archive.next().await {
            let is_broken = chunk.is_err();
            observe(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64));
            // The receiver is gone once unpacking has failed.
            if sender.send(chunk).await.is_err() || is_broken {
                break;
            }
        }
        drop(sender);
        unpacking
            .await
            .unwrap_or_else(|error| Err(Error::other(error)))
    }
}

/// The real path of a directory that may be missing. The directory around it is made.
#[cfg(unix)]
fn real_place(directory: &Path) -> std::io::Result<PathBuf> {
    match (directory.canonicalize(), directory.file_name()) {
        (Err(error), Some(name)) if error.kind() == std::io::ErrorKind::NotFound => {
            let around = directory.parent().unwrap_or(Path::new(""));
            let around = Path::new(".").join(around);
            std::fs::create_dir_all(&around)?;
            Ok(around.canonicalize()?.join(name))
        }
        (real, _) => real,
    }
}

#[cfg(not(unix))]
mod chunks {
    use std::io::{self, Read};

    use bytes::{Buf as _, Bytes};
    use tokio::sync::mpsc;

    use crate::Error;

    /// Number of chunks of an archive that wait for being unpacked.
    pub(super) const QUEUE: usize = 8;

    /// Reads chunks that arrive from another task.
    pub(super) struct Chunks {
        receiver: mpsc::Receiver<Result<Bytes, Error>>,
        chunk: Bytes,
    }

    impl Chunks {
        pub(super) fn new(receiver: mpsc::Receiver<Result<Bytes, Error>>) -> Self {
            Self {
                receiver,
                chunk: Bytes::new(),
            }
        }
    }

    impl Read for Chunks {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            while self.chunk.is_empty() {
                match self.receiver.blocking_recv() {
                    Some(Ok(chunk)) => self.chunk = chunk,
                    Some(Err(error)) => return Err(io::Error::other(error)),
                    None => return Ok(0),
                }
            }
            let count = buffer.len().min(self.chunk.len());
            self.chunk.copy_to_slice(&mut buffer[..count]);
            Ok(count)
        }
    }
}

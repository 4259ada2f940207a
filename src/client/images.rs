//! Images and the files in them.

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use super::image_ref::ImageRef;
use crate::{Client, Error, types};

/// The content of a file in an image, as a stream.
pub struct FileStream {
    /// The file's size in bytes, if the backend announces it.
    pub size: Option<u64>,
    stream: progenitor_client::ByteStream,
}

impl Stream for FileStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.poll_next_unpin(cx).map_err(Error::from)
    }
}

impl std::fmt::Debug for FileStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileStream")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Looks up the image of a UUID, or the one that a tag currently points to.
    ///
    /// # Errors
    /// [`Error::Api`] with 404 if there is no such image.
    pub async fn resolve(&self, image: &ImageRef) -> Result<types::Image, Error> {
        let response = match image {
            ImageRef::Uuid(uuid) => self.inspect_image().image_uuid(*uuid).send().await,
            ImageRef::Tag(tag) => self.inspect_find_image_by_tag().tag(tag).send().await,
        };
        Ok(response?.into_inner())
    }

    /// Reads a file of an image. `path` is absolute and resolved within the image.
    ///
    /// # Errors
    /// [`Error::Api`] with 404 if there is no such file, 422 if it is not a regular one.
    pub async fn read(&self, image: Uuid, path: &str) -> Result<FileStream, Error> {
        let answer = self
            .inspect_image_download()
            .image_uuid(image)
            .path(path)
            .send()
            .await?;
        Ok(FileStream {
            size: answer.content_length(),
            stream: answer.into_inner(),
        })
    }

    /// Copies a file of an image to `destination` and returns its size in bytes.
    ///
    /// - The file appears only once it is complete: it is written under a temporary name in the
    ///   same directory and then renamed.
    /// - After a broken connection, the download starts again at the beginning of the file.
    /// - Missing directories are created.
    /// - `mode` is the permissions of the new file before the umask; the default is 0666.
    /// - If `destination` is a symbolic link, its target is replaced.
    ///
    /// # Errors
    /// The errors of [`read`](Self::read), and [`Error::Io`] for local files.
    /// [`Error::InvalidArgument`] if the destination exists and is not a regular file: a device or
    /// a pipe is never replaced.
    pub async fn download(
        &self,
        image: Uuid,
        path: &str,
        destination: &Path,
        mode: Option<u32>,
    ) -> Result<u64, Error> {
        let destination = &replaceable(destination).await?;
        self.download_to(image, path, destination, mode).await
    }

    /// Like [`download`](Self::download), but does not check `destination`, and replaces a symbolic
    /// link there.
    pub(crate) async fn download_to(
        &self,
        image: Uuid,
        path: &str,
        destination: &Path,
        mode: Option<u32>,
    ) -> Result<u64, Error> {
        let directory = match destination.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        tokio::fs::create_dir_all(directory)
            .await
            .map_err(Error::io(directory))?;
        let mut delays = self.backend().retry().delays();
        loop {
            let content = self.read(image, path).await?;
            let error = match fetch(content, directory, destination, mode).await {
                Ok(size) => return Ok(size),
                Err(error @ (Error::Connection(_) | Error::Timeout(_))) => error,
                Err(error) => return Err(error),
            };
            match delays.next(None) {
                Some(delay) => tokio::time::sleep(delay).await,
                None => return Err(error),
            }
        }
    }
}

/// Resolves symbolic links of `destination` and checks that it may be replaced.
async fn replaceable(destination: &Path) -> Result<PathBuf, Error> {
    let invalid = |why: &str| {
        Error::InvalidArgument(format!(
            "{} {why}; give the path of a regular file, or a new path",
            destination.display()
        ))
    };
    match tokio::fs::metadata(destination).await {
        Ok(found) if found.is_file() => tokio::fs::canonicalize(destination)
            .await
            .map_err(Error::io(destination)),
        Ok(found) if found.is_dir() => Err(invalid("is a directory")),
        Ok(_) => Err(invalid("is a device, a pipe or a socket")),
        Err(_) if destination.is_symlink() => Err(invalid("is a broken symbolic link")),
        Err(_) => Ok(destination.to_owned()),
    }
}

async fn fetch(
    mut content: FileStream,
    directory: &Path,
    destination: &Path,
    mode: Option<u32>,
) -> Result<u64, Error> {
    let temporary = temporary(directory, mode).map_err(Error::io(directory))?;
    let file = temporary.reopen().map_err(Error::io(destination))?;
    let mut file = tokio::fs::File::from_std(file);
    let mut size = 0;
    while let Some(chunk) = content.next().await {
        let chunk = chunk?;
        size += chunk.len() as u64;
        file.write_all(&chunk)
            .await
            .map_err(Error::io(destination))?;
    }
    file.flush().await.map_err(Error::io(destination))?;
    if content.size.is_some_and(|announced| announced != size) {
        return Err(Error::Connection(format!(
            "only {size} bytes of the file arrived"
        )));
    }
    temporary
        .persist(destination)
        .map_err(|error| Error::io(destination)(error.error))?;
    Ok(size)
}

fn temporary(directory: &Path, mode: Option<u32>) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".contree-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(mode.unwrap_or(0o666)));
    }
    #[cfg(not(unix))]
    let _ = mode;
    builder.tempfile_in(directory)
}

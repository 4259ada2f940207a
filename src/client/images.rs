//! Images, and what is in them.

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

/// A file's content as it arrives.
pub struct Content {
    /// The file's size, where the backend says it in advance.
    pub size: Option<u64>,
    stream: progenitor_client::ByteStream,
}

impl Stream for Content {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.poll_next_unpin(cx).map_err(Error::from)
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// The image that a UUID or a tag names now.
    ///
    /// # Errors
    /// [`Error::Api`] with 404 if there is none.
    pub async fn resolve(&self, image: &ImageRef) -> Result<types::Image, Error> {
        let found = match image {
            ImageRef::Uuid(uuid) => self.inspect_image().image_uuid(*uuid).send().await,
            ImageRef::Tag(tag) => self.inspect_find_image_by_tag().tag(tag).send().await,
        };
        Ok(found?.into_inner())
    }

    /// Reads a file of an image. `path` is absolute and resolved within the image.
    ///
    /// # Errors
    /// [`Error::Api`] with 404 if there is no such file, 422 if it is not a regular one.
    pub async fn read(&self, image: Uuid, path: &str) -> Result<Content, Error> {
        let answer = self
            .inspect_image_download()
            .image_uuid(image)
            .path(path)
            .send()
            .await?;
        Ok(Content {
            size: answer.content_length(),
            stream: answer.into_inner(),
        })
    }

    /// Copies a file of an image to `destination` and returns its size.
    ///
    /// The file appears when it is whole: it is written beside its place under another name and then renamed. A
    /// connection that breaks is made again, from the start of the file. Missing directories are made. `mode` is the
    /// permissions of the new file, less the umask; 0666 if none. A symbolic link is followed to its target.
    ///
    /// # Errors
    /// As [`read`](Self::read), [`Error::Io`] for the local side, and [`Error::InvalidArgument`] if the destination is
    /// there and is no regular file: a device or a pipe is not replaced.
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

    /// As [`download`](Self::download), for a place that is known to be good: a link there is replaced, not followed.
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

/// Where the file is to be, behind symbolic links, if what is there may be replaced.
async fn replaceable(destination: &Path) -> Result<PathBuf, Error> {
    let refused = |why: &str| {
        Error::InvalidArgument(format!(
            "{} {why}; give the path of a regular file, or a new one",
            destination.display()
        ))
    };
    match tokio::fs::metadata(destination).await {
        Ok(found) if found.is_file() => tokio::fs::canonicalize(destination)
            .await
            .map_err(Error::io(destination)),
        Ok(found) if found.is_dir() => Err(refused("is a directory")),
        Ok(_) => Err(refused("is a device, a pipe or a socket")),
        Err(_) if destination.is_symlink() => Err(refused("is a symbolic link that leads nowhere")),
        Err(_) => Ok(destination.to_owned()),
    }
}

async fn fetch(
    mut content: Content,
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
    if content.size.is_some_and(|promised| promised != size) {
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

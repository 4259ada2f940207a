//! Images and the files in them.

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};
use futures_util::{
    Stream, StreamExt as _,
    stream::{self, BoxStream},
};
use progenitor_client::ByteStream;
use tokio::{io::AsyncWriteExt as _, time::Instant};
use uuid::Uuid;

use super::{
    answers::{AnswerError, until},
    bodies::{announces_page, media_type},
    errors::not_contree,
    image_ref::ImageRef,
    new_file::{NewFile, NewFileMode},
    runtime,
};
use crate::{Client, Error, backend::Delays, types};

/// The content of a file in an image, as a stream.
///
/// After a broken connection, the stream reads the file again and continues after the last byte. It
/// ends with an error if that does not help.
pub struct FileStream {
    /// The file's size in bytes, if the backend announces it.
    pub size: Option<u64>,
    chunks: BoxStream<'static, Result<Bytes, Error>>,
}

impl Stream for FileStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.chunks.poll_next_unpin(cx)
    }
}

impl std::fmt::Debug for FileStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileStream")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// The state of a file's stream, across its connections.
struct FileReader {
    client: Client,
    image: Uuid,
    path: String,
    /// The file's size in bytes, if the backend announces it.
    size: Option<u64>,
    answer: Option<ByteStream>,
    /// Number of bytes returned so far.
    position: u64,
    /// Number of bytes of the current answer that were returned from an earlier one.
    skip: u64,
    delays: Delays,
    timed_out: bool,
}

impl FileReader {
    /// Sends the request for the file. The request hooks already retry, so an error is final.
    async fn open(client: Client, image: Uuid, path: String) -> Result<Self, Error> {
        let (size, answer) = request(&client, image, &path).await?;
        Ok(Self {
            delays: client.backend().retry().delays(),
            client,
            image,
            path,
            size,
            answer: Some(answer),
            position: 0,
            skip: 0,
            timed_out: false,
        })
    }

    /// Returns the next bytes, or `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        runtime::check()?;
        let idle = self.client.backend().timeouts().idle;
        loop {
            let answer = match &mut self.answer {
                Some(answer) => answer,
                None => {
                    let (size, answer) = request(&self.client, self.image, &self.path).await?;
                    if size != self.size {
                        return Err(Error::Protocol(
                            format!("{} has another size than before", self.path).into(),
                        ));
                    }
                    self.skip = self.position;
                    self.answer.insert(answer)
                }
            };
            // The answer has a time limit of its own, but in the runtime that requested it.
            let end = Instant::now() + idle;
            let Some(received) = until(Some(end), answer.next()).await else {
                self.retry(Error::Timeout(AnswerError::Silent(idle).to_string().into()))
                    .await?;
                continue;
            };
            let broken = match received {
                Some(Ok(mut chunk)) => {
                    let skipped = chunk
                        .len()
                        .min(usize::try_from(self.skip).unwrap_or(usize::MAX));
                    chunk.advance(skipped);
                    self.skip -= skipped as u64;
                    if chunk.is_empty() {
                        continue;
                    }
                    self.position += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                None if self.skip == 0 && self.size.is_none_or(|size| size == self.position) => {
                    return Ok(None);
                }
                None => Error::Connection(
                    format!(
                        "only {} bytes of the file arrived",
                        self.position - self.skip
                    )
                    .into(),
                ),
                Some(Err(error)) => error.into(),
            };
            self.retry(broken).await?;
        }
    }

    /// Waits before the next request, or returns the error that broke the last answer.
    async fn retry(&mut self, broken: Error) -> Result<(), Error> {
        self.answer = None;
        let is_worth_repeating = match broken {
            Error::Connection(_) => true,
            // A backend that stays silent would cost the idle timeout at each attempt.
            Error::Timeout(_) => !std::mem::replace(&mut self.timed_out, true),
            _ => false,
        };
        match self.delays.next(None) {
            Some(delay) if is_worth_repeating => tokio::time::sleep(delay).await,
            _ => return Err(broken),
        }
        Ok(())
    }

    /// Turns the reader into a stream.
    fn stream(self) -> FileStream {
        let size = self.size;
        let chunks = stream::unfold(Some(self), |reader| async move {
            let mut reader = reader?;
            match reader.next().await {
                Ok(Some(chunk)) => Some((Ok(chunk), Some(reader))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        FileStream {
            size,
            chunks: chunks.boxed(),
        }
    }
}

/// Requests a file, and returns its announced size and its content.
async fn request(
    client: &Client,
    image: Uuid,
    path: &str,
) -> Result<(Option<u64>, ByteStream), Error> {
    let answer = client
        .inspect_image_download()
        .image_uuid(image)
        .path(path)
        .send()
        .await?;
    let kind = media_type(answer.headers());
    let is_file = matches!(
        kind.as_deref(),
        None | Some("application/octet-stream" | "text/plain")
    );
    // A backend may announce the file's own type. The image's record tells whether it is a backend.
    if !is_file && client.resolve(&ImageRef::Uuid(image)).await?.uuid != Some(image) {
        let kind = kind.unwrap_or_default();
        return Err(match announces_page(answer.headers()) {
            true => not_contree(b""),
            false => Error::NotContree(format!("the answer is of type `{kind}`")),
        });
    }
    Ok((answer.content_length(), answer.into_inner()))
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
    /// [`Error::NotContree`] if the server answers with a web page of its own.
    pub async fn read(&self, image: Uuid, path: &str) -> Result<FileStream, Error> {
        let reader = FileReader::open(self.clone(), image, path.to_owned()).await?;
        Ok(reader.stream())
    }

    /// Copies a file of an image to `destination` and returns its size in bytes.
    ///
    /// - The file appears only once it is complete. Until then it has no name, so that a killed
    ///   process leaves nothing behind. On a filesystem without such files it has a temporary name
    ///   in the same directory. The next download to the directory removes it, if the process was
    ///   killed.
    /// - After a broken connection, the download continues after the last byte.
    /// - Missing directories are created.
    /// - `mode` is the permissions of the new file before the umask. The default is those of the
    ///   file that it replaces, else 0666.
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
        self.download_observed(image, path, destination, mode, |_, _| {})
            .await
    }

    /// Like [`download`](Self::download), and calls `observe` after each piece with the number of
    /// bytes so far and the size of the file, if the backend announces it.
    pub(crate) async fn download_observed(
        &self,
        image: Uuid,
        path: &str,
        destination: &Path,
        mode: Option<u32>,
        observe: impl Fn(u64, Option<u64>) + Send,
    ) -> Result<u64, Error> {
        runtime::check()?;
        let (destination, replaced_mode) = replaceable(destination).await?;
        let mode = match (mode, replaced_mode) {
            (Some(mode), _) => NewFileMode::BeforeUmask(mode),
            (None, Some(mode)) => NewFileMode::Exact(mode),
            (None, None) => NewFileMode::default(),
        };
        self.fetch(image, path, &destination, mode, observe).await
    }

    /// Like [`download`](Self::download), but does not check `destination`, and replaces a symbolic
    /// link there.
    #[cfg(feature = "mcp")]
    pub(crate) async fn download_to(
        &self,
        image: Uuid,
        path: &str,
        destination: &Path,
        mode: NewFileMode,
    ) -> Result<u64, Error> {
        runtime::check()?;
        self.fetch(image, path, destination, mode, |_, _| {}).await
    }

    async fn fetch(
        &self,
        image: Uuid,
        path: &str,
        destination: &Path,
        mode: NewFileMode,
        observe: impl Fn(u64, Option<u64>) + Send,
    ) -> Result<u64, Error> {
        let directory = match destination.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        tokio::fs::create_dir_all(directory)
            .await
            .map_err(Error::io(directory))?;
        let content = self.read(image, path).await?;
        write(content, directory, destination, mode, observe).await
    }
}

/// Resolves symbolic links of `destination` and checks that it may be replaced. Also returns the
/// permissions of a file there.
async fn replaceable(destination: &Path) -> Result<(PathBuf, Option<u32>), Error> {
    let invalid = |why: &str| {
        Error::InvalidArgument(format!(
            "{} {why}; give the path of a regular file, or a new path",
            destination.display()
        ))
    };
    match tokio::fs::metadata(destination).await {
        Ok(found) if found.is_file() => {
            let resolved = tokio::fs::canonicalize(destination).await;
            let resolved = resolved.map_err(Error::io(destination))?;
            Ok((resolved, permissions(&found)))
        }
        Ok(found) if found.is_dir() => Err(invalid("is a directory")),
        Ok(_) => Err(invalid("is a device, a pipe or a socket")),
        Err(_) if destination.is_symlink() => Err(invalid("is a broken symbolic link")),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
            Err(invalid("is below a file, or is a file with a `/` after it"))
        }
        Err(_) if ends_in_slash(destination) => {
            Err(invalid("is a directory, as the `/` at its end says"))
        }
        Err(_) => Ok((destination.to_owned(), None)),
    }
}

fn ends_in_slash(path: &Path) -> bool {
    let text = path.as_os_str().as_encoded_bytes();
    text.last()
        .is_some_and(|last| std::path::is_separator(char::from(*last)))
}

#[cfg(unix)]
fn permissions(metadata: &std::fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    Some(metadata.permissions().mode() & 0o777)
}

#[cfg(not(unix))]
fn permissions(_: &std::fs::Metadata) -> Option<u32> {
    None
}

async fn write(
    mut content: FileStream,
    directory: &Path,
    destination: &Path,
    mode: NewFileMode,
    observe: impl Fn(u64, Option<u64>) + Send,
) -> Result<u64, Error> {
    let new = NewFile::create(directory, mode).map_err(Error::io(directory))?;
    let mut file = tokio::fs::File::from_std(new.writer().map_err(Error::io(directory))?);
    let mut size = 0;
    while let Some(chunk) = content.next().await {
        let chunk = chunk?;
        size += chunk.len() as u64;
        file.write_all(&chunk)
            .await
            .map_err(Error::io(destination))?;
        observe(size, content.size);
    }
    file.flush().await.map_err(Error::io(destination))?;
    drop(file);
    new.publish(destination).map_err(Error::io(destination))?;
    Ok(size)
}

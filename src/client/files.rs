//! Uploading files.

use std::{
    path::{Path, PathBuf},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::future::{self, Either};
use http_body::{Frame, SizeHint};
use ring::digest::{self, SHA256};
use tokio::{
    fs::File,
    io::{AsyncRead, AsyncReadExt as _, ReadBuf},
};

use super::{retry::calls_for_retry, runtime};
use crate::{Client, Error, types};

/// Number of bytes of a file that are held in memory at once.
const CHUNK: usize = 256 * 1024;

impl Client {
    /// Uploads a file and returns its record. Content that the backend already has is not sent.
    ///
    /// The file is read twice, first to compute its hash, and never held in memory as a whole. A
    /// failed upload starts again at the beginning of the file, after a time-out only once.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read. [`Error::FileChanged`] if it changes between the
    /// two reads; the backend then stores nothing.
    pub async fn upload_path(&self, path: &Path) -> Result<types::FileResponse, Error> {
        runtime::check()?;
        let content = Upload::open(path).await?;
        self.upload(&content).await
    }

    /// Uploads content whose hash is known. `open` is called for each attempt; `path` is for
    /// messages.
    ///
    /// With `look_up_first`, the client first asks whether the backend already has the content.
    #[allow(dead_code, reason = "used by the tools, which are a feature")]
    pub(crate) async fn upload_with_hash(
        &self,
        open: impl Fn() -> std::io::Result<std::fs::File> + Send + Sync + 'static,
        path: &Path,
        sha256: &str,
        size: u64,
        look_up_first: bool,
    ) -> Result<types::FileResponse, Error> {
        let content = Upload {
            source: UploadSource::Opener {
                open: Box::new(open),
                path: path.to_owned(),
            },
            sha256: sha256.to_owned(),
            size,
        };
        self.upload_with_retries(&content, look_up_first).await
    }

    /// Uploads bytes and returns their record. Content that the backend already has is not sent.
    ///
    /// # Errors
    /// If the backend refuses, or cannot be reached.
    pub async fn upload_bytes(&self, bytes: Bytes) -> Result<types::FileResponse, Error> {
        let sha256 = hex(digest::digest(&SHA256, &bytes).as_ref());
        let size = bytes.len() as u64;
        let source = UploadSource::Bytes(bytes);
        self.upload(&Upload {
            source,
            sha256,
            size,
        })
        .await
    }

    /// The record of the content with this SHA-256, if the backend has it.
    ///
    /// # Errors
    /// If the backend refuses the request for another reason than unknown content, or cannot be
    /// reached.
    pub async fn find_file(&self, sha256: &str) -> Result<Option<types::FileResponse>, Error> {
        match self
            .get_file()
            .sha256(sha256)
            .send()
            .await
            .map_err(Error::from)
        {
            Ok(file) => {
                let file = file.into_inner();
                Ok(Some(types::FileResponse {
                    uuid: file.uuid,
                    sha256: file.sha256,
                    size: file.size,
                }))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn upload(&self, content: &Upload) -> Result<types::FileResponse, Error> {
        self.upload_with_retries(content, true).await
    }

    async fn upload_with_retries(
        &self,
        content: &Upload,
        mut look_up: bool,
    ) -> Result<types::FileResponse, Error> {
        runtime::check()?;
        let mut delays = self.backend().retry().delays();
        let mut timed_out = false;
        loop {
            // A failed upload may have arrived nevertheless.
            if std::mem::replace(&mut look_up, true)
                && let Some(existing) = self.find_file(&content.sha256).await?
            {
                return Ok(existing);
            }
            let error = match self.send(content).await {
                Ok(file) => return Ok(file),
                Err(error) => error,
            };
            let requested = match &error {
                Error::Connection(_) => None,
                // A backend that stays silent would cost the idle timeout at each attempt.
                Error::Timeout(_) if !std::mem::replace(&mut timed_out, true) => None,
                Error::Api {
                    status,
                    retry_after,
                    ..
                } if calls_for_retry("upload_file", true, *status) => *retry_after,
                _ => return Err(error),
            };
            match delays.next(requested) {
                Some(delay) => tokio::time::sleep(delay).await,
                None => return Err(error),
            }
        }
    }

    /// Sends the content once, without retries.
    async fn send(&self, content: &Upload) -> Result<types::FileResponse, Error> {
        let progress = Arc::new(UploadProgress::default());
        let body = content.body(&progress).await?;
        let sending = pin!(self.upload_file().body(body).send());
        let idle = self.backend().timeouts().idle;
        let result = match future::select(sending, pin!(progress.wait_for_stall(idle))).await {
            Either::Left((result, _)) => result.map_err(Error::from),
            Either::Right(_) => Err(Error::Timeout(
                format!("an upload made no progress for {} s", idle.as_secs_f64()).into(),
            )),
        };
        if progress.changed.load(Ordering::Acquire) {
            return Err(Error::FileChanged {
                path: content.source.path(),
            });
        }
        let file = result?.into_inner();
        if file.sha256.eq_ignore_ascii_case(&content.sha256) {
            Ok(file)
        } else {
            Err(Error::Protocol(
                format!(
                    "the backend stored an upload with SHA-256 {} under the SHA-256 {}",
                    content.sha256, file.sha256
                )
                .into(),
            ))
        }
    }
}

/// Content to upload, with its SHA-256 and its size in bytes.
struct Upload {
    source: UploadSource,
    sha256: String,
    size: u64,
}

enum UploadSource {
    Path(PathBuf),
    /// A function that opens the file for each attempt. The path is for messages.
    #[allow(dead_code, reason = "used by the tools, which are a feature")]
    Opener {
        open: Box<dyn Fn() -> std::io::Result<std::fs::File> + Send + Sync>,
        path: PathBuf,
    },
    Bytes(Bytes),
}

impl UploadSource {
    fn path(&self) -> PathBuf {
        match self {
            Self::Path(path) | Self::Opener { path, .. } => path.clone(),
            Self::Bytes(_) => PathBuf::new(),
        }
    }
}

impl Upload {
    async fn open(path: &Path) -> Result<Self, Error> {
        let mut file = File::open(path).await.map_err(Error::io(path))?;
        let metadata = file.metadata().await.map_err(Error::io(path))?;
        if !metadata.is_file() {
            return Err(Error::InvalidArgument(format!(
                "{} is not a regular file: only those can be uploaded",
                path.display()
            )));
        }
        file.set_max_buf_size(CHUNK);
        let mut hash = digest::Context::new(&SHA256);
        let mut size = 0;
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = file.read(&mut buffer).await.map_err(Error::io(path))?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            size += read as u64;
        }
        Ok(Self {
            source: UploadSource::Path(path.to_owned()),
            sha256: hex(hash.finish().as_ref()),
            size,
        })
    }

    /// Opens the content and returns a request body of known size.
    async fn body(&self, progress: &Arc<UploadProgress>) -> Result<reqwest::Body, Error> {
        match &self.source {
            UploadSource::Bytes(bytes) => Ok(bytes.clone().into()),
            UploadSource::Path(path) => {
                let file = File::open(path).await.map_err(Error::io(path))?;
                Ok(self.file_body(file, progress))
            }
            UploadSource::Opener { open, path } => {
                let file = open().map_err(Error::io(path))?;
                Ok(self.file_body(File::from_std(file), progress))
            }
        }
    }

    /// Returns a request body that reads an open file.
    fn file_body(&self, mut file: File, progress: &Arc<UploadProgress>) -> reqwest::Body {
        file.set_max_buf_size(CHUNK);
        reqwest::Body::wrap(FileBody {
            file,
            remaining: self.size,
            hash: digest::Context::new(&SHA256),
            expected: self.sha256.clone(),
            buffer: BytesMut::new(),
            progress: Arc::clone(progress),
        })
    }
}

/// The progress of an upload, which [`FileBody`] updates.
#[derive(Default)]
struct UploadProgress {
    /// Number of bytes sent.
    bytes: AtomicU64,
    /// Whether the file changed while it was sent.
    changed: AtomicBool,
}

impl UploadProgress {
    /// Returns once no bytes were sent for `idle`.
    async fn wait_for_stall(&self, idle: Duration) {
        let mut before = None;
        loop {
            let now = self.bytes.load(Ordering::Relaxed);
            if before == Some(now) {
                return;
            }
            before = Some(now);
            tokio::time::sleep(idle).await;
        }
    }
}

/// A request body from a file of known size and hash.
///
/// The last bytes are sent only if the hash matches, so a changed file never arrives complete.
struct FileBody {
    file: File,
    remaining: u64,
    hash: digest::Context,
    expected: String,
    buffer: BytesMut,
    progress: Arc<UploadProgress>,
}

impl FileBody {
    /// Records that the file changed, and returns the error.
    fn report_change(&self) -> std::io::Error {
        self.progress.changed.store(true, Ordering::Release);
        std::io::Error::other("the file changed while it was being sent")
    }
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let this = &mut *self;
        if this.remaining == 0 {
            return Poll::Ready(None);
        }
        // Reads at most the announced size, even if the file has grown.
        let limit = CHUNK.min(usize::try_from(this.remaining).unwrap_or(CHUNK));
        this.buffer.resize(limit, 0);
        let mut buffer = ReadBuf::new(&mut this.buffer);
        if let Err(error) = ready!(Pin::new(&mut this.file).poll_read(cx, &mut buffer)) {
            return Poll::Ready(Some(Err(error)));
        }
        let read = buffer.filled().len();
        if read == 0 {
            return Poll::Ready(Some(Err(this.report_change())));
        }
        this.buffer.truncate(read);
        this.hash.update(&this.buffer);
        this.remaining -= read as u64;
        // The context is cloned, since a reference cannot be consumed.
        if this.remaining == 0 && hex(this.hash.clone().finish().as_ref()) != this.expected {
            return Poll::Ready(Some(Err(this.report_change())));
        }
        this.progress
            .bytes
            .fetch_add(read as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(this.buffer.split().freeze()))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

/// The SHA-256 of some bytes, in hexadecimal.
#[cfg(feature = "testing")]
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&SHA256, bytes).as_ref())
}

fn hex(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    digest
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

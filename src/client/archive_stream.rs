//! Reading the archive of an image while it arrives.

use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{Client, Error};

/// The most pieces of an archive that wait to be read.
const WAITING_CHUNKS: usize = 16;

impl Client {
    /// Reads the archive of a path of an image with a function that may block. The function gets
    /// the archive, and the name with which its entries begin.
    pub(crate) async fn read_archive<T: Send + 'static>(
        &self,
        image: Uuid,
        path: &Path,
        read: impl FnOnce(ChunkReader, &[u8]) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let name = path.file_name().unwrap_or_default();
        let name = name.as_encoded_bytes().to_vec();
        let request = self.inspect_image_archive().image_uuid(image);
        let answer = request.path(path.to_string_lossy()).send().await?;
        let mut archive = answer.into_inner();
        let (sender, receiver) = mpsc::channel(WAITING_CHUNKS);
        let reading = tokio::task::spawn_blocking(move || {
            let reader = ChunkReader {
                receiver,
                chunk: Bytes::new(),
                has_ended: false,
            };
            read(reader, &name)
        });
        let mut broken = None;
        while let Some(chunk) = archive.next().await {
            let chunk = chunk.map_err(Error::from);
            let failed = chunk.is_err();
            let sent = match chunk {
                Ok(chunk) => sender.send(Ok(Some(chunk))).await,
                Err(error) => {
                    let sent = sender
                        .send(Err(io::Error::other("the archive broke off")))
                        .await;
                    broken = Some(error);
                    sent
                }
            };
            // The reader has ended, at the end of the archive or with an error.
            if failed || sent.is_err() {
                break;
            }
        }
        if broken.is_none() {
            let _ = sender.send(Ok(None)).await;
        }
        drop(sender);
        let read = finished(reading.await)?;
        match broken {
            Some(error) => Err(error),
            None => Ok(read),
        }
    }
}

/// Reads the pieces of an archive on a thread that may block.
pub(crate) struct ChunkReader {
    /// Chunks, and `None` at the end. A channel that closes earlier has lost its sender.
    receiver: mpsc::Receiver<io::Result<Option<Bytes>>>,
    chunk: Bytes,
    has_ended: bool,
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => match chunk? {
                    Some(chunk) => self.chunk = chunk,
                    None => {
                        self.receiver.close();
                        self.has_ended = true;
                    }
                },
                None if self.has_ended => return Ok(0),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let length = buffer.len().min(self.chunk.len());
        buffer[..length].copy_from_slice(&self.chunk.split_to(length));
        Ok(length)
    }
}

pub(super) fn finished<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, Error> {
    result.map_err(|error| Error::Protocol(format!("reading the archives failed: {error}").into()))
}

pub(super) fn unreadable(error: io::Error) -> Error {
    Error::Protocol(format!("the archive of an image cannot be read: {error}").into())
}

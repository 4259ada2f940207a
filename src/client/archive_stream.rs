//! Reading the archive of an image while it arrives.

use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use futures_util::StreamExt as _;
use progenitor_client::ByteStream;
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
        let (sender, receiver) = mpsc::channel(WAITING_CHUNKS);
        let reading = contree_tasks::blocking(move || {
            let reader = ChunkReader {
                receiver,
                chunk: Bytes::new(),
                has_ended: false,
            };
            read(reader, &name)
        });
        let sent = send_chunks(answer.into_inner(), sender).await;
        let read = finished(reading.await)?;
        sent.map(|()| read)
    }
}

/// Passes an archive on to its reader, until the archive ends or the reader needs no more.
///
/// # Errors
/// If the archive breaks off.
async fn send_chunks(
    mut archive: ByteStream,
    sender: mpsc::Sender<io::Result<Option<Bytes>>>,
) -> Result<(), Error> {
    while let Some(chunk) = archive.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => {
                let broken = io::Error::other("the archive broke off");
                let _ = sender.send(Err(broken)).await;
                return Err(error.into());
            }
        };
        // The reader has ended, at the end of the archive or with an error.
        if sender.send(Ok(Some(chunk))).await.is_err() {
            return Ok(());
        }
    }
    let _ = sender.send(Ok(None)).await;
    Ok(())
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

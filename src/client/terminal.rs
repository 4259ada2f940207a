//! The terminals of processes.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use progenitor_client::ByteStream;
use uuid::Uuid;

use super::{
    bodies::announces_page,
    errors::not_contree,
    sse::{FrameTooLong, SseDecoder, SseFrame},
};
use crate::{Client, Error, types};

/// The data of the last frame of a terminal whose process has ended.
const ENDED: &str = "ended";

impl Client {
    /// Shows the terminal of a process: the stream of its output, up to its end. `spid` is the
    /// number of the process, which is 1 for the main one.
    ///
    /// If the reader is slow, the process waits for it. One client at a time shows a terminal, and
    /// a later one takes it over.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the backend has no terminals. [`Error::Api`] with 409 if the
    /// process has none, or if the sandbox is over.
    pub async fn terminal(
        &self,
        operation: Uuid,
        spid: u64,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + Unpin + 'static, Error> {
        self.check_terminal_extension().await?;
        let request = self.get_terminal_output();
        let answer = request.operation_id(operation).spid(spid).send().await?;
        if announces_page(answer.headers()) {
            return Err(not_contree(b""));
        }
        let reader = TerminalReader {
            bytes: answer.into_inner(),
            decoder: SseDecoder::default(),
        };
        let pieces = stream::unfold(Some(reader), |reader| async move {
            let mut reader = reader?;
            match reader.next().await {
                Ok(Some(piece)) => Some((Ok(piece), Some(reader))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(pieces.boxed())
    }

    /// Changes the size of a process's terminal, in characters.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the backend has no terminals. [`Error::Api`] with 400 for a size
    /// of 0, and with 409 if the process has no terminal, or if the sandbox is over.
    pub async fn set_terminal_size(
        &self,
        operation: Uuid,
        spid: u64,
        columns: u16,
        rows: u16,
    ) -> Result<(), Error> {
        self.check_terminal_extension().await?;
        let body = types::TerminalSize {
            columns: columns.into(),
            rows: rows.into(),
        };
        let request = self.resize_terminal().operation_id(operation).spid(spid);
        request.body(body).send().await?;
        Ok(())
    }

    /// # Errors
    /// [`Error::Unsupported`] if the backend has no terminals.
    pub(crate) async fn check_terminal_extension(&self) -> Result<(), Error> {
        if self.has_extension("terminal").await? {
            return Ok(());
        }
        Err(Error::Unsupported(
            "this service has no terminals; run the command without one, or use the embedded engine",
        ))
    }
}

/// Reads the frames of a terminal.
struct TerminalReader {
    bytes: ByteStream,
    decoder: SseDecoder,
}

impl TerminalReader {
    /// The next output; none after the end of the process.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let frame = self.decoder.next().map_err(|FrameTooLong| {
                Error::Protocol("a frame of the terminal is too long".into())
            })?;
            if let Some(frame) = frame {
                if let Some(piece) = read(&frame)? {
                    return Ok(piece);
                }
                continue;
            }
            match self.bytes.next().await {
                Some(chunk) => self.decoder.push(&chunk?),
                None => {
                    return Err(Error::Connection(
                        "the backend ended the connection to the terminal".into(),
                    ));
                }
            }
        }
    }
}

/// The output in a frame; `Some(None)` for the end, and none for a frame of another kind.
fn read(frame: &SseFrame) -> Result<Option<Option<Bytes>>, Error> {
    match frame.event.as_str() {
        "output" => {
            let bytes = STANDARD.decode(&frame.data);
            let bytes = bytes.map_err(|error| Error::Protocol(error.to_string().into()))?;
            Ok(Some(Some(bytes.into())))
        }
        "end" if frame.data == ENDED => Ok(Some(None)),
        "end" => Err(Error::Connection(frame.data.clone().into())),
        _ => Ok(None),
    }
}

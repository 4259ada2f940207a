//! The standard input of a running process.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::FutureExt as _;
use http::StatusCode;
use tokio::{io::AsyncWrite, runtime::Handle, task::JoinHandle};
use uuid::Uuid;

use super::start::pause_before_start;
use crate::{Client, Error, types};

/// Number of bytes that one request carries at most.
const CHUNK: usize = 64 * 1024;

/// The standard input of a running process.
///
/// Each write is one request, whose error the next call returns. Flushing waits until the backend
/// has taken the bytes, and shutting down also closes the input. Dropping it leaves the input open.
///
/// Writing to a process that has ended fails with [`io::ErrorKind::BrokenPipe`]. Other errors have
/// the [`Error`] as their source. Bytes whose answer was lost are not sent again.
pub struct Stdin {
    client: Client,
    operation: Uuid,
    spid: u64,
    /// The request under way.
    sending: Option<JoinHandle<Result<(), Error>>>,
    is_closed: bool,
}

impl Stdin {
    pub(super) fn new(client: Client, operation: Uuid, spid: u64) -> Self {
        Self {
            client,
            operation,
            spid,
            sending: None,
            is_closed: false,
        }
    }

    /// Begins a request with these bytes. It makes progress although nothing polls it.
    fn send(&mut self, bytes: &[u8], close: bool) -> io::Result<()> {
        let body = types::ClosableStreamRepr {
            close: Some(close),
            encoding: Some(types::StreamEncoding::Base64),
            value: STANDARD.encode(bytes),
        };
        let (client, operation, spid) = (self.client.clone(), self.operation, self.spid);
        let request = async move {
            loop {
                let request = client.operation_subprocess_stdin();
                let request = request.operation_id(operation).spid(spid);
                let sent = request.body(body.clone()).send().await;
                match sent.map_err(Error::from) {
                    Ok(_) => return Ok(()),
                    Err(error) => pause_before_start(&client, operation, error).await?,
                }
            }
        };
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        self.sending = Some(contree_tasks::spawn_on(&runtime, request));
        Ok(())
    }

    /// Waits for the end of the request under way.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(sending) = &mut self.sending else {
            return Poll::Ready(Ok(()));
        };
        let sent = ready!(sending.poll_unpin(cx));
        self.sending = None;
        Poll::Ready(sent.map_err(io::Error::other)?.map_err(to_io))
    }
}

fn to_io(error: Error) -> io::Error {
    let kind = match &error {
        Error::Api { status, .. } if matches!(*status, StatusCode::CONFLICT | StatusCode::GONE) => {
            io::ErrorKind::BrokenPipe
        }
        Error::Timeout(_) => io::ErrorKind::TimedOut,
        Error::Connection(_) => io::ErrorKind::ConnectionAborted,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

impl AsyncWrite for Stdin {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_sent(cx))?;
        if self.is_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let count = bytes.len().min(CHUNK);
        self.send(&bytes[..count], false)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_sent(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_sent(cx))?;
        if self.is_closed {
            return Poll::Ready(Ok(()));
        }
        self.is_closed = true;
        self.send(&[], true)?;
        match ready!(self.poll_sent(cx)) {
            // The process has ended or closed its input.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Poll::Ready(Ok(())),
            sent => Poll::Ready(sent),
        }
    }
}

impl fmt::Debug for Stdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stdin")
            .field("operation", &self.operation)
            .field("spid", &self.spid)
            .finish_non_exhaustive()
    }
}

//! Counting what goes through, and seeing when nothing does.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::net::TcpStream;

/// A connection to the outside through which nothing goes for this long is taken down.
pub(super) const IDLE: Duration = Duration::from_secs(600);

/// How often it is looked at in that time.
const LOOKS: u32 = 8;

/// Bytes of all connections of a sandbox, seen from inside.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
}

/// A connection to the outside that counts.
pub(super) struct Counted {
    stream: TcpStream,
    all: Arc<Counters>,
    /// Of this connection, in both directions.
    own: Arc<AtomicU64>,
}

impl Counted {
    pub(super) fn new(stream: TcpStream, all: Arc<Counters>) -> Self {
        Self {
            stream,
            all,
            own: Arc::default(),
        }
    }

    /// Tells whether anything goes through this connection.
    pub(super) fn traffic(&self) -> Traffic {
        Traffic(Arc::clone(&self.own))
    }
}

/// What went through one connection so far.
#[derive(Clone)]
pub(super) struct Traffic(Arc<AtomicU64>);

impl Traffic {
    /// Waits for `work`; `None` once nothing has gone through for `idle`.
    pub(super) async fn during<T>(
        &self,
        idle: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let watch = async {
            let (mut before, mut quiet) = (self.0.load(Ordering::Relaxed), 0);
            while quiet < LOOKS {
                tokio::time::sleep(idle / LOOKS).await;
                let now = self.0.load(Ordering::Relaxed);
                quiet = if now == before { quiet + 1 } else { 0 };
                before = now;
            }
        };
        tokio::select! {
            done = work => Some(done),
            () = watch => None,
        }
    }
}

/// Passes bytes in both directions until both have ended, one breaks, or nothing has come for `idle`.
pub(super) async fn tunnel(
    inside: &mut (impl AsyncRead + AsyncWrite + Unpin),
    outside: &mut Counted,
    idle: Duration,
) {
    let traffic = outside.traffic();
    traffic
        .during(idle, copy_bidirectional(inside, outside))
        .await;
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let read = (buffer.filled().len() - before) as u64;
        self.all.received.fetch_add(read, Ordering::Relaxed);
        self.own.fetch_add(read, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = &polled {
            self.all.sent.fetch_add(*written as u64, Ordering::Relaxed);
            self.own.fetch_add(*written as u64, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let (one, other) = tokio::join!(TcpStream::connect(address), listener.accept());
        (one.expect("connect"), other.expect("accept").0)
    }

    #[tokio::test]
    async fn both_ways_are_passed_on_and_counted() {
        let counters = Arc::new(Counters::default());
        let (mut client, mut inside) = pair().await;
        let (mut server, outside) = pair().await;
        let mut outside = Counted::new(outside, Arc::clone(&counters));
        let passing = tokio::spawn(async move { tunnel(&mut inside, &mut outside, IDLE).await });
        client.write_all(b"question").await.expect("write");
        client.shutdown().await.expect("shutdown");
        let mut seen = String::new();
        server.read_to_string(&mut seen).await.expect("read");
        assert_eq!(seen, "question");
        // The other way is still open.
        server.write_all(b"the answer").await.expect("write");
        drop(server);
        seen.clear();
        client.read_to_string(&mut seen).await.expect("read");
        assert_eq!(seen, "the answer");
        passing.await.expect("passing");
        assert_eq!(counters.sent.load(Ordering::Relaxed), 8);
        assert_eq!(counters.received.load(Ordering::Relaxed), 10);
    }

    #[tokio::test]
    async fn a_tunnel_that_is_not_used_ends() {
        let (client, mut inside) = pair().await;
        let (server, outside) = pair().await;
        let mut outside = Counted::new(outside, Arc::default());
        tunnel(&mut inside, &mut outside, Duration::from_millis(20)).await;
        drop((client, server));
    }
}

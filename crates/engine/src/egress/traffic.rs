//! Counts the bytes of outgoing connections and detects idle ones.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::net::TcpStream;

/// An outgoing connection without traffic for this long is closed.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(600);

/// Samples of the traffic within that time.
const IDLE_SAMPLES: u32 = 8;

/// Bytes of all connections of one sandbox, as seen from inside it.
#[derive(Debug, Default)]
pub(super) struct ByteCounters {
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
}

/// An outgoing connection whose bytes are counted.
pub(super) struct CountedStream {
    stream: TcpStream,
    sandbox: Arc<ByteCounters>,
    /// Bytes of this connection alone, in both directions.
    connection: Arc<AtomicU64>,
}

impl CountedStream {
    pub(super) fn new(stream: TcpStream, sandbox: Arc<ByteCounters>) -> Self {
        Self {
            stream,
            sandbox,
            connection: Arc::default(),
        }
    }

    /// A monitor of this connection's traffic.
    pub(super) fn traffic(&self) -> TrafficMonitor {
        TrafficMonitor(Arc::clone(&self.connection))
    }
}

/// Watches the traffic of one connection.
#[derive(Clone)]
pub(super) struct TrafficMonitor(Arc<AtomicU64>);

impl TrafficMonitor {
    /// Waits for `work`. Returns `None` if the connection has no traffic for `idle`.
    pub(super) async fn unless_idle<T>(
        &self,
        idle: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let watch = async {
            let (mut before, mut idle_samples) = (self.0.load(Ordering::Relaxed), 0);
            while idle_samples < IDLE_SAMPLES {
                tokio::time::sleep(idle / IDLE_SAMPLES).await;
                let now = self.0.load(Ordering::Relaxed);
                idle_samples = if now == before { idle_samples + 1 } else { 0 };
                before = now;
            }
        };
        tokio::select! {
            output = work => Some(output),
            () = watch => None,
        }
    }
}

/// Copies bytes in both directions until both have ended, one fails, or there is no traffic for
/// `idle`.
pub(super) async fn tunnel(
    inside: &mut (impl AsyncRead + AsyncWrite + Unpin),
    outside: &mut CountedStream,
    idle: Duration,
) {
    let traffic = outside.traffic();
    traffic
        .unless_idle(idle, copy_bidirectional(inside, outside))
        .await;
}

impl AsyncRead for CountedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let read = (buffer.filled().len() - before) as u64;
        self.sandbox.received.fetch_add(read, Ordering::Relaxed);
        self.connection.fetch_add(read, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = &polled {
            self.sandbox
                .sent
                .fetch_add(*written as u64, Ordering::Relaxed);
            self.connection
                .fetch_add(*written as u64, Ordering::Relaxed);
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
    async fn bytes_are_copied_and_counted_in_both_directions() {
        let counters = Arc::new(ByteCounters::default());
        let (mut client, mut inside) = pair().await;
        let (mut server, outside) = pair().await;
        let mut outside = CountedStream::new(outside, Arc::clone(&counters));
        let tunnel =
            tokio::spawn(
                async move { super::tunnel(&mut inside, &mut outside, IDLE_TIMEOUT).await },
            );
        client.write_all(b"question").await.expect("write");
        client.shutdown().await.expect("shutdown");
        let mut text = String::new();
        server.read_to_string(&mut text).await.expect("read");
        assert_eq!(text, "question");
        // The other direction is still open.
        server.write_all(b"the answer").await.expect("write");
        drop(server);
        text.clear();
        client.read_to_string(&mut text).await.expect("read");
        assert_eq!(text, "the answer");
        tunnel.await.expect("the tunnel");
        assert_eq!(counters.sent.load(Ordering::Relaxed), 8);
        assert_eq!(counters.received.load(Ordering::Relaxed), 10);
    }

    #[tokio::test]
    async fn an_idle_tunnel_ends() {
        let (client, mut inside) = pair().await;
        let (server, outside) = pair().await;
        let mut outside = CountedStream::new(outside, Arc::default());
        tunnel(&mut inside, &mut outside, Duration::from_millis(20)).await;
        drop((client, server));
    }
}

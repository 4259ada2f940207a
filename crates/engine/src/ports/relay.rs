//! Copies the bytes of a connection in both directions.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// The most bytes that are copied at once.
const CHUNK: usize = 16 * 1024;

/// How long a connection without traffic stays open once one of its sides has sent all that it
/// will. The other side may still need time for its answer.
pub(super) const HALF_CLOSED_IDLE: Duration = Duration::from_secs(60);

/// Copies bytes in both directions until both have ended, one fails, or one has ended and the other
/// has no traffic for `idle`.
///
/// While both sides are open there is no time limit: a client that waits for a slow server decides
/// itself when to leave. A client that has left may look like one that has only sent everything.
pub(super) async fn relay(client: TcpStream, inside: TcpStream, idle: Duration) {
    let (from_client, to_client) = client.into_split();
    let (from_inside, to_inside) = inside.into_split();
    let half_closed = watch::Sender::new(false);
    let _ = tokio::try_join!(
        copy(from_client, to_inside, &half_closed, idle),
        copy(from_inside, to_client, &half_closed, idle),
    );
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    half_closed: &watch::Sender<bool>,
    idle: Duration,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = within(half_closed, idle, from.read(&mut buffer)).await?;
        if read == 0 {
            break;
        }
        within(half_closed, idle, to.write_all(&buffer[..read])).await?;
    }
    to.shutdown().await?;
    half_closed.send_replace(true);
    Ok(())
}

/// Waits for `work`. Once the connection is half closed, it may take `idle` at most.
async fn within<T>(
    half_closed: &watch::Sender<bool>,
    idle: Duration,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let mut state = half_closed.subscribe();
    let limit = async {
        // The sender outlives this future.
        let _ = state.wait_for(|half_closed| *half_closed).await;
        tokio::time::sleep(idle).await;
    };
    tokio::select! {
        biased;
        done = work => done,
        () = limit => Err(io::ErrorKind::TimedOut.into()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let (one, other) = tokio::join!(TcpStream::connect(address), listener.accept());
        (one.expect("connect"), other.expect("accept").0)
    }

    #[tokio::test]
    async fn an_answer_arrives_after_the_client_has_sent_everything() {
        let (mut client, outer) = pair().await;
        let (inner, mut server) = pair().await;
        let relaying = tokio::spawn(relay(outer, inner, HALF_CLOSED_IDLE));
        client.write_all(b"question").await.expect("write");
        client.shutdown().await.expect("shutdown");
        let mut text = String::new();
        server.read_to_string(&mut text).await.expect("read");
        assert_eq!(text, "question");
        server.write_all(b"answer").await.expect("write");
        drop(server);
        text.clear();
        client.read_to_string(&mut text).await.expect("read");
        assert_eq!(text, "answer");
        relaying.await.expect("the relay");
    }

    #[tokio::test]
    async fn a_server_that_never_answers_holds_no_connection_of_a_client_that_left() {
        let (client, outer) = pair().await;
        let (inner, server) = pair().await;
        drop(client);
        // The server neither reads nor closes.
        relay(outer, inner, Duration::from_millis(20)).await;
        drop(server);
    }
}

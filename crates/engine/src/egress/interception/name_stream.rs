//! Answers the look-ups of names by TCP (RFC 7766).

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Interception, MAX_QUERY_BYTES, resolver};

/// How long a program may take for a query or for reading its answer. Then its connection closes.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Answers the queries of a connection one after the other, until it ends.
pub(super) async fn answer(shared: &Interception, mut stream: TcpStream) {
    while let Ok(Some(query)) = timeout(QUERY_TIMEOUT, read(&mut stream)).await {
        let answer = resolver::answer(&shared.context, &shared.names, &query).await;
        let Some(message) = answer.as_deref().and_then(message) else {
            return;
        };
        let Ok(Ok(())) = timeout(QUERY_TIMEOUT, stream.write_all(&message)).await else {
            return;
        };
    }
}

/// Reads a query. `None` at the end, or if the query is too long.
async fn read(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let length = usize::from(stream.read_u16().await.ok()?);
    if length > MAX_QUERY_BYTES {
        return None;
    }
    let mut query = vec![0; length];
    stream.read_exact(&mut query).await.ok()?;
    Some(query)
}

/// An answer after its length.
fn message(answer: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(answer.len()).ok()?;
    Some([&length.to_be_bytes(), answer].concat())
}

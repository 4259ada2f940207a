//! HTTP without a client library, so that the recording has exactly what the engine sends.

use std::io;
use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: String,
    /// The headers in the order of the answer, with names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Sends a request on a new connection.
pub(crate) async fn send(
    socket: &Path,
    method: &str,
    path: &str,
    headers: &[(String, String)],
    body: &[u8],
) -> io::Result<Answer> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    if !body.is_empty() || ["POST", "PATCH", "PUT"].contains(&method) {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let (mut reading, mut writing) = UnixStream::connect(socket).await?.into_split();
    let write = async {
        writing.write_all(head.as_bytes()).await?;
        writing.write_all(body).await
    };
    let mut bytes = Vec::new();
    // A server may answer and stop reading before it has read the complete body.
    let (_, read) = tokio::join!(write, reading.read_to_end(&mut bytes));
    if bytes.is_empty() {
        read?;
    }
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or_else(|| io::Error::other("the answer has no end of its headers"))?;
    let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let chunked = headers.iter().any(|(name, _)| name == "transfer-encoding");
    let body = &bytes[end + 4..];
    Ok(Answer {
        status: status.split(' ').nth(1).unwrap_or_default().to_owned(),
        body: if chunked {
            join_chunks(body)
        } else {
            body.to_vec()
        },
        headers,
    })
}

/// Joins the chunks of an answer's body (RFC 9112, section 7.1).
fn join_chunks(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).unwrap_or_default();
        let size = usize::from_str_radix(size, 16).unwrap_or_default();
        let Some(chunk) = bytes.get(end + 2..end + 2 + size) else {
            break;
        };
        if size == 0 {
            break;
        }
        body.extend_from_slice(chunk);
        bytes = &bytes[(end + size + 4).min(bytes.len())..];
    }
    body
}

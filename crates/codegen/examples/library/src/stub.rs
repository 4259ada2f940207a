//! A stub of the library's server, on loopback.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The id of the only book.
pub const BOOK: &str = "6f9619ff-8b86-4011-842d-00c04fc964ff";

/// Starts the server, and returns its address.
pub async fn start() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(answer(connection));
        }
    });
    Ok(url)
}

/// Answers one request, and closes the connection.
async fn answer(mut connection: TcpStream) -> std::io::Result<()> {
    let request = read(&mut connection).await?;
    let book = |state: &str| {
        format!(
            r#"{{"id": "{BOOK}", "title": "The Dispossessed", "state": "{state}", "pages": 341}}"#
        )
    };
    let is_allowed = request
        .to_lowercase()
        .contains("authorization: bearer reader's ticket");
    let (status, body) = if !is_allowed {
        ("401 Unauthorized", r#"{"reason": "no ticket"}"#.to_owned())
    } else if request.starts_with("GET /books?limit=3 ") {
        // A newer server: it has a state and a property that the document lacks.
        ("200 OK", format!("[{}]", book("on-loan-abroad")))
    } else if request.starts_with(&format!("PUT /books/{BOOK} "))
        && request.contains(r#""reader":"Odo""#)
    {
        ("200 OK", book("lent"))
    } else {
        ("404 Not Found", r#"{"reason": "no such book"}"#.to_owned())
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(body.as_bytes()).await
}

/// Reads a request with its body.
async fn read(connection: &mut TcpStream) -> std::io::Result<String> {
    let mut received = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&received).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length = length.map_or(0, |length| length.parse().unwrap_or(0));
            if body.len() >= length {
                return Ok(text);
            }
        }
        if connection.read_buf(&mut received).await? == 0 {
            return Ok(text);
        }
    }
}

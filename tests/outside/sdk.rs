//! A program in a crate outside the workspace, which uses the SDK without features.
//!
//! `.ci/run outside` builds and runs it. The program serves one request on loopback and reads the
//! answer with the client.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use contree::{Backend, Client, ImageRef};

const IMAGE: &str = "018f2b5c-0000-7000-8000-000000000002";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let server = thread::spawn(move || answer_one_request(&listener));

    let client = Client::connect(Backend::new(&url)?.with_token("any"))?;
    let image: ImageRef = IMAGE.parse()?;
    let resolved = client.resolve(&image).await?;
    println!("{}", resolved.uuid.ok_or("the image has no id")?);
    server.join().map_err(|_| "the server panicked")??;
    Ok(())
}

fn answer_one_request(listener: &TcpListener) -> std::io::Result<()> {
    let (mut connection, _) = listener.accept()?;
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = connection.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        request.extend_from_slice(&buffer[..count]);
    }
    let body = format!("{{\"uuid\": \"{IMAGE}\"}}");
    write!(
        connection,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

//! Streams between the terminal and a command. The exit status is the command's.
use contree::{Client, events::Payload};
use std::io::Write as _;
use tokio::io::{AsyncWriteExt as _, copy, stdin};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let base = Client::from_env().await?.image("tag:host");
    let run = base.exec("cat", ["-n"]).stdin_open().spawn().await?;
    let mut input = run.stdin();
    tokio::spawn(async move {
        copy(&mut stdin(), &mut input).await?;
        input.shutdown().await
    });
    let mut events = run.events();
    while let Some(event) = events.next().await {
        match event?.payload {
            Payload::Stdout(chunk) => std::io::stdout().write_all(&chunk.bytes)?,
            Payload::Stderr(chunk) => std::io::stderr().write_all(&chunk.bytes)?,
            _ => {}
        }
    }
    let status = run.wait().await?.status;
    std::process::exit(status.code().unwrap_or(1).into())
}

//! A server in a sandbox, a second process beside it, and a signal that ends it.
use contree::{Client, Error, Signal, events::Payload};

const SERVER: &str = "trap 'echo stopped; exit 3' TERM
echo serving > /run/state; echo ready
while :; do sleep 0.1; done";

#[tokio::main]
async fn main() -> Result<(), Error> {
    let base = Client::from_env().await?.image("tag:host");
    let server = base.shell(SERVER).discard().spawn().await?;
    let mut events = server.events();
    while let Some(event) = events.next().await {
        if let Payload::Stdout(chunk) = event?.payload {
            print!("server: {}", String::from_utf8_lossy(&chunk.bytes));
            break;
        }
    }
    let health = server.exec("cat", ["/run/state"]).await?.ok()?;
    print!("second process: {}", health.stdout);
    server.signal(Signal::TERM).await?;
    let out = server.wait().await?;
    print!("{}: {}", out.status, out.stdout.text()?);
    Ok(())
}

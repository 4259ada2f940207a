//! Two branches of one image on this machine's embedded engine, no account needed:
//!
//! ```text
//! cargo run --features engine --example branches
//! ```
use contree::engine::LocalConfig;
use contree::{Client, ImageRef, types};
use uuid::Uuid;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::local(LocalConfig::from_env()?).await?;
    let base = client
        .resolve(&"tag:host".parse()?)
        .await?
        .uuid
        .ok_or("an image without a UUID")?;

    let left = run(&client, base, "echo left > /branch").await?;
    let right = run(&client, base, "echo right > /branch").await?;
    for image in [left, right, base] {
        run(&client, image, "cat /branch || echo 'no branch here'").await?;
    }
    Ok(())
}

/// Runs a command, prints its output, and returns the result image.
async fn run(
    client: &Client,
    image: Uuid,
    command: &str,
) -> Result<Uuid, Box<dyn std::error::Error>> {
    let request = types::InstanceSpawnRequest::builder()
        .command(command)
        .shell(true)
        .image(ImageRef::Uuid(image))
        .try_into()?;
    let outcome = client.run(request).await?;
    print!("{}", String::from_utf8_lossy(&outcome.stdout.bytes));
    Ok(outcome.result_image.unwrap_or(image))
}

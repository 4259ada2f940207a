//! Measures how long a comparison of two images takes, beyond a request: 10 changed files on an
//! image of 2 GB and 10,000 files.
//!
//! `cargo run --release --example diff_cost --features engine`

use std::time::{Duration, Instant};

use contree::engine::LocalConfig;
use contree::types::InstanceSpawnRequest;
use contree::{Client, DiffRequest, ImageRef};
use uuid::Uuid;

const ROUNDS: usize = 100;

/// Files of 2 GB together, and 10,000 small ones.
const BASE: &str = "mkdir -p /srv/large /srv/small && cd /srv/large \
    && for i in 1 2 3 4 5 6 7 8; do head -c 256M /dev/zero >$i; done \
    && cd ../small && seq 10000 | xargs -n 1 sh -c 'seq 20 >$0'";
const CHANGE: &str = "cd /srv/small && for i in 1 2 3 4 5 6 7 8 9 10; do echo changed >>$i; done";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parent = std::env::var_os("CONTREE_TEST_DIR").map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::tempdir_in(parent)?;
    let client = Client::local(LocalConfig::new(folder.path().join("data"))).await?;
    let base = commit(&client, "tag:host".parse()?, BASE).await?;
    let image = commit(&client, base.into(), CHANGE).await?;

    let request = measure(async || {
        client.resolve(&ImageRef::Uuid(image)).await?;
        Ok(())
    });
    println!("a request: {:?}", request.await?);
    for patch in [false, true] {
        let diff = DiffRequest {
            patch,
            ..DiffRequest::default()
        };
        let time = measure(async || {
            let found = client.diff(image, &diff).await?;
            assert_eq!(found.count, 10);
            Ok(())
        });
        println!("10 changes, patch {patch}: {:?}", time.await?);
    }
    Ok(())
}

async fn commit(
    client: &Client,
    image: ImageRef,
    command: &str,
) -> Result<Uuid, Box<dyn std::error::Error>> {
    let request = InstanceSpawnRequest::builder()
        .image(image)
        .command(command)
        .shell(true)
        .disposable(false)
        .timeout(600);
    let outcome = client.run(request.try_into()?).await?;
    Ok(outcome.result_image.ok_or("the command made no image")?)
}

/// The median of several rounds.
async fn measure(
    work: impl AsyncFn() -> Result<(), contree::Error>,
) -> Result<Duration, contree::Error> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        work().await?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times[ROUNDS / 2])
}

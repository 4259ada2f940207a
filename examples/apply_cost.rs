//! Measures how long it takes to apply 10 changed files of 10,000 to a local directory.
//!
//! `cargo run --release --example apply_cost --features engine,sync`

use std::time::{Duration, Instant};

use contree::Client;
use contree::engine::LocalConfig;

const FILES: usize = 10_000;
const ROUNDS: usize = 5;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parent = std::env::var_os("CONTREE_TEST_DIR").map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::tempdir_in(parent)?;
    let client = Client::local(LocalConfig::new(folder.path().join("data"))).await?;
    let project = folder.path().join("project");
    for n in 0..FILES {
        let directory = project.join((n / 100).to_string());
        std::fs::create_dir_all(&directory)?;
        std::fs::write(
            directory.join(n.to_string()),
            format!("file {n}\n").repeat(200),
        )?;
    }
    let tree = client.upload_dir(&project).await?;
    let base = client.image("tag:host").shell("touch /sent");
    let base = base
        .tree("/src", &tree)
        .timeout(Duration::from_secs(600))
        .await?;
    let mut image = base.ok()?.image;
    for by in ["tree", "parent"] {
        let mut times = Vec::new();
        for round in 0..ROUNDS {
            let change = format!(
                "cd /src/7 && for i in 0 1 2 3 4 5 6 7 8 9; do echo {by}{round} >>70$i; done"
            );
            image = image.shell(change).await?.ok()?.image;
            let fs = image.fs();
            let apply = fs.apply("/src", &project);
            let apply = match by {
                "tree" => apply.tree(&tree).conflicts(contree::Conflicts::Theirs),
                _ => apply,
            };
            let begun = Instant::now();
            let applied = apply.await?;
            times.push(begun.elapsed());
            assert_eq!(applied.written.len(), 10, "{applied:?}");
        }
        times.sort_unstable();
        println!(
            "10 changed files of {FILES}, base: {by}: {:?}",
            times[ROUNDS / 2]
        );
    }
    Ok(())
}

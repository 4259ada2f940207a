//! Whether the embedded engine stays as it was, over many runs, deep and wide images, and being killed:
//!
//! ```text
//! cargo run --release --features engine --example reliability -- runs 2000
//! cargo run --release --features engine --example reliability -- depth 1000
//! cargo run --release --features engine --example reliability -- width 1000
//! cargo run --release --features engine --example reliability -- size 200
//! cargo run --release --features engine --example reliability -- kills 50
//! ```
//!
//! Each works on a data directory of its own below `CONTREE_TEST_DIR` (else where temporary files go), prints what it measured, and ends with
//! an error if a promise of `docs/reliability.md` does not hold.

mod growth;
mod kills;
mod runs;

use std::error::Error;
use std::time::{Duration, Instant};

use contree::engine::LocalConfig;
use contree::{Client, ImageRef, Outcome, types};
use uuid::Uuid;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    match words[..] {
        ["runs", count] => runtime.block_on(runs::runs(count.parse()?)),
        ["depth", count] => runtime.block_on(growth::depth(count.parse()?)),
        ["width", count] => runtime.block_on(growth::width(count.parse()?)),
        ["size", megabytes] => runtime.block_on(growth::size(megabytes.parse()?)),
        ["kills", count] => kills::kills(&runtime, count.parse()?),
        // Started by `kills`.
        ["worker", data] => runtime.block_on(kills::worker(data)),
        _ => Err("say `runs N`, `depth N`, `width N`, `size MEGABYTES` or `kills N`".into()),
    }
}

/// A data directory that goes with the value.
struct Data(tempfile::TempDir);

impl Data {
    fn new() -> Result<Self, Failure> {
        let base = std::env::var_os("CONTREE_TEST_DIR").map_or_else(std::env::temp_dir, Into::into);
        let made = tempfile::Builder::new()
            .prefix("contree-reliability-")
            .tempdir_in(base)?;
        Ok(Self(made))
    }

    fn path(&self) -> &std::path::Path {
        self.0.path()
    }

    async fn client(&self) -> Result<Client, Failure> {
        Ok(Client::local(LocalConfig::new(self.path())).await?)
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        // Overlayfs leaves directories that nobody may enter.
        let _ = std::process::Command::new("chmod")
            .args(["-R", "u+rwX"])
            .arg(self.path())
            .stderr(std::process::Stdio::null())
            .status();
    }
}

async fn host(client: &Client) -> Result<Uuid, Failure> {
    let image = client.resolve(&"tag:host".parse()?).await?;
    image.uuid.ok_or_else(|| "an image without a UUID".into())
}

/// Runs a command to its end. One that does not succeed with status 0 is an error.
async fn run(client: &Client, image: Uuid, command: &str, keep: bool) -> Result<Outcome, Failure> {
    let request = types::InstanceSpawnRequest::builder()
        .command(command)
        .shell(true)
        .disposable(!keep)
        .image(ImageRef::Uuid(image))
        .try_into()?;
    let outcome = client.run(request).await?;
    if outcome.exit_code != Some(0) {
        return Err(format!("`{command}` did not succeed: {outcome:?}").into());
    }
    Ok(outcome)
}

/// Runs a command and answers the image that it left.
async fn commit(client: &Client, image: Uuid, command: &str) -> Result<Uuid, Failure> {
    let outcome = run(client, image, command, true).await?;
    outcome
        .result_image
        .ok_or_else(|| "no image was kept".into())
}

/// The median time of a disposable run of `true`.
async fn median(client: &Client, image: Uuid, times: usize) -> Result<Duration, Failure> {
    let mut took = Vec::new();
    for _ in 0..times {
        let begun = Instant::now();
        run(client, image, "true", false).await?;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    Ok(took[times / 2])
}

/// Fails with a sentence unless something holds.
fn promise(holds: bool, what: impl Into<String>) -> Result<(), Failure> {
    if holds {
        return Ok(());
    }
    Err(format!("not so: {}", what.into()).into())
}

//! Reliability measurements of the embedded engine: many runs, deep chains, many branches, large
//! images and kills.
//!
//! ```text
//! cargo run --release --features engine --example reliability -- runs 2000
//! cargo run --release --features engine --example reliability -- depth 1000
//! cargo run --release --features engine --example reliability -- width 1000
//! cargo run --release --features engine --example reliability -- size 200
//! cargo run --release --features engine --example reliability -- kills 50
//! ```
//!
//! Each command uses its own data directory below `CONTREE_TEST_DIR` (default: the directory for
//! temporary files) and prints its measurements. It fails if a promise of `docs/reliability.md`
//! does not hold.

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
        _ => Err("give `runs N`, `depth N`, `width N`, `size MEGABYTES` or `kills N`".into()),
    }
}

/// A data directory, which is removed when the value is dropped.
struct DataDirectory(tempfile::TempDir);

impl DataDirectory {
    fn new() -> Result<Self, Failure> {
        let base = std::env::var_os("CONTREE_TEST_DIR").map_or_else(std::env::temp_dir, Into::into);
        let directory = tempfile::Builder::new()
            .prefix("contree-reliability-")
            .tempdir_in(base)?;
        Ok(Self(directory))
    }

    fn path(&self) -> &std::path::Path {
        self.0.path()
    }

    async fn client(&self) -> Result<Client, Failure> {
        Ok(Client::local(LocalConfig::new(self.path())).await?)
    }
}

impl Drop for DataDirectory {
    fn drop(&mut self) {
        // Overlayfs leaves directories without any permissions.
        let _ = std::process::Command::new("chmod")
            .args(["-R", "u+rwX"])
            .arg(self.path())
            .stderr(std::process::Stdio::null())
            .status();
    }
}

/// Returns the image of this machine.
async fn host(client: &Client) -> Result<Uuid, Failure> {
    let image = client.resolve(&"tag:host".parse()?).await?;
    image.uuid.ok_or_else(|| "an image without a UUID".into())
}

/// Runs a command to its end. An exit status other than 0 is an error.
async fn run(
    client: &Client,
    image: Uuid,
    command: &str,
    commit: bool,
) -> Result<Outcome, Failure> {
    let request = types::InstanceSpawnRequest::builder()
        .command(command)
        .shell(true)
        .disposable(!commit)
        .image(ImageRef::Uuid(image))
        .try_into()?;
    let outcome = client.run(request).await?;
    if outcome.exit_code != Some(0) {
        return Err(format!("`{command}` did not succeed: {outcome:?}").into());
    }
    Ok(outcome)
}

/// Runs a command and returns the result image.
async fn commit(client: &Client, image: Uuid, command: &str) -> Result<Uuid, Failure> {
    let outcome = run(client, image, command, true).await?;
    outcome
        .result_image
        .ok_or_else(|| "the run has no result image".into())
}

/// The median time of a disposable run of `true`.
async fn median(client: &Client, image: Uuid, times: usize) -> Result<Duration, Failure> {
    let mut durations = Vec::new();
    for _ in 0..times {
        let started = Instant::now();
        run(client, image, "true", false).await?;
        durations.push(started.elapsed());
    }
    durations.sort_unstable();
    Ok(durations[times / 2])
}

/// Returns an error with the text of a promise unless the promise holds.
fn ensure(holds: bool, promise: impl Into<String>) -> Result<(), Failure> {
    if holds {
        return Ok(());
    }
    Err(format!("this promise does not hold: {}", promise.into()).into())
}

//! Many runs, eight at once: nothing is left, and memory does not grow.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{DataDirectory, Failure, ensure, host, run};

/// Counts that a leak would increase.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ResourceCounts {
    /// Descendants of this process.
    processes: usize,
    mounts: usize,
    descriptors: usize,
    threads: usize,
    /// Entries in `run/` of the data directory.
    run_directories: usize,
}

impl ResourceCounts {
    fn measure(data: &Path) -> Result<Self, Failure> {
        let count = |path: &Path| fs::read_dir(path).map_or(0, Iterator::count);
        let me = Path::new("/proc/self");
        Ok(Self {
            processes: descendants(),
            mounts: fs::read_to_string(me.join("mountinfo"))?.lines().count(),
            descriptors: count(&me.join("fd")),
            threads: count(&me.join("task")),
            run_directories: count(&data.join("run")),
        })
    }
}

/// Returns the number of descendants of this process.
fn descendants() -> usize {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The state and the parent follow the name, which may contain any character.
            let parent = stat
                .rsplit_once(')')?
                .1
                .split_whitespace()
                .nth(1)?
                .parse()
                .ok()?;
            Some((pid, parent))
        })
        .collect();
    let mut pids = vec![std::process::id()];
    let mut next = 0;
    while next < pids.len() {
        let current = pids[next];
        pids.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == current)
                .map(|(pid, _)| pid),
        );
        next += 1;
    }
    pids.len() - 1
}

/// Returns the resident memory of this process, in KiB.
fn resident_kib() -> Result<u64, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("no VmRSS")?.parse()?)
}

/// Runs `count` commands, and compares the resources in use before and after.
pub(crate) async fn runs(count: usize) -> Result<(), Failure> {
    let data = DataDirectory::new()?;
    let client = data.client().await?;
    let image = host(&client).await?;
    let warm_up = (count / 10).max(1);
    let batch = |count: usize| {
        let client = client.clone();
        async move {
            stream::iter(0..count)
                .map(|number| {
                    let client = &client;
                    async move {
                        let commit = number % 4 == 0;
                        let command =
                            format!("echo {number} | tee /tmp/{number}; sleep 0.0{}", number % 5);
                        let outcome = run(client, image, &command, commit).await?;
                        ensure(
                            outcome.stdout.bytes == format!("{number}\n").into_bytes(),
                            "each run prints its own number",
                        )
                    }
                })
                .buffer_unordered(8)
                .try_collect::<Vec<_>>()
                .await
        }
    };
    batch(warm_up).await?;
    let (before, memory_before) = (settled_counts(data.path()).await?, resident_kib()?);
    let started = Instant::now();
    batch(count - warm_up).await?;
    let duration = started.elapsed();
    let (after, memory_after) = (settled_counts(data.path()).await?, resident_kib()?);
    println!(
        "{count} runs, eight at once, a quarter of them committed: {:.1} ms each; resident memory {memory_before} KiB after run {warm_up}, {memory_after} KiB after run {count} (x {:.2})",
        duration.as_secs_f64() * 1000.0 / (count - warm_up) as f64,
        memory_after as f64 / memory_before as f64
    );
    println!("before: {before:?}\nafter:  {after:?}");
    ensure(after.run_directories == 0, "no run directory is left")?;
    ensure(after.processes <= before.processes, "no process is left")?;
    ensure(after.mounts == before.mounts, "no mount is left")?;
    // The number of connections and worker threads varies.
    ensure(
        after.descriptors <= before.descriptors + 8,
        "no descriptor is left",
    )?;
    ensure(after.threads <= before.threads + 8, "no thread is left")?;
    ensure(
        memory_after * 10 <= memory_before * 11,
        "resident memory is at most 1.1 times that after the warm-up",
    )
}

/// Waits until all clean-up has finished, and returns the counts.
async fn settled_counts(data: &Path) -> Result<ResourceCounts, Failure> {
    for _ in 0..200 {
        let counts = ResourceCounts::measure(data)?;
        if counts.run_directories == 0 && counts.processes == 0 {
            // Idle worker threads end after ten seconds.
            tokio::time::sleep(Duration::from_secs(11)).await;
            return ResourceCounts::measure(data);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ResourceCounts::measure(data)
}

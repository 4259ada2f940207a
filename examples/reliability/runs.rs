//! Many runs, eight at once: nothing is left, and memory does not grow.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Data, Failure, host, promise, run};

/// What a leak would add to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Machine {
    /// Children of this process, and their children.
    processes: usize,
    mounts: usize,
    descriptors: usize,
    threads: usize,
    /// In `run/` of the data directory.
    left: usize,
}

impl Machine {
    fn look(data: &Path) -> Result<Self, Failure> {
        let count = |path: &Path| fs::read_dir(path).map_or(0, Iterator::count);
        let me = Path::new("/proc/self");
        Ok(Self {
            processes: descendants(),
            mounts: fs::read_to_string(me.join("mountinfo"))?.lines().count(),
            descriptors: count(&me.join("fd")),
            threads: count(&me.join("task")),
            left: count(&data.join("run")),
        })
    }
}

/// Processes below this one.
fn descendants() -> usize {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // After the name, which may hold anything: state, parent.
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
    let mut found = vec![std::process::id()];
    let mut at = 0;
    while at < found.len() {
        let above = found[at];
        found.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == above)
                .map(|(pid, _)| pid),
        );
        at += 1;
    }
    found.len() - 1
}

fn resident_kib() -> Result<u64, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("no VmRSS")?.parse()?)
}

pub(crate) async fn runs(count: usize) -> Result<(), Failure> {
    let data = Data::new()?;
    let client = data.client().await?;
    let image = host(&client).await?;
    let warm = (count / 10).max(1);
    let batch = |count: usize| {
        let client = client.clone();
        async move {
            stream::iter(0..count)
                .map(|number| {
                    let client = &client;
                    async move {
                        let kept = number % 4 == 0;
                        let command =
                            format!("echo {number} | tee /tmp/{number}; sleep 0.0{}", number % 5);
                        let outcome = run(client, image, &command, kept).await?;
                        promise(
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
    batch(warm).await?;
    let (before, at_warm) = (settled(data.path()).await?, resident_kib()?);
    let begun = Instant::now();
    batch(count - warm).await?;
    let took = begun.elapsed();
    let (after, at_end) = (settled(data.path()).await?, resident_kib()?);
    println!(
        "{count} runs, eight at once, a quarter of them kept: {:.1} ms each; resident memory {at_warm} KiB after run {warm}, {at_end} KiB after run {count} (x {:.2})",
        took.as_secs_f64() * 1000.0 / (count - warm) as f64,
        at_end as f64 / at_warm as f64
    );
    println!("before: {before:?}\nafter:  {after:?}");
    promise(after.left == 0, "no run directory is left")?;
    promise(after.processes <= before.processes, "no process is left")?;
    promise(after.mounts == before.mounts, "no mount is left")?;
    // Connections and worker threads come and go.
    promise(
        after.descriptors <= before.descriptors + 8,
        "no descriptor is left",
    )?;
    promise(after.threads <= before.threads + 8, "no thread is left")?;
    promise(
        at_end * 10 <= at_warm * 11,
        "resident memory is at most 1.1 times what it was",
    )
}

/// How it is once nothing is being cleared away any more.
async fn settled(data: &Path) -> Result<Machine, Failure> {
    for _ in 0..200 {
        let seen = Machine::look(data)?;
        if seen.left == 0 && seen.processes == 0 {
            // Threads that wait for work go after ten seconds without any.
            tokio::time::sleep(Duration::from_secs(11)).await;
            return Machine::look(data);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Machine::look(data)
}

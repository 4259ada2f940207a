//! Measurements of deep chains, many branches and large images.

use std::time::Instant;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{DataDirectory, Failure, commit, ensure, host, median, run};

/// Number of measurements for a median.
const SAMPLES: usize = 31;

/// Checks that a run on a chain of `count` commits starts as quickly as on a single commit.
pub(crate) async fn depth(count: usize) -> Result<(), Failure> {
    let data = DataDirectory::new()?;
    let client = data.client().await?;
    let first = host(&client).await?;
    let mut image = commit(&client, first, "mkdir /steps; echo 1 > /steps/1").await?;
    let shallow = median(&client, image, SAMPLES).await?;
    let started = Instant::now();
    let mut longest = std::time::Duration::ZERO;
    for step in 2..=count {
        let step_started = Instant::now();
        image = commit(&client, image, &format!("echo {step} > /steps/{step}")).await?;
        longest = longest.max(step_started.elapsed());
    }
    let average = started.elapsed() / u32::try_from(count)?;
    let deep = median(&client, image, SAMPLES).await?;
    let baseline = median(&client, first, SAMPLES).await?;
    let step_count = run(&client, image, "ls /steps | wc -l", false).await?;
    println!("depth {count}: each commit {average:.1?}, the longest {longest:.1?}");
    println!(
        "run of `true`: {shallow:.1?} at depth 1, {deep:.1?} at depth {count}, then {baseline:.1?} at depth 0"
    );
    ensure(
        String::from_utf8_lossy(&step_count.stdout.bytes).trim() == count.to_string(),
        "every step left its file",
    )?;
    ensure(
        deep <= shallow.max(baseline) * 2,
        "a run on the deep chain takes at most twice as long as on a shallow one",
    )
}

/// Checks that `count` branches of one image do not slow each other down.
pub(crate) async fn width(count: usize) -> Result<(), Failure> {
    let data = DataDirectory::new()?;
    let client = data.client().await?;
    let base = host(&client).await?;
    let before = median(&client, base, SAMPLES).await?;
    let started = Instant::now();
    let branches: Vec<_> = stream::iter(0..count)
        .map(|branch| {
            let client = &client;
            async move { commit(client, base, &format!("echo {branch} > /branch")).await }
        })
        .buffered(8)
        .try_collect()
        .await?;
    let average = started.elapsed() / u32::try_from(count)?;
    let after = median(&client, base, SAMPLES).await?;
    let last = median(&client, branches[count - 1], SAMPLES).await?;
    println!("width {count}: {average:.1?} each, eight at once");
    println!(
        "run of `true` on the base: {before:.1?} before, {after:.1?} after; on the last branch {last:.1?}"
    );
    for branch in [0, count / 2, count - 1] {
        let outcome = run(&client, branches[branch], "cat /branch", false).await?;
        ensure(
            String::from_utf8_lossy(&outcome.stdout.bytes).trim() == branch.to_string(),
            "each branch has its own file",
        )?;
    }
    ensure(
        after.max(last) <= before * 2,
        "a run takes at most twice as long as before the branches",
    )
}

/// Checks that a small commit takes about as long on a large image as on a small one.
pub(crate) async fn size(megabytes: u64) -> Result<(), Failure> {
    let data = DataDirectory::new()?;
    let client = data.client().await?;
    let small = host(&client).await?;
    let script = format!(
        "mkdir /large; for n in $(seq 1 {megabytes}); do head -c 1M /dev/urandom > /large/$n; done"
    );
    let large = commit(&client, small, &script).await?;
    let mut durations = [Vec::new(), Vec::new()];
    for round in 0..SAMPLES {
        for (row, image) in [small, large].into_iter().enumerate() {
            let started = Instant::now();
            commit(&client, image, &format!("echo {round} > /change")).await?;
            durations[row].push(started.elapsed());
        }
    }
    let [small, large] = durations.map(|mut row| {
        row.sort_unstable();
        row[SAMPLES / 2]
    });
    println!(
        "a small commit: {small:.1?} on the base, {large:.1?} on an image with {megabytes} MB more"
    );
    ensure(
        large <= small * 5 / 4,
        "a small commit takes at most 1.25 times as long on the large image",
    )
}

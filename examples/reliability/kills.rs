//! Kills the engine at random moments: every reported image is intact, and nothing else is left.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::future;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::{DataDirectory, Failure, ensure, host, run};

/// Number of commands that the worker runs at once.
const CONCURRENCY: usize = 4;

/// Runs commands in [`CONCURRENCY`] lanes until it is killed. Each lane commits one image after the
/// other, and prints every image that the engine reports, with its lane and content.
pub(crate) async fn worker(data: &str) -> Result<(), Failure> {
    let config = contree::engine::LocalConfig::new(data);
    let client = contree::Client::local(config).await?;
    let base = host(&client).await?;
    println!("ready");
    let lanes = (0..CONCURRENCY).map(|lane| {
        let client = client.clone();
        async move {
            let mut image = base;
            loop {
                let content = Uuid::new_v4();
                // Some files are still being written or removed at the kill.
                let command = format!(
                    "mkdir -p /files && echo {content} > /files/{lane} && head -c 300000 /dev/zero > /files/{content} && rm -f /files/old && cp /files/{content} /files/old"
                );
                let outcome = run(&client, image, &command, true).await?;
                image = outcome.result_image.unwrap_or(image);
                println!("committed {image} {lane} {content}");
            }
        }
    });
    let results: Vec<Result<(), Failure>> = future::join_all(lanes).await;
    results.into_iter().collect()
}

/// Kills a worker `count` times, and checks its data directory after each kill.
pub(crate) fn kills(runtime: &Runtime, count: usize) -> Result<(), Failure> {
    let data = DataDirectory::new()?;
    let mut random = fs::metadata("/proc/self")?
        .modified()?
        .duration_since(std::time::UNIX_EPOCH)?
        .subsec_nanos();
    println!("seed {random}");
    let (mut reported_count, mut processes) = (0, 0);
    for round in 0..count {
        let mut worker = Command::new(std::env::current_exe()?)
            .arg("worker")
            .arg(data.path())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(worker.stdout.take().ok_or("no output")?).lines();
        ensure(
            lines.next().transpose()?.as_deref() == Some("ready"),
            "the worker starts on the data directory of the killed one",
        )?;
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        std::thread::sleep(Duration::from_micros(300_000 + u64::from(random >> 12)));
        worker.kill()?;
        worker.wait()?;
        // A line that the kill cut off does not count.
        let printed: Vec<String> = lines.map_while(Result::ok).collect();
        let reported: Vec<(Uuid, String, String)> = printed
            .iter()
            .filter_map(|line| {
                let mut words = line.strip_prefix("committed ")?.split(' ');
                let (image, lane, content) = (words.next()?, words.next()?, words.next()?);
                (content.len() == 36)
                    .then(|| Some((image.parse().ok()?, lane.to_owned(), content.to_owned())))?
            })
            .collect();
        reported_count += reported.len();
        processes += runtime.block_on(check(data.path(), &reported))?;
        if round % 10 == 9 {
            println!(
                "{} kills: {reported_count} images reported and intact",
                round + 1
            );
        }
    }
    println!(
        "{count} kills, {reported_count} images reported, all intact; {processes} processes still alive; nothing else was left"
    );
    ensure(
        reported_count > 0,
        "the worker reports images before the kill",
    )?;
    ensure(processes == 0, "the sandboxes end with their engine")
}

/// Checks a data directory with a new engine. Returns the number of sandbox processes that still
/// run.
async fn check(data: &Path, reported: &[(Uuid, String, String)]) -> Result<usize, Failure> {
    let client = contree::Client::local(contree::engine::LocalConfig::new(data)).await?;
    let base = host(&client).await?;
    for (image, lane, content) in reported {
        let command = format!(
            "cat /files/{lane} && wc -c < /files/{content} && cmp /files/{content} /files/old"
        );
        let outcome = run(&client, *image, &command, false).await?;
        ensure(
            outcome.stdout.bytes == format!("{content}\n300000\n").into_bytes(),
            format!(
                "image {image} has the reported content: {:?}",
                String::from_utf8_lossy(&outcome.stdout.bytes)
            ),
        )?;
    }
    // A run shows that the engine works, and lets its start-up finish.
    run(&client, base, "true", false).await?;
    let mut remaining = Vec::new();
    for _ in 0..200 {
        remaining = leftovers(data)?;
        if remaining.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure(
        remaining.is_empty(),
        format!("nothing is left: {remaining:?}"),
    )?;
    let operations = client.list_operations().send().await?.into_inner();
    let running = operations
        .iter()
        .filter(|operation| {
            operation
                .status
                .as_ref()
                .is_some_and(|status| !status.is_terminal())
        })
        .count();
    ensure(running == 0, "no operation is still running")?;
    drop(client);
    let mut options = contree::engine::PruneOptions::new(3650);
    options.dry_run = true;
    let pruned = contree::engine::prune(&contree::engine::LocalConfig::new(data), options)?;
    ensure(
        pruned.orphans == 0 && pruned.layers == 0,
        format!("every layer belongs to an image: {pruned:?}"),
    )?;
    Ok(count_inits(data))
}

/// Returns the run directories and unfinished layers.
fn leftovers(data: &Path) -> Result<Vec<String>, Failure> {
    let names = |directory: &str| -> Result<Vec<String>, Failure> {
        let entries = fs::read_dir(data.join(directory))?.flatten();
        Ok(entries
            .map(|entry| format!("{directory}/{}", entry.file_name().to_string_lossy()))
            .collect())
    };
    let mut leftovers = names("run")?;
    leftovers.extend(
        names("layers")?
            .into_iter()
            .filter(|name| name.contains(".new-")),
    );
    Ok(leftovers)
}

/// Returns the number of sandbox init processes whose working directory is the data directory.
fn count_inits(data: &Path) -> usize {
    let is_init = |entry: &fs::DirEntry| {
        let path = entry.path();
        let has_name = fs::read(path.join("cmdline"))
            .is_ok_and(|line| line.starts_with(b"contree-sandbox-init"));
        has_name && fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd == data)
    };
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter(is_init)
        .count()
}

//! `kill -9` at random moments: what was reported as kept is there, and nothing else is.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::future;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::{Data, Failure, host, promise, run};

/// How many commands the worker has under way.
const AT_ONCE: usize = 4;

/// Works until it is killed: keeps results one upon the other, and says each that was reported as a success, with its content.
pub(crate) async fn worker(data: &str) -> Result<(), Failure> {
    let config = contree::engine::LocalConfig::new(data);
    let client = contree::Client::local(config).await?;
    let base = host(&client).await?;
    println!("ready");
    let lanes = (0..AT_ONCE).map(|lane| {
        let client = client.clone();
        async move {
            let mut image = base;
            loop {
                let content = Uuid::new_v4();
                // Some of it is still being written or removed when the end comes.
                let command = format!(
                    "mkdir -p /kept && echo {content} > /kept/{lane} && head -c 300000 /dev/zero > /kept/{content} && rm -f /kept/old && cp /kept/{content} /kept/old"
                );
                let outcome = run(&client, image, &command, true).await?;
                image = outcome.result_image.unwrap_or(image);
                println!("kept {image} {lane} {content}");
            }
        }
    });
    let ended: Vec<Result<(), Failure>> = future::join_all(lanes).await;
    ended.into_iter().collect()
}

pub(crate) fn kills(runtime: &Runtime, count: usize) -> Result<(), Failure> {
    let data = Data::new()?;
    let mut random = fs::metadata("/proc/self")?
        .modified()?
        .duration_since(std::time::UNIX_EPOCH)?
        .subsec_nanos();
    println!("seed {random}");
    let (mut kept, mut processes) = (0, 0);
    for round in 0..count {
        let mut worker = Command::new(std::env::current_exe()?)
            .arg("worker")
            .arg(data.path())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(worker.stdout.take().ok_or("no output")?).lines();
        promise(
            lines.next().transpose()?.as_deref() == Some("ready"),
            "the worker starts on what the one before left",
        )?;
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        std::thread::sleep(Duration::from_micros(300_000 + u64::from(random >> 12)));
        worker.kill()?;
        worker.wait()?;
        // A line that was cut was not said.
        let said: Vec<String> = lines.map_while(Result::ok).collect();
        let said: Vec<(Uuid, String, String)> = said
            .iter()
            .filter_map(|line| {
                let mut words = line.strip_prefix("kept ")?.split(' ');
                let (image, lane, content) = (words.next()?, words.next()?, words.next()?);
                (content.len() == 36)
                    .then(|| Some((image.parse().ok()?, lane.to_owned(), content.to_owned())))?
            })
            .collect();
        kept += said.len();
        processes += runtime.block_on(check(data.path(), &said))?;
        if round % 10 == 9 {
            println!("{} kills: {kept} images reported and intact", round + 1);
        }
    }
    println!(
        "{count} kills, {kept} images reported as kept, all intact; {processes} processes outlived a second; nothing else was left"
    );
    promise(kept > 0, "something was under way")?;
    promise(processes == 0, "the sandboxes end with their engine")
}

/// Looks at a data directory with a new engine. Answers how many processes of sandboxes are still there.
async fn check(data: &Path, said: &[(Uuid, String, String)]) -> Result<usize, Failure> {
    let client = contree::Client::local(contree::engine::LocalConfig::new(data)).await?;
    let base = host(&client).await?;
    for (image, lane, content) in said {
        let command =
            format!("cat /kept/{lane} && wc -c < /kept/{content} && cmp /kept/{content} /kept/old");
        let seen = run(&client, *image, &command, false).await?;
        promise(
            seen.stdout.bytes == format!("{content}\n300000\n").into_bytes(),
            format!(
                "image {image} has what was reported: {:?}",
                String::from_utf8_lossy(&seen.stdout.bytes)
            ),
        )?;
    }
    // A run shows that the engine works, and lets its start come to its end.
    run(&client, base, "true", false).await?;
    let mut left = Vec::new();
    for _ in 0..200 {
        left = leftovers(data)?;
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    promise(left.is_empty(), format!("nothing is left: {left:?}"))?;
    let open = client.list_operations().send().await?.into_inner();
    let running = open
        .iter()
        .filter(|operation| {
            operation
                .status
                .as_ref()
                .is_some_and(|status| !status.is_terminal())
        })
        .count();
    promise(running == 0, "no operation is open")?;
    drop(client);
    let mut options = contree::engine::PruneOptions::new(3650);
    options.dry_run = true;
    let pruned = contree::engine::prune(&contree::engine::LocalConfig::new(data), options)?;
    promise(
        pruned.orphans == 0 && pruned.layers == 0,
        format!("no layer is without an image: {pruned:?}"),
    )?;
    Ok(inits(data))
}

/// Run directories and half-made layers.
fn leftovers(data: &Path) -> Result<Vec<String>, Failure> {
    let names = |directory: &str| -> Result<Vec<String>, Failure> {
        let entries = fs::read_dir(data.join(directory))?.flatten();
        Ok(entries
            .map(|entry| format!("{directory}/{}", entry.file_name().to_string_lossy()))
            .collect())
    };
    let mut left = names("run")?;
    left.extend(
        names("layers")?
            .into_iter()
            .filter(|name| name.contains(".new-")),
    );
    Ok(left)
}

/// Inits of sandboxes whose working directory is the data directory.
fn inits(data: &Path) -> usize {
    let ours = |entry: &fs::DirEntry| {
        let path = entry.path();
        let named = fs::read(path.join("cmdline"))
            .is_ok_and(|line| line.starts_with(b"contree-sandbox-init"));
        named && fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd == data)
    };
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter(ours)
        .count()
}

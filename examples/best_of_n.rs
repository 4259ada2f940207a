//! The best of 50 attempts on branches of one image, applied to a local checkout as a patch.

use std::{path::Path, process::Command};

use contree::{Client, DiffRequest, Error, best_of};

/// Each attempt writes another factor. The tests score it.
const ATTEMPT: &str = "sed -i \"s/factor=.*/factor=$((SEED * 37 % 101))/\" solve.sh";
const SCORE: &str = "sh solve.sh";

#[tokio::main]
async fn main() -> Result<(), Error> {
    let folder = tempfile::tempdir().map_err(Error::other)?;
    let checkout = folder.path().join("checkout");
    std::fs::create_dir(&checkout).map_err(Error::other)?;
    std::fs::write(checkout.join("solve.sh"), "factor=1\necho $factor\n").map_err(Error::other)?;
    git(&checkout, &["init", "--quiet"])?;

    let client = Client::from_env().await?;
    let tree = client.upload_dir(&checkout).exclude([".git"]).await?;
    let host = client.image("tag:host");
    let sent = host
        .shell("touch /sent")
        .tree("/src", &tree)
        .await?
        .ok()?
        .image;
    let best = best_of(&sent, 0..50, 8, |image, seed| async move {
        let attempt = image.shell(ATTEMPT).cwd("/src").env("SEED", seed);
        let changed = attempt.await?.ok()?.image;
        let out = changed.shell(SCORE).cwd("/src").await?.ok()?;
        let score: u32 = out.stdout.text()?.trim().parse().map_err(Error::other)?;
        Ok((score, changed))
    })
    .await?;
    println!("attempt {} of 50 scored {}", best.candidate, best.score);

    let request = DiffRequest {
        base: Some(sent.uuid().await?),
        path: "/src".to_owned(),
        patch: true,
        ..DiffRequest::default()
    };
    let diff = client.diff(best.value.uuid().await?, &request).await?;
    let patch = folder.path().join("patch");
    std::fs::write(&patch, diff.patch.unwrap_or_default()).map_err(Error::other)?;
    git(&checkout, &["apply", &patch.to_string_lossy()])?;
    let text = std::fs::read_to_string(checkout.join("solve.sh")).map_err(Error::other)?;
    println!("{}", text.lines().next().unwrap_or_default());
    Ok(())
}

fn git(directory: &Path, arguments: &[&str]) -> Result<(), Error> {
    let git = Command::new("git")
        .args(arguments)
        .current_dir(directory)
        .status();
    match git.map_err(Error::other)?.success() {
        true => Ok(()),
        false => Err(Error::other(format!("git {arguments:?} failed"))),
    }
}

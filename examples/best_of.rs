//! The best of 20 candidates, eight at once, each on a branch of the same image.
use contree::{Client, Error, best_of};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::from_env().await?;
    let base = client.image("tag:host");
    let best = best_of(&base, 0..20, 8, |image, seed| async move {
        let solve = image.shell("echo $((SEED * 37 % 101)) | tee /score");
        let out = solve.env("SEED", seed).await?.ok()?;
        let score: u32 = out.stdout.text()?.trim().parse().map_err(Error::other)?;
        Ok((score, out.image))
    })
    .await?;
    println!("candidate {} scored {}", best.candidate, best.score);
    best.value.tag("best").await?;
    Ok(())
}

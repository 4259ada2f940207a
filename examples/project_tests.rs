//! A project goes in, a command checks it, and the artefacts come out.
use contree::{Client, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::from_env().await?;
    let project = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let tree = client.upload_dir(project).exclude(["*.log"]).await?;
    println!("{} files, {} of them new", tree.len(), tree.uploaded());
    let check = "mkdir -p /out && wc -l *.rs > /out/lines.txt";
    let base = client.image("tag:host");
    let out = base
        .shell(check)
        .cwd("/src")
        .tree("/src", &tree)
        .await?
        .ok()?;
    let artefacts = tempfile::tempdir().map_err(Error::other)?;
    let unpacked = out.image.fs().unpack("/out", artefacts.path()).await?;
    println!("{} artefacts, {} bytes", unpacked.files, unpacked.bytes);
    let lines = std::fs::read_to_string(artefacts.path().join("lines.txt"));
    println!("{}", lines.map_err(Error::other)?);
    Ok(())
}

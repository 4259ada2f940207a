//! The embedded engine in a temporary directory.

use crate::{Client, Error, engine::LocalConfig};

/// Starts the embedded engine for one test, in a temporary data directory.
///
/// The engine stops when the last clone of the client is dropped, and the directory is removed
/// then. `TMPDIR` chooses where the directory is; its file system must be able to hold an overlay's
/// upper directory.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = contree::testing::local_engine().await?;
/// let request = contree::types::InstanceSpawnRequest::builder()
///     .image("tag:host".parse::<contree::ImageRef>()?)
///     .command("echo hello")
///     .shell(true);
/// let outcome = client.run(request.try_into()?).await?;
/// assert_eq!(outcome.stdout.bytes, b"hello\n");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Io`] if the directory cannot be created, and the errors of [`Client::local`].
pub async fn local_engine() -> Result<Client, Error> {
    let parent = std::env::temp_dir();
    let directory = tempfile::Builder::new()
        .prefix("contree-testing-")
        .tempdir_in(&parent)
        .map_err(Error::io(parent))?;
    let config = LocalConfig::new(directory.path().join("data"));
    Client::local_keeping(config, directory).await
}

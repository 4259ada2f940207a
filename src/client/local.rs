//! The client's only dependency on the embedded engine.

use std::{any::Any, sync::Arc};

use contree_engine::{LocalConfig, LocalEngine};

use crate::{Backend, Client, Error, error::Reason};

impl Client {
    /// Starts the embedded engine in this process and connects to it. `config` is the engine's
    /// settings, or the path of its data directory.
    ///
    /// The engine runs on its own thread with its own runtime, so the caller's runtime may be of
    /// any kind. When the last clone of the client is dropped, running operations become CANCELLED.
    ///
    /// ```
    /// use contree::{Client, engine::LocalConfig, types};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let client = Client::local(LocalConfig::new(folder.path().join("data"))).await?;
    /// let request = types::InstanceSpawnRequest::builder()
    ///     .image("tag:host".parse::<contree::ImageRef>()?)
    ///     .command("echo $((6 * 7)) | tee /answer")
    ///     .shell(true);
    /// let outcome = client.run(request.try_into()?).await?;
    /// assert_eq!(outcome.stdout.bytes, b"42\n");
    ///
    /// // The result is an image; reading it starts no sandbox.
    /// let image = outcome.result_image.expect("the command wrote a file");
    /// let listing = client.inspect_image_file().image_uuid(image).path("/").send().await?;
    /// assert!(listing.files.iter().any(|file| file.path == "answer"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The engine removes no unused images and changes no limit of the process, unless `config`
    /// asks for it; see [`LocalConfig::for_own_process`]. `docs/process.md` lists the effects of an
    /// engine on its process.
    ///
    /// # Errors
    /// [`Error::Engine`] if the data directory cannot be used. It is not an error if the machine
    /// cannot create sandboxes: listing, tagging and uploading work, and the first run reports what
    /// is missing.
    pub async fn local(config: impl Into<LocalConfig>) -> Result<Self, Error> {
        Self::local_keeping(config.into(), ()).await
    }

    /// Like [`local`](Self::local). When the engine has stopped, `kept` is dropped.
    pub(crate) async fn local_keeping(
        config: LocalConfig,
        kept: impl Any + Send + Sync,
    ) -> Result<Self, Error> {
        let engine = LocalEngine::start(config).await.map_err(|error| {
            let code = error.code();
            Error::Engine(Reason::new(error.to_string(), error).with_code(code))
        })?;
        let backend = Backend::new(&format!("unix:{}", engine.socket().display()))?
            .with_socket(engine.own_socket())
            .with_identity(engine.store());
        // A tuple drops its fields in order.
        Ok(Self::connect(backend)?.with_guard(Arc::new((engine, kept))))
    }
}

//! Published ports of runs.

use super::{output::Changes, running::Running, start::pause_before_start};
use crate::{Error, types};

impl<C: Changes> Running<C> {
    /// Makes a TCP port of the sandbox reachable at `127.0.0.1` of the engine's machine, until the
    /// run ends. The system chooses the port there. It waits for the start of the run.
    ///
    /// # Errors
    /// If the backend cannot publish ports or does not allow it, or if the run has ended.
    pub async fn publish(&self, port: u16) -> Result<types::PublishedPort, Error> {
        self.publish_at(port, None).await
    }

    /// Publishes a port like [`publish`](Self::publish), at a port of the engine's machine.
    ///
    /// # Errors
    /// The errors of [`publish`](Self::publish), and if `host_port` is in use.
    pub async fn publish_at(
        &self,
        port: u16,
        host_port: impl Into<Option<u16>>,
    ) -> Result<types::PublishedPort, Error> {
        let host_port = host_port.into();
        loop {
            match self.client().publish(self.id(), port, host_port).await {
                Ok(published) => return Ok(published),
                Err(error) => pause_before_start(self.client(), self.id(), error).await?,
            }
        }
    }
}

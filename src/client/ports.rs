//! Publishing ports of sandboxes.

use uuid::Uuid;

use crate::{Client, Error, types};

impl Client {
    /// Makes a TCP port of a running sandbox reachable at `127.0.0.1` of the engine's machine,
    /// until the sandbox ends. Without `host_port`, the system chooses a free port.
    ///
    /// A port that is published already keeps its address.
    ///
    /// # Errors
    /// - [`Error::Unsupported`] if the backend cannot publish ports.
    /// - [`Error::Api`] with 403 if the engine was started without permission to publish ports.
    /// - [`Error::Api`] with 409 if `host_port` is in use or the sandbox is over.
    /// - [`Error::Api`] with 425 if the operation has not started.
    pub async fn publish(
        &self,
        operation: Uuid,
        port: u16,
        host_port: Option<u16>,
    ) -> Result<types::PublishedPort, Error> {
        self.check_ports_extension().await?;
        let body = types::PublishRequest {
            port: port.into(),
            host_port: host_port.map(Into::into),
        };
        let request = self.publish_port().operation_id(operation).body(body);
        Ok(request.send().await?.into_inner())
    }

    /// The published ports of a running sandbox.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the backend cannot publish ports. [`Error::Api`] with 409 if the
    /// sandbox is over.
    pub async fn published_ports(
        &self,
        operation: Uuid,
    ) -> Result<Vec<types::PublishedPort>, Error> {
        self.check_ports_extension().await?;
        let request = self.list_ports().operation_id(operation);
        Ok(request.send().await?.into_inner().ports)
    }

    /// # Errors
    /// [`Error::Unsupported`] if the backend cannot publish ports.
    pub(super) async fn check_ports_extension(&self) -> Result<(), Error> {
        if self.has_extension("ports").await? {
            return Ok(());
        }
        Err(Error::Unsupported(
            "this service cannot publish ports of sandboxes; talk to the port from a process inside the sandbox, or use the embedded engine",
        ))
    }
}

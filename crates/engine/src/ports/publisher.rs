//! Reserving ports of this machine.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::sync::Arc;

use axum::http::StatusCode;
use contree_error_codes::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::types::PublishedPort;
use crate::egress::NetworkAccess;
use crate::error::ApiError;

/// The most connections of one sandbox's published ports at once.
const MAX_CONNECTIONS: usize = 128;
/// The open files of a connection: the one from the client, and the one to the sandbox.
const FILES_OF_CONNECTION: u64 = 2;
/// The most published ports of an engine.
const MAX_PORTS: usize = 4096;

/// Publishes ports of an engine's sandboxes, if that is allowed.
pub(crate) struct Publisher {
    is_allowed: bool,
    /// A permit for each published port of all sandboxes.
    permits: Arc<Semaphore>,
    /// The most connections of one sandbox at once.
    max_connections: usize,
}

/// A port of this machine that is set aside for a port of a sandbox. Clients that connect wait.
pub(crate) struct ReservedPort {
    /// The port inside.
    pub(super) port: u16,
    pub(super) host_port: u16,
    pub(super) listener: TcpListener,
    pub(super) permit: OwnedSemaphorePermit,
}

impl Publisher {
    /// `sandboxes` is the number of sandboxes that may run at once.
    pub(crate) fn new(is_allowed: bool, sandboxes: usize) -> Self {
        let open_files = contree_sandbox::descriptor_limit();
        Self {
            is_allowed,
            permits: Arc::new(Semaphore::new(port_share(open_files))),
            max_connections: connection_share(open_files, sandboxes),
        }
    }

    /// The most connections of one sandbox at once.
    pub(super) fn max_connections(&self) -> usize {
        self.max_connections
    }

    /// A description for `whoami`.
    pub(crate) fn describe(&self) -> &'static str {
        if self.is_allowed {
            "ports of sandboxes can be published at 127.0.0.1 of this machine (--publish allow)"
        } else {
            "ports of sandboxes are not published on this machine, unless the server is started with --publish allow \
             (CONTREE_PUBLISH=allow)"
        }
    }

    /// Sets a port of this machine aside for the port of a sandbox with `access`. Without
    /// `host_port`, the system chooses a free one.
    ///
    /// # Errors
    /// - 403 if publishing is not allowed, and for a port that this user may not use.
    /// - 400 for a port of the sandbox that cannot be published.
    /// - 409 if the port of this machine is in use.
    /// - 429 if too many ports are published.
    pub(crate) fn reserve(
        &self,
        access: NetworkAccess,
        port: u64,
        host_port: Option<u64>,
    ) -> Result<ReservedPort, ApiError> {
        if !self.is_allowed {
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                ErrorCode::PublishingForbidden,
                "this server does not publish ports of sandboxes: start it with `--publish allow` (CONTREE_PUBLISH=allow, or \
                 `LocalConfig::publish` in a program), or talk to the port from inside the sandbox",
            ));
        }
        let port = port_number("port", port)?;
        let host_port = host_port
            .map(|host_port| port_number("host_port", host_port))
            .transpose()?;
        if let Some(reason) = access.refusal_to_publish(port) {
            return Err(ApiError::bad(reason).with_code(ErrorCode::PortNotPublishable));
        }
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            ApiError::too_many(
                "this engine has reached its limit of published ports; try again when a sandbox with published ports has ended",
                1,
            )
            .with_code(ErrorCode::TooManyPorts)
        })?;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, host_port.unwrap_or(0));
        let listener = TcpListener::bind(address).map_err(|error| bind_error(host_port, &error))?;
        listener.set_nonblocking(true)?;
        Ok(ReservedPort {
            port,
            host_port: listener.local_addr()?.port(),
            listener,
            permit,
        })
    }
}

impl ReservedPort {
    /// The port as answers show it.
    pub(crate) fn describe(&self) -> PublishedPort {
        published(self.port, self.host_port)
    }
}

pub(super) fn published(port: u16, host_port: u16) -> PublishedPort {
    PublishedPort {
        port,
        host_port,
        url: format!("http://{}:{host_port}", Ipv4Addr::LOCALHOST),
    }
}

fn port_number(name: &str, value: u64) -> Result<u16, ApiError> {
    u16::try_from(value)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| ApiError::bad(format!("`{name}` must be from 1 to 65535, not {value}")))
}

fn bind_error(host_port: Option<u16>, error: &io::Error) -> ApiError {
    let port = host_port.unwrap_or(0);
    match error.kind() {
        io::ErrorKind::AddrInUse if host_port.is_some() => ApiError::new(
            StatusCode::CONFLICT,
            ErrorCode::PortInUse,
            format!(
                "port {port} of this machine is in use: choose another `host_port`, or leave it out for a free one"
            ),
        ),
        io::ErrorKind::PermissionDenied => ApiError::new(
            StatusCode::FORBIDDEN,
            ErrorCode::PortNotPermitted,
            format!(
                "this user may not listen on port {port} of this machine: choose a `host_port` above 1023, or leave it out"
            ),
        ),
        _ => ApiError::internal(format!(
            "cannot listen on port {port} of 127.0.0.1: {error}"
        )),
    }
}

/// The most published ports of an engine. They take at most a sixteenth of the files that it may
/// open.
fn port_share(open_files: u64) -> usize {
    usize::try_from(open_files / 16).map_or(MAX_PORTS, |share| share.clamp(1, MAX_PORTS))
}

/// The most connections of each sandbox. All sandboxes together use at most a quarter of the files
/// that the engine may open.
fn connection_share(open_files: u64, sandboxes: usize) -> usize {
    let files_of_sandbox = open_files / 4 / (sandboxes.max(1) as u64);
    let connections = usize::try_from(files_of_sandbox / FILES_OF_CONNECTION);
    connections.map_or(MAX_CONNECTIONS, |share| share.clamp(1, MAX_CONNECTIONS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_ports_leave_most_files_to_the_engine() {
        for (open_files, sandboxes, ports, connections) in [
            (65_536, 8, 4096, 128),
            (1024, 8, 64, 16),
            (64, 1000, 4, 1),
            (u64::MAX, 0, 4096, 128),
        ] {
            assert_eq!(port_share(open_files), ports);
            assert_eq!(connection_share(open_files, sandboxes), connections);
        }
    }

    #[test]
    fn invalid_ports_are_refused_with_their_name() {
        let publisher = Publisher::new(true, 1);
        let refusal = |port, host_port| {
            let reserved = publisher.reserve(NetworkAccess::Proxy, port, host_port);
            reserved.err().map(|error| error.message().to_owned())
        };
        for (port, host_port, part) in [
            (0, None, "`port` must be from 1 to 65535, not 0"),
            (65_536, None, "`port` must be from 1 to 65535, not 65536"),
            (80, Some(0), "`host_port` must be from 1"),
            (3128, None, "proxy"),
        ] {
            let message = refusal(port, host_port).expect(part);
            assert!(message.contains(part), "{message}");
        }
        let shared = publisher.reserve(NetworkAccess::Host, 80, None);
        assert!(shared.is_err_and(|error| error.message().contains("--network host")));
        let denied = Publisher::new(false, 1).reserve(NetworkAccess::Proxy, 80, None);
        assert!(denied.is_err_and(|error| error.message().contains("--publish allow")));
    }

    #[test]
    fn a_port_in_use_is_not_taken() {
        let publisher = Publisher::new(true, 1);
        let first = publisher.reserve(NetworkAccess::Proxy, 80, None).ok();
        let first = first.expect("a free port");
        assert!(
            first
                .listener
                .local_addr()
                .expect("an address")
                .ip()
                .is_loopback()
        );
        let taken = Some(u64::from(first.host_port));
        let again = publisher.reserve(NetworkAccess::Proxy, 80, taken);
        assert!(again.is_err_and(|error| error.message().contains("is in use")));
        drop(first);
        assert!(publisher.reserve(NetworkAccess::Proxy, 80, taken).is_ok());
    }
}

//! The engine as a server for any client of the API: on TCP, or on a unix socket at a chosen path.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

use crate::api::routes;
use crate::config::LocalConfig;
use crate::error::EngineError;
use crate::serve::bounds::public_bounds;
use crate::serve::drain::drain;
use crate::serve::request_guard::{RequestGuard, check_request, is_loopback};
use crate::serve::service::Service;
use crate::serve::socket::{MAX_SOCKET_PATH, SocketDirectory};
use contree_http::MIN_TOKEN_BYTES;
use contree_http::connections::{self, Shutdown};
use contree_paths::{HomeError, expand_home};

/// The longest time that connections may take to end when the server stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The name prefix of the directory in which a socket begins.
const DIRECTORY_PREFIX: &str = ".contree-serve-";

/// The address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `HOST:PORT`. Port 0 chooses a free port.
    Tcp(String),
    /// `unix:PATH`. The path may begin with `~/`.
    Unix(PathBuf),
}

/// A text that is not an address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The socket's path is missing.
    #[error("`unix:` needs a path after it")]
    NoPath,
    /// The `~` of the socket's path cannot be expanded.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The text has neither form.
    #[error("`{0}` is neither HOST:PORT nor unix:PATH")]
    Form(String),
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(ListenError::NoPath)
            } else {
                Ok(Self::Unix(expand_home(path, std::env::home_dir)?))
            };
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self::Tcp(text.to_owned()))
            }
            _ => Err(ListenError::Form(text.to_owned())),
        }
    }
}

/// Settings of a server.
#[derive(Clone)]
#[non_exhaustive]
pub struct ServeConfig {
    /// The address to listen on.
    pub listen: Listen,
    /// The token that clients must send as `Authorization: Bearer`. It is required if
    /// the address is not a loopback address.
    pub token: Option<String>,
    /// Further host names of the server, besides loopback and the address itself.
    pub allow_hosts: Vec<String>,
    /// Whether clients may import images from paths of this machine. The engine reads these paths
    /// with this process's rights. This setting overrides [`LocalConfig::local_imports`].
    pub local_imports: bool,
}

impl ServeConfig {
    /// Settings with an address, without a token and without further host names.
    #[must_use]
    pub fn new(listen: Listen) -> Self {
        Self {
            listen,
            token: None,
            allow_hosts: Vec::new(),
            local_imports: false,
        }
    }
}

impl fmt::Debug for ServeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeConfig")
            .field("listen", &self.listen)
            .field(
                "token",
                &self.token.as_ref().map(|_| format_args!("<hidden>")),
            )
            .field("allow_hosts", &self.allow_hosts)
            .field("local_imports", &self.local_imports)
            .finish()
    }
}

/// An engine that listens for clients.
pub struct Server {
    service: Service,
    address: String,
    serving: JoinHandle<()>,
    /// The socket's path and inode. The path is removed at the end if it still has this inode.
    path: Option<(PathBuf, u64)>,
}

impl Server {
    /// Opens the data directory and begins to listen.
    ///
    /// # Errors
    /// - [`EngineError::NoToken`] for an address beyond loopback without a token;
    /// - [`EngineError::ShortToken`] for an address beyond loopback with a token that is too short;
    /// - [`EngineError::Listen`] if the address cannot be used;
    /// - the errors of opening a data directory.
    pub async fn start(config: &LocalConfig, serve: &ServeConfig) -> Result<Self, EngineError> {
        let mut config = config.clone();
        config.local_imports = serve.local_imports;
        let failed = |source| EngineError::Listen {
            address: match &serve.listen {
                Listen::Tcp(address) => address.clone(),
                Listen::Unix(path) => format!("unix:{}", path.display()),
            },
            source,
        };
        let guard = |hosts| Arc::new(RequestGuard::new(serve.token.as_deref(), hosts));
        match &serve.listen {
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(address).await.map_err(failed)?;
                let local_address = listener.local_addr().map_err(failed)?;
                if serve.token.is_none() && !is_loopback(local_address.ip()) {
                    return Err(EngineError::NoToken {
                        address: local_address,
                    });
                }
                if let Some(token) = &serve.token
                    && token.len() < MIN_TOKEN_BYTES
                    && !is_loopback(local_address.ip())
                {
                    return Err(EngineError::ShortToken {
                        address: local_address,
                    });
                }
                let service = Service::start(&config)?;
                let router = guarded_router(&service, guard(Some(&serve.allow_hosts)));
                let shutdown = shutdown(&service);
                let serving = contree_tasks::spawn(connections::serve(
                    listener,
                    router,
                    public_bounds(),
                    shutdown,
                ));
                Ok(Self {
                    service,
                    address: url(local_address),
                    serving,
                    path: None,
                })
            }
            Listen::Unix(path) => {
                let (listener, inode) = bind_unix(path).map_err(failed)?;
                let service = Service::start(&config).inspect_err(|_| {
                    let _ = fs::remove_file(path);
                })?;
                let router = guarded_router(&service, guard(None));
                let shutdown = shutdown(&service);
                let serving = contree_tasks::spawn(connections::serve(
                    listener,
                    router,
                    public_bounds(),
                    shutdown,
                ));
                Ok(Self {
                    service,
                    address: format!("unix:{}", path.display()),
                    serving,
                    path: Some((path.clone(), inode)),
                })
            }
        }
    }

    /// The server's address in the form that clients use: `http://127.0.0.1:8080` or `unix:PATH`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Serves until `stop` completes. Then running operations become CANCELLED, event streams end
    /// and connections are closed.
    ///
    /// # Errors
    /// [`EngineError::Listen`] if listening fails before that.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), EngineError> {
        let ended_early = tokio::select! {
            () = stop => false,
            // The task ends only after the service is stopped, or on an error.
            _ = &mut self.serving => true,
        };
        self.service.stop().await;
        if !ended_early {
            let abort = self.serving.abort_handle();
            if tokio::time::timeout(CLOSE_TIMEOUT, self.serving)
                .await
                .is_err()
            {
                abort.abort();
            }
        }
        if let Some((path, inode)) = self.path
            && fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.ino() == inode)
        {
            let _ = fs::remove_file(path);
        }
        if ended_early {
            return Err(EngineError::Listen {
                address: self.address,
                source: io::Error::other("the server ended unexpectedly"),
            });
        }
        Ok(())
    }
}

fn guarded_router(service: &Service, guard: Arc<RequestGuard>) -> Router {
    routes::router(Arc::clone(service.engine()))
        .layer(from_fn_with_state(guard, check_request))
        .layer(from_fn(drain))
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// Ends connections when the service closes. Its operations have ended by then.
fn shutdown(service: &Service) -> Shutdown {
    Shutdown {
        stop: service.closing(),
        answered: service.closing(),
        ..Shutdown::default()
    }
}

/// Listens on a socket that only this user can connect to, and returns its inode. A socket on which
/// no process listens is replaced.
fn bind_unix(path: &Path) -> io::Result<(UnixListener, u64)> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is not a socket exists at this path; choose another path",
            ));
        }
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "another process listens there; stop it, or choose another path",
                ));
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Clients could not connect to a longer path.
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the path is longer than {MAX_SOCKET_PATH} bytes; choose a shorter one"),
        ));
    }
    // The socket begins in a private directory, so that no other user can connect before its mode
    // is set.
    let private = SocketDirectory::create_in(parent, DIRECTORY_PREFIX)?;
    let unpublished = private.own_path();
    let listener = private.listen()?;
    fs::set_permissions(&unpublished, fs::Permissions::from_mode(0o600))?;
    let inode = fs::symlink_metadata(&unpublished)?.ino();
    fs::rename(&unpublished, path)?;
    Ok((listener, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_listen_on_are_parsed() {
        for good in ["127.0.0.1:0", "[::1]:8080", "localhost:80"] {
            assert_eq!(good.parse(), Ok(Listen::Tcp(good.to_owned())));
        }
        assert_eq!("unix:a/b".parse(), Ok(Listen::Unix("a/b".into())));
        for bad in [
            "",
            "8080",
            ":8080",
            "localhost",
            "localhost:http",
            "localhost:65536",
            "unix:",
        ] {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let (first, _) = bind_unix(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            bind_unix(&path).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        drop(first);
        let (_second, inode) = bind_unix(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let file = folder.path().join("file");
        fs::write(&file, "kept").unwrap();
        assert!(bind_unix(&file).is_err());
        assert_eq!(fs::read(&file).unwrap(), b"kept");
    }
}

//! The engine as a server for any client of the API: on TCP, or on a unix socket at a path of one's choice.

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
use crate::serve::access::{self, Access, is_loopback};
use crate::serve::drain::drain;
use crate::serve::service::Service;
use contree_http::MIN_TOKEN_BYTES;
use contree_http::connections::{self, ConnectionBounds, Shutdown};

/// How long the connections may take to end when the server is stopped, at the very most.
const CLOSE: Duration = Duration::from_secs(2);

/// What connections may do. Who follows a stream of events may pause as long as it likes.
const BOUNDS: ConnectionBounds = ConnectionBounds {
    max_connections: 1024,
    write_timeout: None,
    buffer_bytes: None,
    drain_timeout: Duration::from_millis(250),
};

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `HOST:PORT`; port 0 is any that is free.
    Tcp(String),
    /// `unix:PATH`.
    Unix(PathBuf),
}

/// A text that says nowhere to listen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The path of a socket is missing.
    #[error("`unix:` is followed by a path")]
    NoPath,
    /// It is of no known form.
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
                Ok(Self::Unix(path.into()))
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

/// How an engine is served.
#[derive(Clone)]
#[non_exhaustive]
pub struct ServeConfig {
    /// Where to listen.
    pub listen: Listen,
    /// What clients must send as `Authorization: Bearer`. Needed beyond loopback.
    pub token: Option<String>,
    /// Names that the server goes by, besides those of loopback and the address itself.
    pub allow_hosts: Vec<String>,
    /// Whether clients may import images from paths of this machine, which are read with this process's rights. This counts, and not
    /// [`LocalConfig::local_imports`].
    pub local_imports: bool,
}

impl ServeConfig {
    /// Serves there, without a token, under no further name.
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
                &self.token.as_ref().map(|_| format_args!("(hidden)")),
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
    /// Removed at the end, if it is still the one made here.
    path: Option<(PathBuf, u64)>,
}

impl Server {
    /// Opens the data directory and begins to listen.
    ///
    /// # Errors
    /// [`EngineError::NoToken`] beyond loopback without a token, [`EngineError::ShortToken`] with one that can be guessed,
    /// [`EngineError::Listen`] if the address cannot be had, and what
    /// opening a data directory may fail with.
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
        let access = |names| Arc::new(Access::new(serve.token.as_deref(), names));
        match &serve.listen {
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(address).await.map_err(failed)?;
                let local = listener.local_addr().map_err(failed)?;
                if serve.token.is_none() && !is_loopback(local.ip()) {
                    return Err(EngineError::NoToken { address: local });
                }
                if let Some(token) = &serve.token
                    && token.len() < MIN_TOKEN_BYTES
                    && !is_loopback(local.ip())
                {
                    return Err(EngineError::ShortToken { address: local });
                }
                let service = Service::start(&config)?;
                let router = guarded(&service, access(Some(&serve.allow_hosts)));
                let ends = ends(&service);
                let serving = tokio::spawn(connections::serve(listener, router, BOUNDS, ends));
                Ok(Self {
                    service,
                    address: url(local),
                    serving,
                    path: None,
                })
            }
            Listen::Unix(path) => {
                let (listener, inode) = bind_unix(path).map_err(failed)?;
                let service = Service::start(&config).inspect_err(|_| {
                    let _ = fs::remove_file(path);
                })?;
                let router = guarded(&service, access(None));
                let ends = ends(&service);
                let serving = tokio::spawn(connections::serve(listener, router, BOUNDS, ends));
                Ok(Self {
                    service,
                    address: format!("unix:{}", path.display()),
                    serving,
                    path: Some((path.clone(), inode)),
                })
            }
        }
    }

    /// Where it listens, as clients give it: `http://127.0.0.1:8080` or `unix:PATH`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Serves until `stop` is ready. Then running operations become CANCELLED, streams of events end, and connections are closed.
    ///
    /// # Errors
    /// [`EngineError::Listen`] if listening fails before.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), EngineError> {
        let ended = tokio::select! {
            () = stop => false,
            // It accepts until it is told to stop.
            _ = &mut self.serving => true,
        };
        self.service.stop().await;
        if !ended {
            let abort = self.serving.abort_handle();
            if tokio::time::timeout(CLOSE, self.serving).await.is_err() {
                abort.abort();
            }
        }
        if let Some((path, inode)) = self.path
            && fs::symlink_metadata(&path).is_ok_and(|found| found.ino() == inode)
        {
            let _ = fs::remove_file(path);
        }
        if ended {
            return Err(EngineError::Listen {
                address: self.address,
                source: io::Error::other("the server ended by itself"),
            });
        }
        Ok(())
    }
}

fn guarded(service: &Service, access: Arc<Access>) -> Router {
    routes::router(Arc::clone(service.engine()))
        .layer(from_fn_with_state(access, access::check))
        .layer(from_fn(drain))
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// Connections end when the service says so; by then its operations have.
fn ends(service: &Service) -> Shutdown {
    Shutdown {
        stop: service.closing(),
        answered: service.closing(),
        ..Shutdown::default()
    }
}

/// Listens at a path that only this user may connect to. A socket that is there is replaced if nobody listens on it.
fn bind_unix(path: &Path) -> io::Result<(UnixListener, u64)> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is something else than a socket at this path",
            ));
        }
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "another process listens there",
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
    // Nobody else gets at it before its mode is set.
    let private = tempfile::Builder::new()
        .prefix(".contree-")
        .tempdir_in(parent)?;
    let first = private.path().join("s");
    let listener = UnixListener::bind(&first)?;
    fs::set_permissions(&first, fs::Permissions::from_mode(0o600))?;
    let inode = fs::symlink_metadata(&first)?.ino();
    fs::rename(&first, path)?;
    Ok((listener, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_listen() {
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

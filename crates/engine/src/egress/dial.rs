//! Making a connection that the policy allows: the address that was checked is the one connected to.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::policy::{Denied, Named, Policy};
use super::target::{Host, Target};
use super::upstream::{Purpose, Upstream, UpstreamError, Via};

/// How long a name may take to be resolved.
const RESOLVE: Duration = Duration::from_secs(15);
/// The same where the machine's proxy would resolve it, and the machine itself may not be able to.
const RESOLVE_BESIDE: Duration = Duration::from_secs(3);
/// How long one address may take to answer.
const CONNECT: Duration = Duration::from_secs(10);
/// Of a name with many addresses, how many are tried.
const ADDRESSES: usize = 4;
/// How long the machine's proxy may take to open a tunnel.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// The largest answer to that.
const HANDSHAKE_BYTES: usize = 16 * 1024;
/// Names looked up at once by the whole engine: each takes a thread for as long as the resolver takes.
const LOOKUPS: usize = 32;

/// Makes connections.
pub(super) struct Dialer {
    pub(super) policy: Policy,
    pub(super) upstream: Upstream,
    lookups: Arc<Semaphore>,
}

/// A connection that was made.
pub(super) struct Link {
    pub(super) stream: TcpStream,
    pub(super) route: Route,
}

/// Where a connection leads.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// To the address that was checked.
    Direct(SocketAddr),
    /// Through the machine's proxy, which resolves the name itself.
    Upstream {
        via: Via,
        /// Whether this machine could resolve the name, and its addresses were checked as well.
        checked: bool,
    },
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// The policy says no.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The machine's proxy cannot be used.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The name is not resolved.
    #[error("cannot resolve {name}: {source}")]
    Resolve { name: String, source: ResolveError },
    /// The address does not take the connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        address: SocketAddr,
        source: io::Error,
    },
    /// The address does not answer in time.
    #[error("{0} does not answer")]
    Silent(SocketAddr),
    /// The name has no address.
    #[error("the name has no address")]
    NoAddress,
    /// The machine's proxy does not take the connection.
    #[error("cannot connect to this machine's proxy {via}: {source}")]
    ConnectProxy { via: Via, source: io::Error },
    /// The machine's proxy opens no tunnel.
    #[error("this machine's proxy {via}: {source}")]
    Tunnel { via: Via, source: TunnelError },
}

impl DialError {
    /// Whether the policy says no.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self, Self::Denied(_))
    }

    /// The status that tells a client of it.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::Silent(_) => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        }
    }
}

/// Why a name is not resolved.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    /// The resolver says so.
    #[error("{}", in_its_words(.0))]
    Resolver(#[source] io::Error),
    /// The resolver does not answer in time.
    #[error("the resolver does not answer")]
    Silent,
    /// A task broke down.
    #[error(transparent)]
    Task(#[from] tokio::task::JoinError),
    /// The engine is ending.
    #[error(transparent)]
    Closed(#[from] tokio::sync::AcquireError),
}

/// Why a proxy opens no tunnel.
#[derive(Debug, thiserror::Error)]
pub(super) enum TunnelError {
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It does not answer in time.
    #[error("it does not answer")]
    Silent,
    /// Its answer is no head of a response.
    #[error("its answer is too long")]
    TooLong,
    /// It refuses, with this status line.
    #[error("it answers {0}")]
    Refused(String),
}

impl Dialer {
    pub(super) fn new(policy: Policy, upstream: Upstream) -> Self {
        Self {
            policy,
            upstream,
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
        }
    }

    /// Connects to a target. For a tunnel through the machine's proxy, the tunnel is open; for requests it still has to be told the URL.
    pub(super) async fn dial(&self, target: &Target, purpose: Purpose) -> Result<Link, DialError> {
        let named = self.policy.name(target)?;
        match self.upstream.via(target, purpose)? {
            None => self.direct(target, named).await,
            Some(via) => self.through(target, named, via, purpose).await,
        }
    }

    async fn direct(&self, target: &Target, named: Named) -> Result<Link, DialError> {
        let addresses = match &target.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => {
                self.resolve(name, RESOLVE)
                    .await
                    .map_err(|source| DialError::Resolve {
                        name: name.clone(),
                        source,
                    })?
            }
        };
        // A name may have addresses of both kinds; only good ones are ever dialled.
        let mut good = Vec::new();
        let mut reasons = Vec::new();
        for address in addresses {
            match self.policy.address(target, named, address) {
                Ok(()) => good.push(address),
                Err(why) => reasons.push(why),
            }
        }
        if good.is_empty() {
            let why = reasons.into_iter().next().unwrap_or(Denied::NoAddress);
            return Err(why.of(&target.host).into());
        }
        let mut last = None;
        for address in good.into_iter().take(ADDRESSES) {
            let address = SocketAddr::new(address, target.port);
            match timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(Link {
                        stream,
                        route: Route::Direct(address),
                    });
                }
                Ok(Err(source)) => last = Some(DialError::Connect { address, source }),
                Err(_) => last = Some(DialError::Silent(address)),
            }
        }
        Err(last.unwrap_or(DialError::NoAddress))
    }

    async fn through(
        &self,
        target: &Target,
        named: Named,
        via: Via,
        purpose: Purpose,
    ) -> Result<Link, DialError> {
        let addresses = match &target.host {
            Host::Address(address) => vec![*address],
            // The proxy resolves it for itself, so this is a hint; but a name that is known to be bad is refused.
            Host::Name(name) => self.resolve(name, RESOLVE_BESIDE).await.unwrap_or_default(),
        };
        let checked = !addresses.is_empty();
        if !checked {
            // What only a rule about addresses could allow cannot be seen to be allowed.
            self.policy.unresolved(target, named)?;
        }
        for address in addresses {
            self.policy
                .address(target, named, address)
                .map_err(|why| why.of(&target.host))?;
        }
        let connected = timeout(CONNECT, TcpStream::connect((via.host.as_str(), via.port))).await;
        let mut stream = connected
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|source| DialError::ConnectProxy {
                via: via.clone(),
                source,
            })?;
        let _ = stream.set_nodelay(true);
        if purpose == Purpose::Tunnel {
            timeout(HANDSHAKE, open_tunnel(&mut stream, target, &via))
                .await
                .unwrap_or(Err(TunnelError::Silent))
                .map_err(|source| DialError::Tunnel {
                    via: via.clone(),
                    source,
                })?;
        }
        Ok(Link {
            stream,
            route: Route::Upstream { via, checked },
        })
    }

    /// All addresses of a name, as this machine's resolver has them.
    async fn resolve(&self, name: &str, patience: Duration) -> Result<Vec<IpAddr>, ResolveError> {
        let lookup = async {
            let permit = Arc::clone(&self.lookups).acquire_owned().await?;
            let name = name.to_owned();
            let found = tokio::task::spawn_blocking(move || {
                // Kept until the resolver is done, even if nobody waits for it any more.
                let _permit = permit;
                (name.as_str(), 0)
                    .to_socket_addrs()
                    .map(|found| found.map(|address| address.ip()).collect::<Vec<_>>())
            });
            found.await?.map_err(ResolveError::Resolver)
        };
        let mut found = timeout(patience, lookup)
            .await
            .unwrap_or(Err(ResolveError::Silent))?;
        let mut seen = std::collections::HashSet::new();
        found.retain(|address| seen.insert(*address));
        Ok(found)
    }
}

/// The resolver's own words, without the library's before them.
fn in_its_words(error: &io::Error) -> String {
    let text = error.to_string();
    text.rsplit(": ").next().unwrap_or(&text).to_owned()
}

/// Asks a proxy for a tunnel (RFC 9110, section 9.3.6).
async fn open_tunnel(
    stream: &mut TcpStream,
    target: &Target,
    via: &Via,
) -> Result<(), TunnelError> {
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(authorization) = &via.authorization {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(authorization.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await?;
    // Byte by byte, since what follows the head belongs to the tunnel already.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HANDSHAKE_BYTES {
            return Err(TunnelError::TooLong);
        }
        head.push(stream.read_u8().await?);
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line).into_owned();
    let status = line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1));
    match status {
        Some(code) if code.len() == 3 && code.starts_with('2') => Ok(()),
        _ => Err(TunnelError::Refused(line)),
    }
}

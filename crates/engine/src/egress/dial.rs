//! Opens connections that the policy allows, to exactly the address that was checked.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::denial::Denial;
use super::lookup::{LookupPool, ResolveError, SandboxLookups};
use super::policy::{NameDecision, Policy};
use super::rules::EgressRule;
use super::target::{Host, Target};
use super::upstream::{ConnectionPurpose, Upstream, UpstreamError, UpstreamProxy};

/// How long the resolver may take for a name.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the resolver may take for a name that the machine's proxy resolves too. This machine's
/// resolver may be unable to resolve it.
const HINT_RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long connecting to one address may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The most addresses of a name that are tried.
const MAX_ADDRESSES: usize = 4;
/// How long the machine's proxy may take to open a tunnel.
const TUNNEL_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest response head of the machine's proxy, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Opens connections.
pub(super) struct Dialer {
    pub(super) policy: Policy,
    pub(super) upstream: Arc<Upstream>,
    pub(super) lookups: Arc<LookupPool>,
}

/// An open connection.
pub(super) struct OutgoingConnection {
    pub(super) stream: TcpStream,
    pub(super) route: Route,
}

/// The path of a connection.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// Directly to the address that was checked.
    Direct(SocketAddr),
    /// Through the machine's proxy, which resolves the name itself.
    Upstream {
        via: UpstreamProxy,
        /// True if this machine resolved the name and checked its addresses as well.
        checked: bool,
    },
}

/// The reason why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// The policy denies it.
    #[error(transparent)]
    Denial(#[from] Denial),
    /// The machine's proxy is not supported.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The name does not resolve.
    #[error("cannot resolve {name}: {source}")]
    Resolve { name: String, source: ResolveError },
    /// The address refuses the connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        address: SocketAddr,
        source: io::Error,
    },
    /// The address does not respond in time.
    #[error("{0} does not answer")]
    TimedOut(SocketAddr),
    /// The resolver has no address for the name.
    #[error("the name has no address")]
    NoAddress,
    /// The machine's proxy refuses the connection.
    #[error("cannot connect to this machine's proxy {via}: {source}")]
    ConnectProxy {
        via: UpstreamProxy,
        source: io::Error,
    },
    /// The machine's proxy opens no tunnel.
    #[error("this machine's proxy {via}: {source}")]
    Tunnel {
        via: UpstreamProxy,
        source: TunnelError,
    },
}

impl DialError {
    /// Returns whether the policy denies the connection.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self, Self::Denial(_))
    }

    /// The HTTP status for the client.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Denial(_) => StatusCode::FORBIDDEN,
            Self::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        }
    }
}

/// The reason why the machine's proxy opens no tunnel.
#[derive(Debug, thiserror::Error)]
pub(super) enum TunnelError {
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The proxy does not respond in time.
    #[error("it does not answer")]
    TimedOut,
    /// The head of its response is too long.
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
            upstream: Arc::new(upstream),
            lookups: Arc::new(LookupPool::new()),
        }
    }

    /// The dialer of a run that may reach only these hosts, of those that this one reaches.
    pub(super) fn narrowed(&self, run_allow: Vec<EgressRule>) -> Self {
        Self {
            policy: self.policy.narrowed(run_allow),
            upstream: Arc::clone(&self.upstream),
            lookups: Arc::clone(&self.lookups),
        }
    }

    /// Connects to a target, directly or through the machine's proxy. Names are resolved with
    /// `lookups`, the sandbox's own.
    ///
    /// If a tunnel goes through the machine's proxy, this function opens it. Requests go to that
    /// proxy with their absolute URL.
    pub(super) async fn dial(
        &self,
        lookups: &SandboxLookups,
        target: &Target,
        purpose: ConnectionPurpose,
    ) -> Result<OutgoingConnection, DialError> {
        let name_decision = self.policy.check_name(target)?;
        match self.upstream.proxy_for(target, purpose)? {
            None => self.connect_directly(lookups, target, name_decision).await,
            Some(via) => {
                self.connect_through_proxy(lookups, target, name_decision, via, purpose)
                    .await
            }
        }
    }

    /// Connects to an address of the target itself.
    async fn connect_directly(
        &self,
        lookups: &SandboxLookups,
        target: &Target,
        name_decision: NameDecision,
    ) -> Result<OutgoingConnection, DialError> {
        let addresses = match &target.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => lookups
                .resolve(name, RESOLVE_TIMEOUT)
                .await
                .map_err(|source| DialError::Resolve {
                    name: name.clone(),
                    source,
                })?,
        };
        // A name may have both allowed and denied addresses; only allowed ones are tried.
        let mut allowed = Vec::new();
        let mut denials = Vec::new();
        for address in addresses {
            match self.policy.check_address(target, name_decision, address) {
                Ok(()) => allowed.push(address),
                Err(denial) => denials.push(denial),
            }
        }
        if allowed.is_empty() {
            let denial = denials.into_iter().next().unwrap_or(Denial::NoAddress);
            return Err(denial.for_host(&target.host).into());
        }
        let (stream, address) = connect_to_first(allowed, target.port).await?;
        Ok(OutgoingConnection {
            stream,
            route: Route::Direct(address),
        })
    }

    /// Connects to the machine's proxy.
    async fn connect_through_proxy(
        &self,
        lookups: &SandboxLookups,
        target: &Target,
        name_decision: NameDecision,
        via: UpstreamProxy,
        purpose: ConnectionPurpose,
    ) -> Result<OutgoingConnection, DialError> {
        let addresses = match &target.host {
            Host::Address(address) => vec![*address],
            // The proxy resolves the name itself, so these addresses are only a hint. If one of
            // them is denied, the target is still refused.
            Host::Name(name) => lookups
                .resolve(name, HINT_RESOLVE_TIMEOUT)
                .await
                .unwrap_or_default(),
        };
        let checked = !addresses.is_empty();
        if !checked {
            // Without addresses, a rule about addresses cannot allow the target.
            self.policy.check_unresolved(target, name_decision)?;
        }
        for address in addresses {
            self.policy
                .check_address(target, name_decision, address)
                .map_err(|denial| denial.for_host(&target.host))?;
        }
        let mut stream = connect_to_proxy(lookups, &via).await?;
        if purpose == ConnectionPurpose::Tunnel {
            timeout(TUNNEL_TIMEOUT, open_tunnel(&mut stream, target, &via))
                .await
                .unwrap_or(Err(TunnelError::TimedOut))
                .map_err(|source| DialError::Tunnel {
                    via: via.clone(),
                    source,
                })?;
        }
        Ok(OutgoingConnection {
            stream,
            route: Route::Upstream { via, checked },
        })
    }
}

/// Connects to the first of these addresses that accepts.
async fn connect_to_first(
    addresses: Vec<IpAddr>,
    port: u16,
) -> Result<(TcpStream, SocketAddr), DialError> {
    let mut last_error = None;
    for address in addresses.into_iter().take(MAX_ADDRESSES) {
        let address = SocketAddr::new(address, port);
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok((stream, address));
            }
            Ok(Err(source)) => last_error = Some(DialError::Connect { address, source }),
            Err(_) => last_error = Some(DialError::TimedOut(address)),
        }
    }
    Err(last_error.unwrap_or(DialError::NoAddress))
}

/// Connects to the machine's proxy. The sandbox's own look-ups resolve its name, so that a resolver
/// that hangs does not concern other sandboxes.
async fn connect_to_proxy(
    lookups: &SandboxLookups,
    via: &UpstreamProxy,
) -> Result<TcpStream, DialError> {
    let failed = |source: io::Error| DialError::ConnectProxy {
        via: via.clone(),
        source,
    };
    let addresses = match via.host.parse() {
        Ok(address) => vec![address],
        Err(_) => lookups
            .resolve(&via.host, RESOLVE_TIMEOUT)
            .await
            .map_err(|error| failed(io::Error::other(error)))?,
    };
    match connect_to_first(addresses, via.port).await {
        Ok((stream, _)) => Ok(stream),
        Err(DialError::Connect { source, .. }) => Err(failed(source)),
        Err(DialError::TimedOut(_)) => Err(failed(io::ErrorKind::TimedOut.into())),
        Err(error) => Err(failed(io::Error::other(error))),
    }
}

/// Requests a tunnel from a proxy (RFC 9110, section 9.3.6).
async fn open_tunnel(
    stream: &mut TcpStream,
    target: &Target,
    via: &UpstreamProxy,
) -> Result<(), TunnelError> {
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(authorization) = &via.authorization {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(authorization.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await?;
    // Reads single bytes, since the bytes after the head already belong to the tunnel.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD_BYTES {
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

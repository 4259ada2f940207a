//! The sandbox's network: a namespace with a loopback interface, and the sockets for the caller.

use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, listen, socket_with};
use rustix::thread::UnshareFlags;

use super::interception;
use crate::os::sys;
use crate::protocol::spec::Network;
use crate::protocol::step::Step;
use crate::protocol::step_failure::{StepContext, StepFailure};

/// The most connections that wait to be accepted.
const BACKLOG: i32 = 256;

/// Leaves this machine's network, unless the sandbox shares it.
pub(crate) fn leave(network: Network) -> Result<(), StepFailure> {
    match network {
        Network::Host => Ok(()),
        Network::Loopback | Network::Listener { .. } | Network::Intercepted { .. } => {
            sys::unshare(UnshareFlags::NEWNET).at_step(Step::NetworkNamespace)
        }
    }
}

/// The sockets for the caller, and the reason if packets are not intercepted.
#[derive(Default)]
pub(crate) struct NetworkSockets {
    /// The listener, then the sockets of the interception.
    pub(crate) sockets: Vec<OwnedFd>,
    /// The reason why the packets of a sandbox with [`Network::Intercepted`] are not intercepted.
    pub(crate) refusal: Option<String>,
}

/// Brings the sandbox's loopback interface up, and listens on it before any command can.
pub(crate) fn set_up(network: Network) -> Result<NetworkSockets, StepFailure> {
    let mut result = NetworkSockets::default();
    if network == Network::Host {
        return Ok(result);
    }
    sys::loopback_up().at_step(Step::Loopback)?;
    if let Network::Listener { port } | Network::Intercepted { port } = network {
        result.sockets.push(listener(port).at_step(Step::Listener)?);
    }
    if let Network::Intercepted { .. } = network {
        match interception::set_up() {
            Ok(sockets) => result.sockets.extend(sockets),
            Err(failure) => {
                result.refusal = Some(format!("cannot {}: {}", failure.step, failure.cause));
            }
        }
    }
    Ok(result)
}

/// Begins a connection to a loopback address of the sandbox. The socket does not block, and the
/// connection may still be under way.
///
/// A sandbox that shares this machine's network has no loopback of its own, so nothing is
/// connected.
pub(crate) fn begin_connection(network: Network, address: SocketAddr) -> Result<OwnedFd, Errno> {
    if network == Network::Host || !address.ip().is_loopback() {
        return Err(Errno::PERM);
    }
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// Makes the listening socket. It stays in this network namespace, whichever process holds it.
fn listener(port: u16) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddrV4::new(Network::LISTENER, port))?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}
